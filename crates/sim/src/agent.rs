//! The agent: takes commands, does each once in effect, says what it sees; it may die in the middle of anything.
use crate::kube::{Kube, Secret};
use crate::objects::{HIBERNATION, annotation, judge, key, text};
use crate::world::{State, at};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput, Consent, SecretContent, SecretRequest};
use kiven_model::operators::{Component, Standing, order, standing};
use kiven_model::report::{AgentFacts, Observation, Report, ReportBody};
use kiven_model::{Code, DatabaseId, EnvironmentId, Problem};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// How often it says everything again.
const BEAT_MS: i64 = 30_000;
/// When the first certificate's life is counted from, and how much longer the life of each is than that of the one before.
const CERTIFICATES_BEGIN_MS: i64 = 1_767_225_600_000;
const CERTIFICATE_MS: i64 = 90 * 24 * 3_600_000;
/// How long it takes to come back after it died.
const REBIRTH_MS: i64 = 700;

/// The agent's process and what it keeps beyond its death.
pub(crate) struct Agent {
    environment: EnvironmentId,
    session: u64,
    sequence: u64,
    up: bool,
    pub(crate) wakes_at: Option<i64>,
    pub(crate) beats_at: i64,
    ends: BTreeMap<String, CommandOutcome>,
    fences: BTreeMap<DatabaseId, u64>,
    seen: BTreeMap<String, Observation>,
}

fn certificate_ends_at(making: u64) -> Timestamp {
    at(CERTIFICATES_BEGIN_MS.saturating_add(i64::try_from(making).unwrap_or(0) * CERTIFICATE_MS))
}
fn refused(why: impl Into<String>) -> CommandOutcome {
    CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, why))
}
fn later(code: Code, why: impl Into<String>) -> CommandOutcome {
    CommandOutcome::Retry(Problem::new(code, why))
}
fn done() -> CommandOutcome {
    CommandOutcome::Done(CommandOutput::Nothing)
}

impl Agent {
    pub(crate) fn new(environment: EnvironmentId, now: i64) -> Self {
        let (ends, fences, seen) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { environment, session: 1, sequence: 0, up: true, wakes_at: None, beats_at: now, ends, fences, seen }
    }
    pub(crate) fn wake(&mut self, at: i64) {
        if self.up {
            self.wakes_at = Some(self.wakes_at.map_or(at, |known| known.min(at)));
        }
    }
    pub(crate) fn set(&mut self, up: bool, now: i64) {
        self.up = up;
        self.wakes_at = up.then_some(now);
        self.beats_at = if up { now } else { i64::MAX };
        self.session += 1;
        self.sequence = 0;
        self.seen.clear();
    }
    /// Remembers a fence; false for one that is older than what was seen.
    fn fenced(&mut self, database: &DatabaseId, fence: u64) -> bool {
        let known = self.fences.entry(database.clone()).or_insert(0);
        let current = fence >= *known;
        *known = fence.max(*known);
        current
    }
    fn dies(&mut self, now: i64) {
        self.set(true, now);
        (self.wakes_at, self.beats_at) = (Some(now + REBIRTH_MS), now + REBIRTH_MS);
    }
}

/// How long a moved operator takes to be ready.
const MOVE_MS: i64 = 4_000;

impl State {
    fn facts(&self) -> AgentFacts {
        let (version, ready_at) = &self.kube.operator;
        AgentFacts {
            agent_version: "0.1.0".to_owned(),
            kubernetes_version: "1.34".to_owned(),
            operator_version: (*ready_at <= self.now).then(|| version.clone()),
            plugin_version: Some("0.14.0".to_owned()),
            upgradable: true,
            storage_class: true,
            postgres_versions: vec![17, 16, 15],
            loose_volumes: Vec::new(),
            cluster: None,
        }
    }

    /// What is about no database.
    fn of_the_environment(&mut self, body: &CommandBody) -> CommandOutcome {
        match body {
            CommandBody::Inspect => CommandOutcome::Done(CommandOutput::Facts(self.facts())),
            CommandBody::Release | CommandBody::ReadLogs(_) | CommandBody::EndLogs { .. } => done(),
            CommandBody::MoveComponent { component, version } => self.move_component(*component, version),
            _ => refused("no database"),
        }
    }

