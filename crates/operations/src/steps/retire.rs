//! The end of a database: retired at first, purged when its grace is over. Each needs a recorded consent.
use super::{Target, ask, done};
use crate::input::DatabaseInput;
use jiff::Timestamp;
use kiven_data_services::DataService;
use kiven_data_services::cnpg::Cnpg;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::{CommandBody, Consent};
use kiven_model::database::Database;
use kiven_model::lifecycle::{DatabaseStatus, Event, next};
use kiven_model::operation::OperationKind;
use kiven_model::{Code, DatabaseId, Problem};
use kiven_ports::{Ports, Records, Write};
use serde::Serialize;
use std::time::Duration;

fn no_consent() -> StepError {
    StepError::Failed(Problem::new(Code::AGENT_REFUSED, "the operation carries no consent to destroy"))
}

/// Hibernates, frees the Services' names and marks the volumes with the end of their grace.
#[derive(Debug, Clone, Serialize)]
pub struct RetireCluster {
    target: Target,
    services: Vec<String>,
    delete_after: Option<Timestamp>,
    consent: Option<Consent>,
}

impl RetireCluster {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        let services = Cnpg.services(&input.generation);
        Self { target: Target::of(input), services, delete_after: input.delete_after, consent: input.consent.clone() }
    }
}

impl<P: Ports> Step<P> for RetireCluster {
    const NAME: &'static str = "retire_cluster";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let (Some(delete_after), Some(consent)) = (self.delete_after, self.consent.clone()) else { return Err(no_consent()) };
        let (cluster, services) = (self.target.cluster.clone(), self.services.clone());
        Ok(done(ask(ports, at, at.token(), &self.target, CommandBody::Retire { cluster, services, delete_after, consent }).await?, |_| ()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only; undelete is an operation of its own
    }
}

/// Takes the end of the grace off Cluster and volumes. The Services come back with the next resume.
#[derive(Debug, Clone, Serialize)]
pub struct UnretireCluster {
    target: Target,
}

impl UnretireCluster {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for UnretireCluster {
    const NAME: &'static str = "unretire_cluster";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let cluster = self.target.cluster.clone();
        Ok(done(ask(ports, at, at.token(), &self.target, CommandBody::Unretire { cluster }).await?, |_| ()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}

/// Removes what the grace kept; the agent checks its own clock and the volumes' own mark.
#[derive(Debug, Clone, Serialize)]
pub struct PurgeCluster {
    target: Target,
    consent: Option<Consent>,
}

impl PurgeCluster {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), consent: input.consent.clone() }
    }
}

impl<P: Ports> Step<P> for PurgeCluster {
    const NAME: &'static str = "purge_cluster";
    const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
    const ATTEMPTS_MAX: u32 = 10_000;
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let Some(consent) = self.consent.clone() else { return Err(no_consent()) };
        let cluster = self.target.cluster.clone();
        Ok(done(ask(ports, at, at.token(), &self.target, CommandBody::Purge { cluster, consent }).await?, |_| ()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}

/// Says that the purge has begun: from now on the deletion cannot be taken back.
#[derive(Debug, Clone, Serialize)]
pub struct BeginPurge {
    database_id: DatabaseId,
}

impl BeginPurge {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { database_id: input.generation.id.clone() }
    }
}

impl<P: Ports> Step<P> for BeginPurge {
    const NAME: &'static str = "begin_purge";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let missing = || Problem::new(Code::NOT_FOUND, "the record of the database is missing");
        let database = ports.records().database_get(&self.database_id).await?.ok_or_else(missing)?;
        if database.status == DatabaseStatus::Purging {
            return Ok(Progress::Done(()));
        }
        let status = next(database.status, Event::Started(OperationKind::Purge)).map_err(|e| Problem::new(Code::WRONG_STATE, e.to_string()))?;
        let expected = database.version;
        let record = Database { status, version: expected + 1, updated_at: at.now, ..database };
        ports.records().records_commit(vec![Write::Database { record: Box::new(record), expected: Some(expected) }]).await?;
        Ok(Progress::Done(()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}
