//! Carries out a command: judged, done once in effect, remembered.
use crate::epochs::Epochs;
use crate::guardrails::{hibernates, judge, judge_transition, refuse};
use crate::installer::refused_by;
use crate::ledger::{Ledger, LedgerError};
use crate::objects::{api, applicable, apply};
use crate::readers::Readers;
use crate::runner::CarryOut;
use crate::watch::World;
use crate::{archive, backup, databases, maintenance, released, retire, revision, secrets, upgrade, volumes};
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::{Code, EnvironmentId, Problem};
use kube::Client;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, Notify};

/// Carries out commands. Several may run at once; those of one database come one after the other ([`crate::lanes`]).
pub(crate) struct Commands {
    client: Client,
    environment: EnvironmentId,
    world: Arc<World>,
    readers: Arc<Readers>,
    /// Locked to read or write it, never through an effect.
    ledger: Mutex<Ledger>,
    epochs: Epochs,
    /// Objects, by plural and name, that a command is judging and applying now.
    applying: std::sync::Mutex<BTreeSet<String>>,
    /// Rung when this environment has been released.
    released: Arc<Notify>,
}

/// An object is one command's alone between the judgement and the effect, so that what was judged is what is changed.
struct Claim<'a> {
    applying: &'a std::sync::Mutex<BTreeSet<String>>,
    object: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.applying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.object);
    }
}

impl Commands {
    /// Reads what is remembered of earlier commands.
    pub(crate) async fn load(
        client: Client,
        environment: EnvironmentId,
        world: Arc<World>,
        readers: Arc<Readers>,
        released: Arc<Notify>,
    ) -> Result<Self, LedgerError> {
        let ledger = Ledger::load(&client, &environment).await?;
        let (epochs, ledger) = (Epochs::from(ledger.epoch()), Mutex::new(ledger));
        Ok(Self { client, environment, world, readers, ledger, epochs, applying: std::sync::Mutex::default(), released })
    }

