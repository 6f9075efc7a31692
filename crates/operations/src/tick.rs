//! A tick: what a schedule does about one database now. Facts are read, the decision is pure, and one transaction records it
//! together with what it does: an operation that runs, or a record that has changed meanwhile, refuses the whole of it.
use crate::accept::accept_database;
use crate::steps::access::look_again;
use jiff::{SignedDuration, Timestamp};
use kiven_model::database::Database;
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_model::schedule::{Action, Decision, PowerEvent, PowerEventKind, PowerFacts, Running, Schedule, ScheduledPower, decide, schedule_actor};
use kiven_model::{DatabaseId, OperationId, Problem, Valid};
use kiven_ports::{Agents, Clock, Doorbell, PortError, Ports, Random, Records, Write};
use std::time::Duration;

/// How often a tick looks again because a record has changed under it; after that the next sweep does.
const ATTEMPTS_MAX: u32 = 3;
/// How far the clocks of two functions are apart at most: what the sweep has seen fall due is due.
const SKEW: SignedDuration = SignedDuration::from_secs(5);
/// How soon a deleted database in its grace is looked at again: its deletion may be taken back.
const GRACE_RECHECK: SignedDuration = SignedDuration::from_hours(1);

/// What became of a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ticked {
    /// The database is in no schedule, or nothing is due.
    Idle,
    /// Decided and recorded; the operation that was started or asked to stop.
    Decided(Option<OperationId>),
    /// Records kept changing: the next sweep asks again.
    Overtaken,
}

/// Lets the schedule of a database decide, if it is due. Late or doubled ticks are harmless.
///
/// # Errors
/// When the records cannot be read or written; it stays due.
pub async fn tick<P: Ports>(ports: &P, database: &DatabaseId) -> Result<Ticked, PortError> {
    for _ in 0..ATTEMPTS_MAX {
        match attempt(ports, database).await {
            Err(PortError::Conflict(_)) => {}
            other => return other,
        }
    }
    Ok(Ticked::Overtaken)
}

/// Everything that a decision is about.
struct Scene {
    power: ScheduledPower,
    schedule: Schedule,
    database: Database,
    environment: Option<Environment>,
    operation: Option<Operation>,
    /// A base backup that no operation of Kiven's began, such as a scheduled one.
    backup_running: bool,
    now: Timestamp,
}

async fn attempt<P: Ports>(ports: &P, id: &DatabaseId) -> Result<Ticked, PortError> {
    let Some(scene) = Scene::read(ports, id).await? else { return Ok(Ticked::Idle) };
    let spec = Valid::from_record(scene.schedule.spec.clone());
    let decision = decide(&spec, &scene.facts(), scene.now);
    let Acted { kind, reason, operation, mut writes } = scene.act(ports, &decision);
    if decision.tell || kind == PowerEventKind::Refused {
        tracing::info!(database_id = %id, schedule_id = %scene.schedule.id, decision = kind.as_str(), reason, "a schedule decided");
        let event = PowerEvent { at: scene.now, schedule_id: scene.schedule.id.clone(), kind, reason, operation_id: operation.clone() };
        writes.push(Write::PowerEvent(id.clone(), Box::new(event)));
    }
    writes.push(scene.remember(&decision));
    ports.records().records_commit(writes).await?;
    if let Some(operation) = &operation
        && let Err(error) = ports.doorbell().doorbell_ring(operation, Duration::ZERO).await
    {
        // The operation is due: the next sweep rings for it.
        tracing::warn!(%error, operation_id = %operation, "the doorbell did not ring");
    }
    Ok(Ticked::Decided(operation))
}

/// What an action comes to.
struct Acted {
    kind: PowerEventKind,
    reason: String,
    operation: Option<OperationId>,
    writes: Vec<Write>,
}

impl Scene {
    /// `None`: there is nothing to decide.
    async fn read<P: Ports>(ports: &P, id: &DatabaseId) -> Result<Option<Self>, PortError> {
        let (records, now) = (ports.records(), ports.clock().now());
        let Some(power) = records.scheduled_power_get(id).await? else { return Ok(None) };
        let Some(due) = power.next_due.filter(|due| due.duration_since(now) <= SKEW) else { return Ok(None) };
        let Some(schedule) = records.schedule_get(&power.schedule_id).await? else { return Ok(None) };
        let Some(database) = records.database_get(id).await? else { return Ok(None) };
        let environment = match records.environment_get(&database.spec.environment_id).await? {
            Some(environment) => Some(look_again(ports, environment).await?),
            None => None,
        };
        let operation = match &database.operation_id {
            Some(operation) => records.operation_get(operation).await?.filter(|operation| !operation.status.over()),
            None => None,
        };
        let seen = ports.agents().observation_get(id, &database.names().cluster).await?;
        let backup_running = seen.is_some_and(|seen| seen.backup_running);
        Ok(Some(Self { power, schedule, database, environment, operation, backup_running, now: now.max(due) }))
    }