    /// Only forward, only to what is listed, and only while every database is well or sleeps.
    fn move_component(&mut self, component: Component, version: &str) -> CommandOutcome {
        if !matches!(standing(component, version), Standing::Listed(_)) {
            return refused("the release is not listed");
        }
        let (running, ready_at) = self.kube.operator.clone();
        match order(version).cmp(&order(&running)) {
            _ if component == Component::Plugin => refused("there is no newer plugin"),
            Ordering::Less => refused("the operator is never taken back"),
            Ordering::Equal if ready_at <= self.now => done(),
            Ordering::Equal => later(Code::AGENT_FAILED, "the operator is not ready yet"),
            Ordering::Greater if !self.kube.clusters.values().all(|c| c.hibernated || c.ready == c.instances) => {
                later(Code::AGENT_FAILED, "a database is not well")
            }
            Ordering::Greater => {
                self.kube.operator = (version.to_owned(), self.now + MOVE_MS);
                later(Code::AGENT_FAILED, "the operator is not ready yet")
            }
        }
    }

    /// Everything the agent does at this moment.
    pub(crate) fn agent_acts(&mut self) {
        if !self.agent.up {
            return;
        }
        if self.agent.wakes_at.is_some_and(|at| at <= self.now) {
            self.agent.wakes_at = None;
            self.take_commands();
        }
        let beat = self.agent.beats_at <= self.now;
        if beat {
            self.agent.beats_at = self.now + BEAT_MS;
            self.say(ReportBody::Facts(self.facts()));
        }
        self.look(beat);
    }

    fn say(&mut self, body: ReportBody) {
        self.agent.sequence += 1;
        let (session, sequence) = (self.agent.session, self.agent.sequence);
        let report = Report { environment_id: self.agent.environment.clone(), session, sequence, at: at(self.now), body };
        self.report(&report);
    }

    /// Says what has changed, or everything.
    fn look(&mut self, everything: bool) {
        let mut names: BTreeMap<String, DatabaseId> = self.agent.seen.values().map(|o| (o.cluster.clone(), o.database_id.clone())).collect();
        for (name, cluster) in &self.kube.clusters {
            if let Ok(id) = DatabaseId::parse(&cluster.database) {
                names.insert(name.clone(), id);
            }
        }
        for (name, database) in names {
            let mut now = self.kube.observe(self.now, &database, &name);
            now.certificate_ends_at = self.kube.clusters.get(&name).map(|running| certificate_ends_at(running.certificate));
            now.primary_zone = self.kube.primary_zone(database.as_str(), &self.cloud.zones_of(database.as_str()));
            if everything || self.agent.seen.get(&name) != Some(&now) {
                self.agent.seen.insert(name, now.clone());
                self.say(ReportBody::Observed(now));
            }
        }
    }

    fn take_commands(&mut self) {
        for command in self.inbox.due(&self.agent.environment.clone(), self.agent.session) {
            if !self.inbox.delivered(&command.id, self.agent.session) {
                continue;
            }
            let lost = self.faults.odds.answer_lost;
            if self.faults.dice.hits(lost) {
                return self.agent.dies(self.now);
            }
            let outcome = self.carry_out(&command);
            if self.faults.dice.hits(lost) {
                return self.agent.dies(self.now);
            }
            self.say(ReportBody::Answered { command_id: command.id.clone(), outcome });
            if command.body == CommandBody::Release {
                return self.agent.set(false, self.now);
            }
        }
    }

    fn carry_out(&mut self, command: &Command) -> CommandOutcome {
        if let Some(outcome) = self.agent.ends.get(&command.id) {
            return outcome.clone();
        }
        let outcome = self.attempt(command);
        if !matches!(outcome, CommandOutcome::Retry(_)) {
            self.agent.ends.insert(command.id.clone(), outcome.clone());
        }
        outcome
    }