    /// The answer without an effect, if there is one; else the fence is remembered and the effect may begin.
    async fn admit(&self, command: &Command) -> kube::Result<Option<CommandOutcome>> {
        if command.environment_id != self.environment {
            return Ok(Some(CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, "the command is another environment's"))));
        }
        let mut ledger = self.ledger.lock().await;
        // A reader changes nothing: no operation is older or newer than it, and nothing of it is remembered.
        let is_for_a_reader = command.body.is_for_a_reader();
        let fence = if is_for_a_reader { 0 } else { ledger.fence_of(command) };
        if let Err(problem) = judge(command, crate::now(), fence) {
            return Ok(Some(CommandOutcome::Refused(problem)));
        }
        if is_for_a_reader {
            return Ok(None);
        }
        if !ledger.knows(command) {
            if !begins_something(command) && !databases::is_there(&self.client, command).await? {
                return self.without_a_fence(command).await.map(Some);
            }
            if !ledger.has_room() {
                ledger.keep(&databases::there(&self.client).await?);
            }
            if !ledger.has_room() {
                return Ok(Some(CommandOutcome::Refused(refuse("more databases than one cluster can have"))));
            }
        }
        ledger.begin(&self.client, command, self.epochs.newest()).await?;
        Ok(None)
    }

    /// A command about a database of which nothing is in the cluster, and which makes nothing. Whoever could send it for any id must
    /// not fill what is remembered: an undo or a purge finds its work done already, everything else is refused.
    async fn without_a_fence(&self, command: &Command) -> kube::Result<CommandOutcome> {
        match &command.body {
            CommandBody::Discard { cluster } => retire::discard(&self.client, command, cluster).await,
            CommandBody::Purge { cluster, .. } => retire::purge(&self.client, command, cluster).await,
            // Retired already, or never there.
            CommandBody::Retire { .. } => Ok(CommandOutcome::Done(CommandOutput::Nothing)),
            _ => Ok(CommandOutcome::Refused(refuse("nothing of the command's database is in the cluster"))),
        }
    }

    async fn attempt(&self, command: &Command) -> kube::Result<CommandOutcome> {
        if let Some(outcome) = self.admit(command).await? {
            return Ok(outcome);
        }
        match &command.body {
            CommandBody::Inspect => Ok(CommandOutcome::Done(CommandOutput::Facts(self.world.facts().await))),
            CommandBody::Release => {
                released::note(&self.client, &self.environment).await?;
                self.released.notify_one();
                Ok(CommandOutcome::Done(CommandOutput::Nothing))
            }
            CommandBody::MoveComponent { component, version } => upgrade::move_to(&self.client, &self.world, *component, version).await,
            CommandBody::EnsureSecrets { secrets } => Ok(match secrets::ensure(&self.client, secrets).await {
                Ok(certificates) => CommandOutcome::Done(CommandOutput::Certificates(certificates)),
                Err(secrets::SecretError::Refused(problem)) => CommandOutcome::Refused(problem),
                Err(error) => CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, error.to_string())),
            }),
            CommandBody::Apply { objects, consent } => self.apply_all(objects, consent.is_some()).await,
            CommandBody::ArchiveWal { cluster } => match &command.database_id {
                Some(database) => Ok(archive::archive_wal(&self.client, database, cluster).await),
                None => Ok(no_database()),
            },
            CommandBody::VerifyRevision { cluster, revision } => match &command.database_id {
                Some(database) => Ok(revision::verify(&self.client, database, cluster, revision).await),
                None => Ok(no_database()),
            },
            CommandBody::Switchover { cluster, away_from_zone } => {
                maintenance::switchover(&self.client, &self.world, command, cluster, away_from_zone).await
            }
            CommandBody::ReadCertificate { cluster } => maintenance::certificate(&self.client, command, cluster, None).await,
            CommandBody::RenewCertificate { cluster, replaces } => maintenance::certificate(&self.client, command, cluster, Some(replaces)).await,
            CommandBody::HandOver { cluster } => retire::hand_over(&self.client, command, cluster).await,
            CommandBody::Discard { cluster } => retire::discard(&self.client, command, cluster).await,
            CommandBody::Retire { cluster, services, delete_after, .. } => {
                retire::retire(&self.client, command, cluster, services, *delete_after).await
            }
            CommandBody::TakeBackup { cluster, name } => backup::take(&self.client, command, cluster, name).await,
            CommandBody::AwaitBackups { cluster } => backup::await_ended(&self.client, command, cluster).await,
            CommandBody::Unretire { cluster } => retire::unretire(&self.client, command, cluster).await,
            CommandBody::ReadLogs(reading) => Ok(self.readers.read(command, reading)),
            CommandBody::EndLogs { session_id } => Ok(self.readers.end(session_id)),
            CommandBody::Purge { cluster, .. } => retire::purge(&self.client, command, cluster).await,
        }
    }

    /// Applies objects in order; each is judged against what is there.
    async fn apply_all(&self, objects: &[Value], consent: bool) -> kube::Result<CommandOutcome> {
        for object in objects {
            let Some(resource) = applicable(object) else {
                return Ok(CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, "a kind that commands may not apply")));
            };
            let api = api(&self.client, DATABASE_NAMESPACE, &resource);
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let Some(_claim) = self.claim(format!("{}/{name}", resource.plural)) else {
                let problem = Problem::new(Code::AGENT_FAILED, "another database's command is applying an object of the same name");
                return Ok(CommandOutcome::Retry(problem));
            };
            if let Some(current) = api.get_opt(name).await? {
                let current = serde_json::to_value(current).map_err(kube::Error::SerdeError)?;
                if let Err(problem) = judge_transition(&current, object, consent) {
                    return Ok(CommandOutcome::Refused(problem));
                }
                if hibernates(&current, object)
                    && let Some(problem) = backup::running(&self.client, name).await?
                {
                    return Ok(CommandOutcome::Retry(problem));
                }
            } else if object["kind"] == "Cluster" {
                let left = volumes::left_behind(&self.client, name).await?;
                if !left.is_empty() {
                    return Ok(CommandOutcome::Refused(beside_its_volumes(&left)));
                }
            }
            apply(&api, object).await?;
        }
        Ok(CommandOutcome::Done(CommandOutput::Nothing))
    }

    async fn remember(&self, command: &Command, outcome: &CommandOutcome) {
        let mut ledger = self.ledger.lock().await;
        match (&command.body, outcome) {
            (CommandBody::Purge { .. } | CommandBody::Discard { .. }, CommandOutcome::Done(_)) => ledger.purged(command, crate::now()),
            (CommandBody::Release, CommandOutcome::Done(_)) => ledger.released(),
            _ => {}
        }
        if let Err(error) = ledger.end(&self.client, &command.id, outcome).await {
            tracing::warn!(%error, command_id = command.id, "the end of a command could not be remembered");
        }
    }

    fn claim(&self, object: String) -> Option<Claim<'_>> {
        let fresh = self.applying.lock().unwrap_or_else(PoisonError::into_inner).insert(object.clone());
        fresh.then(|| Claim { applying: &self.applying, object })
    }
}

