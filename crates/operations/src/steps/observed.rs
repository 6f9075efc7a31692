//! Waiting for what the agent sees, and holding it against what was.
use super::{Target, ask, done, withdraw};
use crate::input::DatabaseInput;
use jiff::SignedDuration;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::CommandBody;
use kiven_model::database::Connection;
use kiven_model::report::{Observation, Volume};
use kiven_model::{Code, Problem};
use kiven_ports::{Agents, Ports};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Reports ring the doorbell; these bounds are for when the ring is lost.
const LOOK_LEAST: Duration = Duration::from_secs(1);
const LOOK_MOST: Duration = Duration::from_secs(30);
/// How long a deleted database may take to shut down before its nodes are taken away all the same.
const STOP_MINUTES_MAX: i64 = 10;

pub(super) async fn seen<P: Ports>(ports: &P, target: &Target) -> Result<Option<Observation>, StepError> {
    match &target.database_id {
        Some(database) => Ok(ports.agents().observation_get(database, &target.cluster).await?),
        None => Ok(None),
    }
}

pub(super) fn not_yet<T>(at: &At, on: String) -> Progress<T> {
    Progress::Pending { after: at.look_again(LOOK_LEAST, LOOK_MOST), on }
}

/// What makes a database the same database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// PostgreSQL's own.
    pub system_identifier: String,
    /// The volumes its data is on.
    pub volumes: Vec<Volume>,
}