    fn attempt(&mut self, command: &Command) -> CommandOutcome {
        if at(self.now) > command.not_after {
            return CommandOutcome::Refused(Problem::new(Code::COMMAND_EXPIRED, "the command came too late"));
        }
        // A reader changes nothing: no fence orders it.
        let Some(database) = command.database_id.as_ref().filter(|_| !command.body.is_for_a_reader()) else {
            return self.of_the_environment(&command.body);
        };
        if !self.agent.fenced(database, command.fence) {
            return refused("the command is of an older operation");
        }
        let id = database.as_str();
        match &command.body {
            CommandBody::Inspect
            | CommandBody::Release
            | CommandBody::MoveComponent { .. }
            | CommandBody::ReadLogs(_)
            | CommandBody::EndLogs { .. } => self.of_the_environment(&command.body),
            CommandBody::EnsureSecrets { secrets } => self.ensure_secrets(id, secrets),
            CommandBody::Apply { objects, consent } => {
                self.apply(id, objects, consent.as_ref().is_some_and(|consent| consent.database_id.as_str() == id))
            }
            CommandBody::ArchiveWal { cluster } => self.archive_wal(cluster),
            CommandBody::VerifyRevision { cluster, revision } if self.kube.runs_with(cluster, revision) => done(),
            CommandBody::VerifyRevision { .. } => later(Code::AGENT_FAILED, "PostgreSQL has not taken its new settings yet"),
            CommandBody::Switchover { cluster, away_from_zone } => {
                let zones = self.cloud.zones_of(id);
                if self.kube.switch_over(cluster, &zones, away_from_zone) {
                    done()
                } else {
                    later(Code::AGENT_FAILED, "there is no standby to switch to")
                }
            }
            CommandBody::ReadCertificate { cluster } => self.certificate(id, cluster, None),
            CommandBody::RenewCertificate { cluster, replaces } => self.certificate(id, cluster, Some(replaces)),
            CommandBody::HandOver { cluster } => match self.kube.clusters.get_mut(cluster).filter(|c| c.database == id) {
                Some(cluster) => {
                    cluster.handed_over = true;
                    done()
                }
                None => later(Code::AGENT_FAILED, "there is no such Cluster"),
            },
            CommandBody::Discard { cluster } => {
                let kept = |c: &crate::kube::Running| c.database != id || c.made_by != command.operation_id.as_str() || c.handed_over;
                if self.kube.clusters.get(cluster).is_some_and(kept) {
                    return refused("the Cluster was handed over, or another operation made it");
                }
                self.remove(id, cluster)
            }
            CommandBody::Retire { cluster, services, delete_after, consent } => self.retire(id, cluster, services, *delete_after, consent),
            CommandBody::Purge { cluster, consent } => self.purge(id, cluster, consent),
            CommandBody::TakeBackup { cluster, name } => self.take_backup(id, cluster, name),
            CommandBody::AwaitBackups { cluster } => match self.kube.backup_running(self.now, cluster) {
                true => later(Code::BACKUP_RUNNING, "a backup is running"),
                false => done(),
            },
            CommandBody::Unretire { cluster } => match self.kube.clusters.get_mut(cluster).filter(|c| c.database == id) {
                Some(cluster) if cluster.is_whole() => {
                    cluster.delete_after = None;
                    done()
                }
                _ => refused("there is no such Cluster, or it is going"),
            },
        }
    }

    fn apply(&mut self, database: &str, objects: &[serde_json::Value], consent: bool) -> CommandOutcome {
        for object in objects {
            if let Err(why) = judge(object, self.kube.objects.get(&key(object)), database, consent) {
                return refused(why);
            }
            let asleep = self.kube.objects.get(&key(object)).is_some_and(|known| annotation(known, HIBERNATION) == "on");
            if annotation(object, HIBERNATION) == "on" && !asleep && self.kube.backup_running(self.now, &text(&object["metadata"]["name"])) {
                return later(Code::BACKUP_RUNNING, "a backup is running");
            }
            self.kube.apply(self.now, object);
        }
        done()
    }

    fn ensure_secrets(&mut self, database: &str, secrets: &[SecretRequest]) -> CommandOutcome {
        let mut certificates = BTreeMap::new();
        for request in secrets {
            if !Kube::labelled(&request.labels, database) {
                return refused("a Secret of another database");
            }
            let serial = self.kube.serial();
            let fresh = || Secret { database: database.to_owned(), serial };
            let secret = self.kube.secrets.entry(request.name.clone()).or_insert_with(fresh);
            if secret.database != database {
                return refused("a Secret of that name is another database's");
            }
            match &request.content {
                SecretContent::Password { .. } => {}
                SecretContent::CertificateAuthority { common_name } => {
                    certificates.insert(request.name.clone(), format!("certificate {} of {common_name}", secret.serial));
                }
            }
        }
        CommandOutcome::Done(CommandOutput::Certificates(certificates))
    }