    fn facts(&self) -> PowerFacts {
        let running = |operation: &Operation| Running {
            kind: operation.kind,
            past_no_return: operation.past_no_return,
            // What goes back by itself need not be asked to.
            cancel_requested: operation.cancel_requested || operation.status == OperationStatus::Unwinding,
        };
        PowerFacts {
            status: self.database.status,
            created_at: self.database.created_at,
            scheduled_since: self.power.scheduled_since,
            last_manual_at: self.database.last_manual_at,
            running: self.operation.as_ref().map(running),
            backup_running: self.backup_running,
            // Without a working way in nothing can be switched, whatever the reason.
            access_lost: self.environment.as_ref().is_none_or(|environment| environment.status != EnvironmentStatus::Connected),
            resume_seconds: self.database.resume_seconds.clone(),
            progress: self.power.progress,
        }
    }

    fn act<P: Ports>(&self, ports: &P, decision: &Decision) -> Acted {
        let acted = |operation, writes| Acted { kind: PowerEventKind::of(decision.action), reason: decision.reason.clone(), operation, writes };
        let started = match decision.action {
            Action::Nothing(_) | Action::Wait { until: _ } | Action::Skip(_) => return acted(None, Vec::new()),
            Action::CancelPause => {
                let writes = self.operation.as_ref().map(|operation| self.cancel(operation)).unwrap_or_default();
                return acted(self.operation.as_ref().map(|operation| operation.id.clone()), writes);
            }
            Action::Pause => self.start(ports, OperationKind::Pause),
            Action::Resume => self.start(ports, OperationKind::Resume),
        };
        match started {
            Ok((operation, writes)) => acted(Some(operation), writes),
            Err(problem) => {
                Acted { kind: PowerEventKind::Refused, reason: format!("{}: {problem}", decision.reason), operation: None, writes: Vec::new() }
            }
        }
    }

    /// The same acceptance as a person's wish, with the same fences.
    fn start<P: Ports>(&self, ports: &P, kind: OperationKind) -> Result<(OperationId, Vec<Write>), Problem> {
        let id = OperationId::from_random(ports.random().bits());
        let environment =
            self.environment.as_ref().ok_or_else(|| Problem::new(kiven_model::Code::ENVIRONMENT_NOT_READY, "its environment is gone"))?;
        let (actor, expected) = (schedule_actor(&self.schedule.id), Some(self.database.version));
        let accepted = accept_database(environment, self.database.clone(), expected, kind, id, &actor, self.now)?;
        Ok((accepted.operation.id, accepted.writes))
    }

    /// From now on power is the schedule's, whoever has asked for the pause.
    fn cancel(&self, operation: &Operation) -> Vec<Write> {
        let (expected, due_at) = (Some(operation.version), Some(self.now));
        let record = Operation { cancel_requested: true, due_at, updated_at: self.now, version: operation.version + 1, ..operation.clone() };
        let version = self.database.version;
        let database = Database { switched_by_schedule: true, updated_at: self.now, version: version + 1, ..self.database.clone() };
        vec![Write::Operation { record: Box::new(record), expected }, Write::Database { record: Box::new(database), expected: Some(version) }]
    }

    fn remember(&self, decision: &Decision) -> Write {
        let next_due = match self.database.status {
            DatabaseStatus::Deleting | DatabaseStatus::Grace => Some(self.now + GRACE_RECHECK),
            DatabaseStatus::Provisioning
            | DatabaseStatus::Available
            | DatabaseStatus::Pausing
            | DatabaseStatus::Paused
            | DatabaseStatus::Resuming
            | DatabaseStatus::Changing
            | DatabaseStatus::Undeleting
            | DatabaseStatus::Purging
            | DatabaseStatus::Deleted
            | DatabaseStatus::Released
            | DatabaseStatus::Failed
            | DatabaseStatus::Stuck => decision.next_due,
        };
        let record = ScheduledPower { progress: decision.progress, next_due, version: self.power.version + 1, ..self.power.clone() };
        Write::ScheduledPower { record: Box::new(record), expected: Some(self.power.version) }
    }
}