impl Identity {
    fn of(observation: &Observation) -> Option<Self> {
        let system_identifier = observation.system_identifier.clone()?;
        Some(Self { system_identifier, volumes: observation.volumes.clone() })
    }
    fn check(&self, observation: &Observation) -> Result<(), Problem> {
        let missing: Vec<&str> = self.volumes.iter().filter(|v| !observation.volumes.contains(v)).map(|v| v.claim.as_str()).collect();
        if !missing.is_empty() {
            let detail = format!("missing: {}", missing.join(", "));
            return Err(Problem::new(Code::VOLUMES_MISSING, "volumes of the database are not there any more")
                .detail(detail)
                .hint("Nothing was deleted by Kiven. Restore from the last backup, or contact support."));
        }
        match observation.system_identifier.as_deref() {
            Some(found) if found != self.system_identifier => {
                let detail = format!("it was {}, it is {found}", self.system_identifier);
                Err(Problem::new(Code::IDENTIFIER_DIFFERS, "another PostgreSQL answers than was paused").detail(detail))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Step 10: every instance answers.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitHealthy {
    target: Target,
}

impl AwaitHealthy {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for AwaitHealthy {
    const NAME: &'static str = "await_healthy";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let on = match seen(ports, &self.target).await? {
            Some(seen) if seen.healthy() && seen.system_identifier.is_some() => return Ok(Progress::Done(())),
            Some(seen) => format!("{} of {} instances ({})", seen.ready_instances, seen.instances, seen.phase),
            None => "the first instance".to_owned(),
        };
        Ok(not_yet(at, on))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
    fn overdue(&self, on: &str) -> Problem {
        let hint = "Look at the pods' events: `kubectl -n kiven-databases get events`.";
        Problem::new(Code::CLUSTER_NOT_HEALTHY, format!("PostgreSQL did not become healthy: still waiting for {on}")).hint(hint)
    }
}

/// What is still to stop, in words; nothing when nothing runs, or was ever seen.
async fn running<P: Ports>(ports: &P, target: &Target) -> Result<Option<String>, StepError> {
    let seen = seen(ports, target).await?;
    let left = seen.filter(|seen| (seen.exists && !seen.hibernated) || seen.pods > 0);
    Ok(left.map(|seen| format!("{} pods to stop", seen.pods)))
}

/// Waits until no PostgreSQL runs any more.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitHibernated {
    target: Target,
}

impl AwaitHibernated {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for AwaitHibernated {
    const NAME: &'static str = "await_hibernated";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        Ok(running(ports, &self.target).await?.map_or(Progress::Done(()), |pods| not_yet(at, pods)))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
    fn overdue(&self, on: &str) -> Problem {
        Problem::new(Code::STEP_STUCK, format!("PostgreSQL did not stop: still waiting for {on}"))
            .hint("A cluster that is not healthy does not hibernate; look at its status.")
    }
}

/// How PostgreSQL came to its end before a grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// Shut down and hibernated.
    Hibernated,
    /// Not healthy enough to hibernate: it stops with its nodes, and its volumes hold what was committed.
    WithItsNodes,
}

/// Gives a deleted database's PostgreSQL time to shut down. CNPG hibernates a healthy cluster only, and a database is often
/// deleted because it is not: then taking the nodes away is what stops it, and its volumes are kept as they are.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitStopped {
    target: Target,
}

impl AwaitStopped {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for AwaitStopped {
    const NAME: &'static str = "await_stopped";
    type Output = Stopped;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<Stopped>, StepError> {
        let Some(pods) = running(ports, &self.target).await? else { return Ok(Progress::Done(Stopped::Hibernated)) };
        if at.now.duration_since(at.started_at) > SignedDuration::from_mins(STOP_MINUTES_MAX) {
            return Ok(Progress::Done(Stopped::WithItsNodes));
        }
        Ok(not_yet(at, pods))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<Stopped>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}

/// Writes down what the data is on before anything stops.
#[derive(Debug, Clone, Serialize)]
pub struct RecordVolumes {
    target: Target,
    instances: usize,
}

impl RecordVolumes {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), instances: usize::from(input.generation.spec.instances) }
    }
}

impl<P: Ports> Step<P> for RecordVolumes {
    const NAME: &'static str = "record_volumes";
    type Output = Identity;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<Identity>, StepError> {
        match seen(ports, &self.target).await?.as_ref().and_then(Identity::of) {
            Some(identity) if identity.volumes.len() >= self.instances => Ok(Progress::Done(identity)),
            _ => Ok(not_yet(at, format!("{} volumes", self.instances))),
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<Identity>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// The same volumes are there after PostgreSQL has stopped, before any node goes.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyVolumes {
    target: Target,
    recorded: Identity,
}

impl VerifyVolumes {
    pub(crate) fn of(input: &DatabaseInput, recorded: Identity) -> Self {
        Self { target: Target::of(input), recorded }
    }
}

impl<P: Ports> Step<P> for VerifyVolumes {
    const NAME: &'static str = "verify_volumes";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let Some(seen) = seen(ports, &self.target).await? else { return Ok(not_yet(at, "an observation".to_owned())) };
        self.recorded.check(&seen)?;
        Ok(Progress::Done(()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// The PostgreSQL that answers after a resume is the one that was paused.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyIdentity {
    target: Target,
    was: Option<Connection>,
}

impl VerifyIdentity {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), was: input.was.connection.clone() }
    }
}

impl<P: Ports> Step<P> for VerifyIdentity {
    const NAME: &'static str = "verify_identity";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let Some(seen) = seen(ports, &self.target).await? else { return Ok(not_yet(at, "an observation".to_owned())) };
        if let Some(was) = &self.was {
            // Instances may have been rebuilt on new volumes since; the identity may not.
            Identity { system_identifier: was.system_identifier.clone(), volumes: Vec::new() }.check(&seen)?;
        }
        Ok(Progress::Done(()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Step 12: the database is handed over, and its connection known.
#[derive(Debug, Clone, Serialize)]
pub struct ReadConnection {
    target: Target,
    certificates: BTreeMap<String, String>,
}

impl ReadConnection {
    pub(crate) fn of(input: &DatabaseInput, certificates: BTreeMap<String, String>) -> Self {
        Self { target: Target::of(input), certificates }
    }
}

impl<P: Ports> Step<P> for ReadConnection {
    const NAME: &'static str = "read_connection";
    type Output = Connection;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<Connection>, StepError> {
        let Some(seen) = seen(ports, &self.target).await? else { return Ok(not_yet(at, "an observation".to_owned())) };
        let Some(identity) = Identity::of(&seen) else { return Ok(not_yet(at, "the system identifier".to_owned())) };
        let handed_over = ask(ports, at, at.token(), &self.target, CommandBody::HandOver { cluster: self.target.cluster.clone() }).await?;
        let ca_certificate = self.certificates.values().next().cloned().unwrap_or_default();
        let Identity { system_identifier, volumes } = identity;
        Ok(done(handed_over, |_| Connection { ca_certificate, system_identifier, volumes, published: seen.published }))
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<Connection>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await
    }
}