impl CarryOut for Commands {
    fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    async fn carry_out(&self, command: &Command) -> CommandOutcome {
        let is_for_a_reader = command.body.is_for_a_reader();
        if !is_for_a_reader && let Some(outcome) = self.ledger.lock().await.end_of(&command.id) {
            return outcome;
        }
        kiven_failpoint::pass("agent", "received", step_of(command));
        let outcome = match self.attempt(command).await {
            Ok(outcome) => outcome,
            Err(error) => failed(&error),
        };
        kiven_failpoint::pass("agent", "done", step_of(command));
        if !is_for_a_reader {
            self.remember(command, &outcome).await;
        }
        tracing::info!(command_id = command.id, kind = command.body.name(), outcome = label(&outcome), "command ended");
        outcome
    }
}

fn beside_its_volumes(left: &[String]) -> Problem {
    let problem = Problem::new(Code::AGENT_REFUSED, "a Cluster made now would begin empty: volumes of this one are there without their claims");
    let problem = problem.detail(format!("volumes: {}", left.join(", ")));
    problem.hint("Give each volume its claim again, as docs/runbooks/lost-claims.md says; then the same Cluster takes them.")
}

/// Whether a command may be the first about its database: those make what there is of it.
fn begins_something(command: &Command) -> bool {
    match &command.body {
        CommandBody::Apply { objects, .. } => !objects.is_empty(),
        CommandBody::EnsureSecrets { secrets } => !secrets.is_empty(),
        _ => false,
    }
}

fn no_database() -> CommandOutcome {
    CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, "the command names no database"))
}

/// The step that sent a command, for the kill matrix: the id is `{operation id}/{step key}`.
fn step_of(command: &Command) -> &str {
    command.id.split('/').nth(1).unwrap_or(&command.id)
}

/// What a server-side apply says of a value of another type than the schema's; Kubernetes calls it its own error, a 500.
const OF_ANOTHER_TYPE: &str = "failed to create typed patch object";

/// What the API server refuses for good is refused; everything else may pass.
fn failed(error: &kube::Error) -> CommandOutcome {
    match error {
        kube::Error::Api(status) if is_for_good(status) => {
            CommandOutcome::Refused(Problem::new(Code::AGENT_FAILED, "the API server refused an object").detail(status.message.clone()))
        }
        error => CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, "the API server did not answer").detail(error.to_string())),
    }
}

/// Of what is forbidden, only what somebody refuses for what it is: a right may not be seen yet, a quota may be raised, a namespace
/// that goes may come back. Who asks asks again, until the command's time is over.
fn is_for_good(status: &kube::core::Status) -> bool {
    match status.code {
        400 | 422 => true,
        403 => refused_by(&status.message).is_some(),
        _ => status.message.starts_with(OF_ANOTHER_TYPE),
    }
}

fn label(outcome: &CommandOutcome) -> &'static str {
    match outcome {
        CommandOutcome::Done(_) => "done",
        CommandOutcome::Retry(_) => "retry",
        CommandOutcome::Refused(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_forbidden_only_what_somebody_refuses_is_refused_for_good() {
        let table = [
            (403, "clusters is forbidden: User \"system:serviceaccount:kiven-system:kiven-agent\" cannot patch resource \"clusters\"", "retry"),
            (403, "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1", "retry"),
            (403, "services \"x\" is forbidden: unable to create new content in namespace kiven-databases because it is being terminated", "retry"),
            (403, "admission webhook \"validate.kyverno.svc-fail\" denied the request: no", "refused"),
            (403, "persistentvolumes \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", "refused"),
            (403, "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": y", "refused"),
            (422, "Cluster.postgresql.cnpg.io \"x\" is invalid: spec.instances", "refused"),
            (400, "no", "refused"),
            (500, "failed to create typed patch object (x): y", "refused"),
            (500, "etcdserver: request timed out", "retry"),
            (404, "clusters \"x\" not found", "retry"),
        ];
        for (code, message, expected) in table {
            let error = kube::Error::Api(kube::core::Status::failure(message, "").with_code(code).boxed());
            assert_eq!(label(&failed(&error)), expected, "{code} {message}");
        }
    }
}
