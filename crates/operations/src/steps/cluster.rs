//! What the agent applies: Secrets, the Cluster, its pooler, backups and network.
use super::{Target, ask, done, withdraw};
use crate::input::DatabaseInput;
use kiven_data_services::cnpg::Cnpg;
use kiven_data_services::{DataService, Generation};
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::{CommandBody, CommandOutput, Consent};
use kiven_model::database::Power;
use kiven_model::{Code, Problem};
use kiven_ports::Ports;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

async fn apply<P: Ports>(
    ports: &P,
    at: &At,
    id: String,
    target: &Target,
    objects: Vec<Value>,
    consent: Option<&Consent>,
) -> Result<Progress<()>, StepError> {
    if objects.is_empty() {
        return Ok(Progress::Done(()));
    }
    let body = CommandBody::Apply { objects, consent: consent.cloned() };
    Ok(done(ask(ports, at, id, target, body).await?, |_| ()))
}

/// The Secrets that everything else refers to. Its undo is the undo of everything the provision put into the cluster.
#[derive(Debug, Clone, Serialize)]
pub struct EnsureSecrets {
    target: Target,
    generation: Generation,
}

impl EnsureSecrets {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), generation: input.generation.clone() }
    }
}

impl<P: Ports> Step<P> for EnsureSecrets {
    const NAME: &'static str = "ensure_secrets";
    type Output = BTreeMap<String, String>;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<Self::Output>, StepError> {
        let body = CommandBody::EnsureSecrets { secrets: Cnpg.secrets(&self.generation) };
        match ask(ports, at, at.token(), &self.target, body).await? {
            Progress::Done(CommandOutput::Certificates(certificates)) => Ok(Progress::Done(certificates)),
            Progress::Done(_) => Err(StepError::Failed(Problem::new(Code::AGENT_FAILED, "the agent answered another question"))),
            Progress::Pending { after, on } => Ok(Progress::Pending { after, on }),
        }
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<Self::Output>) -> Result<Progress<()>, StepError> {
        if let Progress::Pending { after, on } = withdraw(ports, at).await? {
            return Ok(Progress::Pending { after, on });
        }
        let body = CommandBody::Discard { cluster: self.target.cluster.clone() };
        Ok(done(ask(ports, at, format!("{}/undo", at.token()), &self.target, body).await?, |_| ()))
    }
}

/// Steps whose whole effect the undo of [`EnsureSecrets`] discards.
macro_rules! applied {
    ($(#[$doc:meta])* $name:ident, $step:literal, $objects:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        pub struct $name {
            target: Target,
            generation: Generation,
            /// Permission for fewer instances or a shorter retention, where they are wanted.
            consent: Option<Consent>,
        }
        impl $name {
            pub(crate) fn of(input: &DatabaseInput) -> Self {
                Self { target: Target::of(input), generation: input.generation.clone(), consent: input.consent.clone() }
            }
        }
        impl<P: Ports> Step<P> for $name {
            const NAME: &'static str = $step;
            type Output = ();
            async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
                let objects: fn(&Generation) -> Vec<Value> = $objects;
                apply(ports, at, at.token(), &self.target, objects(&self.generation), self.consent.as_ref()).await
            }
            async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
                withdraw(ports, at).await
            }
        }
    };
}

applied!(/// Step 6: archive, Cluster, addresses.
    ApplyCluster, "apply_cluster", |generation| Cnpg.cluster(generation, Power::On));
applied!(/// Step 9: who may connect.
    ApplyNetworkPolicy, "apply_network_policy", |generation| Cnpg.network(generation));
applied!(/// Step 11: the initial database, its owner and its extensions.
    EnsureInitialDatabase, "ensure_initial_database", |generation| Cnpg.initial_database(generation));
applied!(/// Takes hibernation back at a resume.
    WakeCluster, "wake_cluster", |generation| Cnpg.cluster(generation, Power::On));

/// Steps that a pause turns off and a failed pause or a resume turns on again.
macro_rules! switched {
    ($(#[$doc:meta])* $name:ident, $step:literal, $objects:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        pub struct $name {
            target: Target,
            generation: Generation,
            power: Power,
        }
        impl $name {
            pub(crate) fn on(input: &DatabaseInput) -> Self {
                Self { target: Target::of(input), generation: input.generation.clone(), power: Power::On }
            }
            pub(crate) fn off(input: &DatabaseInput) -> Self {
                Self { power: Power::Off, ..Self::on(input) }
            }
        }
        impl<P: Ports> Step<P> for $name {
            const NAME: &'static str = $step;
            type Output = ();
            async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
                let objects: fn(&Generation, Power) -> Vec<Value> = $objects;
                apply(ports, at, at.token(), &self.target, objects(&self.generation, self.power), None).await
            }
            async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
                match (withdraw(ports, at).await?, self.power) {
                    (Progress::Pending { after, on }, _) => Ok(Progress::Pending { after, on }),
                    // Made by a provision: discarded with everything else.
                    (Progress::Done(()), Power::On) => Ok(Progress::Done(())),
                    (Progress::Done(()), Power::Off) => {
                        let objects: fn(&Generation, Power) -> Vec<Value> = $objects;
                        apply(ports, at, format!("{}/undo", at.token()), &self.target, objects(&self.generation, Power::On), None).await
                    }
                }
            }
        }
    };
}

switched!(/// Step 7: PgBouncer; none of it while paused.
    ApplyPooler, "apply_pooler", |generation, power| Cnpg.pooler(generation, power));
switched!(/// Step 8: scheduled backups; suspended while paused.
    ApplyScheduledBackup, "apply_scheduled_backup", |generation, power| Cnpg.backups(generation, power));
switched!(/// Asks for hibernation; CNPG would obey it later too, so a failed pause takes it back.
    HibernateCluster, "hibernate_cluster", |generation, power| Cnpg.cluster(generation, power));

impl HibernateCluster {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self::off(input)
    }
}

/// Checkpoint, WAL switch, and the proof that the last WAL is in the archive.
#[derive(Debug, Clone, Serialize)]
pub struct ArchiveWal {
    target: Target,
}

impl ArchiveWal {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for ArchiveWal {
    const NAME: &'static str = "archive_wal";
    type Output = String;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<String>, StepError> {
        match ask(ports, at, at.token(), &self.target, CommandBody::ArchiveWal { cluster: self.target.cluster.clone() }).await? {
            Progress::Done(CommandOutput::Archived { wal }) => Ok(Progress::Done(wal)),
            Progress::Done(_) => Err(StepError::Failed(Problem::new(Code::AGENT_FAILED, "the agent answered another question"))),
            Progress::Pending { after, on } => Ok(Progress::Pending { after, on }),
        }
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<String>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await
    }
}