    /// The server certificate, or another one than that which is replaced: it is issued after it has been asked for.
    fn certificate(&mut self, database: &str, name: &str, replaces: Option<&str>) -> CommandOutcome {
        let Some(cluster) = self.kube.clusters.get_mut(name).filter(|cluster| cluster.database == database && cluster.ready > 0) else {
            return later(Code::AGENT_FAILED, "there is no primary");
        };
        let uid = format!("{name}-server-{}", cluster.certificate);
        if replaces == Some(uid.as_str()) {
            cluster.certificate += 1;
            return later(Code::AGENT_FAILED, "the new certificate is not served yet");
        }
        let ends_at = certificate_ends_at(cluster.certificate);
        CommandOutcome::Done(CommandOutput::Certificate { uid, ends_at: Some(ends_at) })
    }

    fn archive_wal(&mut self, name: &str) -> CommandOutcome {
        let Some(cluster) = self.kube.clusters.get_mut(name).filter(|cluster| cluster.ready > 0) else {
            return later(Code::AGENT_FAILED, "there is no primary");
        };
        cluster.wal += 1;
        self.kube.archive.insert(name.to_owned(), cluster.wal);
        CommandOutcome::Done(CommandOutput::Archived { wal: format!("{:024X}", cluster.wal) })
    }

    fn take_backup(&mut self, database: &str, cluster: &str, name: &str) -> CommandOutcome {
        if self.kube.clusters.get(cluster).is_none_or(|known| known.database != database) {
            return refused("the Cluster is another database's");
        }
        if self.kube.backups_fail {
            return CommandOutcome::Refused(Problem::new(Code::BACKUP_FAILED, "the backup failed"));
        }
        match self.kube.backup(self.now, cluster, name) {
            true => done(),
            false => later(Code::AGENT_FAILED, "the backup is running"),
        }
    }

    fn retire(&mut self, database: &str, name: &str, services: &[String], after: Timestamp, consent: &Consent) -> CommandOutcome {
        if consent.database_id.as_str() != database {
            return refused("the consent is another database's");
        }
        let Some(cluster) = self.kube.clusters.get_mut(name) else { return done() };
        if cluster.database != database || cluster.delete_after.is_some_and(|known| known > after) {
            return refused("another database's, or a grace that would end earlier");
        }
        cluster.delete_after = Some(after);
        let services: Vec<String> = services.iter().map(|service| format!("Service/{service}")).collect();
        self.kube.delete(database, |key| key.starts_with("ScheduledBackup/") || key.starts_with("Pooler/") || services.iter().any(|s| s == key));
        let now = self.now;
        if let Some(mut object) = self.kube.objects.get(&format!("Cluster/{name}")).cloned() {
            object["metadata"]["annotations"][crate::objects::HIBERNATION] = "on".into();
            self.kube.apply(now, &object);
        }
        done()
    }

    fn purge(&mut self, database: &str, name: &str, consent: &Consent) -> CommandOutcome {
        if consent.database_id.as_str() != database {
            return refused("the consent is another database's");
        }
        if let Some(cluster) = self.kube.clusters.get(name) {
            let Some(after) = cluster.delete_after.filter(|_| cluster.database == database) else { return refused("the Cluster was never retired") };
            if at(self.now) < after {
                return later(Code::AGENT_REFUSED, "the grace is not over");
            }
        }
        self.remove(database, name)
    }

    /// Everything of a database: asked for at first, said done once the volumes are gone; Secrets last.
    fn remove(&mut self, database: &str, name: &str) -> CommandOutcome {
        self.kube.delete(database, |_| true);
        if !self.kube.remove(self.now, name) {
            return later(Code::AGENT_FAILED, "volumes are still going");
        }
        self.kube.secrets.retain(|_, secret| secret.database != database);
        done()
    }
}
