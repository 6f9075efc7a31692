//! How an operation's end becomes known: the record it was about, in the same transaction as the end.
use crate::accept::forward_only;
use crate::input::{Before, ConnectInput, DatabaseInput, DisconnectInput, EksCluster, FinalBackup};
use crate::steps::ARCHIVE_WAL;
use kiven_durable::Outcome;
use kiven_model::change::with_wishes_of;
use kiven_model::database::{Database, Power};
use kiven_model::environment::{Connected, Environment, EnvironmentStatus};
use kiven_model::lifecycle::{DatabaseStatus, Event, next};
use kiven_model::operation::{Operation, OperationKind, OperationStatus, Subject};
use kiven_model::upgrade::Upgrades;
use kiven_model::{Code, OperationId, Problem};
use kiven_ports::{Clock, NameClaim, PortError, Ports, Random, Records, Write};
use serde_json::Value;

fn gone(what: &str) -> PortError {
    PortError::Refused(Problem::new(Code::NOT_FOUND, format!("the record of the {what} is missing")))
}

/// Settles an operation on a database. `edit` changes the record of one that has reached the operation's end; it may add writes.
pub(crate) async fn database<P: Ports>(
    ports: &P,
    operation: &Operation,
    outcome: &Outcome,
    edit: impl FnOnce(&P, &Operation, &mut Database) -> Vec<Write>,
) -> Result<Vec<Write>, PortError> {
    let Subject::Database(id) = &operation.subject else { return Err(gone("database")) };
    let database = ports.records().database_get(id).await?.ok_or_else(|| gone("database"))?;
    let expected = database.version;
    let event = match outcome {
        Outcome::Succeeded => Event::Completed(operation.kind),
        // A delete of what was stuck that goes back leaves it stuck.
        Outcome::Failed if input_of(operation).is_some_and(|input| input.final_backup == Some(FinalBackup::Stuck)) => Event::Stalled(operation.kind),
        Outcome::Failed => Event::Unwound(operation.kind),
        Outcome::Stuck => Event::Stalled(operation.kind),
    };
    // A purge that got stuck before it could say that it had begun is a begun one all the same.
    let was =
        if operation.kind == OperationKind::Purge && database.status == DatabaseStatus::Grace { DatabaseStatus::Purging } else { database.status };
    let status = next(was, event).map_err(|e| PortError::Refused(Problem::new(Code::WRONG_STATE, e.to_string())))?;
    let problem = if *outcome == Outcome::Succeeded { None } else { operation.problem.clone() };
    let mut database = Database { status, problem, version: expected + 1, updated_at: operation.updated_at, ..database };
    let mut writes = Vec::new();
    if *outcome == Outcome::Succeeded {
        writes = edit(ports, operation, &mut database);
    } else if operation.kind == OperationKind::Pause && *outcome == Outcome::Failed {
        if !follows(ports, &database).await? {
            database.spec.power = Power::On;
        }
    } else if operation.kind == OperationKind::Change && *outcome == Outcome::Failed {
        take_back(&mut database);
    }
    if database.maintenance_due.is_none() || database.status.name_free() {
        database.maintenance_planned(operation.updated_at);
    }
    if database.status.name_free() {
        writes.push(free_name(&database));
    }
    writes.push(Write::Database { record: Box::new(database), expected: Some(expected) });
    Ok(writes)
}

fn input_of(operation: &Operation) -> Option<DatabaseInput> {
    serde_json::from_value(operation.input.clone()).ok()
}

fn free_name(database: &Database) -> Write {
    let claim = NameClaim::Database(database.spec.environment_id.clone(), database.spec.name.to_string());
    Write::NameFreed { claim, owner: database.id.to_string() }
}

/// Whether power is a schedule's: then what people have declared stands as it is, whoever asked for the pause or took it back.
async fn follows<P: Ports>(ports: &P, database: &Database) -> Result<bool, PortError> {
    Ok(database.switched_by_schedule || ports.records().scheduled_power_get(&database.id).await?.is_some())
}

/// How long it took is known from now on: schedules begin early enough. PostgreSQL writes again: what is in the archive is not all.
pub(crate) fn resumed<P: Ports>(ports: &P, operation: &Operation, database: &mut Database) -> Vec<Write> {
    let seconds = operation.updated_at.duration_since(operation.created_at).as_secs();
    // One that brings a kept change says nothing of the next.
    if !input_of(operation).is_some_and(|input| input.changes()) {
        database.resumed_in(u32::try_from(seconds).unwrap_or(0));
    }
    database.archived_wal = None;
    changed(ports, operation, database)
}

/// Nothing but the state.
pub(crate) fn unchanged<P: Ports>(_: &P, _: &Operation, _: &mut Database) -> Vec<Write> {
    Vec::new()
}

/// The connection is known from now on.
pub(crate) fn provisioned<P: Ports>(_: &P, operation: &Operation, database: &mut Database) -> Vec<Write> {
    database.connection = operation.output.clone().and_then(|output| serde_json::from_value(output).ok());
    brought(operation, database);
    Vec::new()
}

/// What a pause has proved to be in the archive.
pub(crate) async fn archived_wal<P: Ports>(ports: &P, operation: &Operation) -> Result<Option<String>, PortError> {
    let steps = ports.records().operation_steps(&operation.id).await?;
    let output = steps.into_iter().find(|step| step.name == ARCHIVE_WAL).and_then(|step| step.output);
    Ok(output.and_then(|output| serde_json::from_value(output).ok()))
}

/// Out of its grace, as a paused one.
pub(crate) fn undeleted<P: Ports>(_: &P, _: &Operation, database: &mut Database) -> Vec<Write> {
    database.delete_after = None;
    database.spec.power = Power::Off;
    Vec::new()
}

/// The cluster is what was wanted; where its instances are is the operation's output.
pub(crate) fn changed<P: Ports>(_: &P, operation: &Operation, database: &mut Database) -> Vec<Write> {
    brought(operation, database);
    database.placement = operation.output.clone().and_then(|output| serde_json::from_value(output).ok());
    Vec::new()
}

fn brought(operation: &Operation, database: &mut Database) {
    let Some(DatabaseInput { generation, was, .. }) = input_of(operation) else { return };
    if was.spec.is_some_and(|spec| spec.storage_gb < generation.spec.storage_gb) {
        database.storage_grown_at = Some(operation.updated_at);
    }
    database.revision = Some(generation.revision);
    database.applied = Some(generation.spec);
}

/// A change that was undone is no longer wanted; what needs no operation stays as it was asked for.
fn take_back(database: &mut Database) {
    if let Some(applied) = &database.applied {
        database.spec = with_wishes_of(applied, &database.spec);
    }
}

/// The grace has begun: its end is an operation of its own, due when it is over.
pub(crate) fn retired<P: Ports>(ports: &P, operation: &Operation, database: &mut Database) -> Vec<Write> {
    let input = input_of(operation);
    if input.as_ref().is_none_or(|input| input.was.power == Power::On || input.final_backup.is_some()) {
        database.archived_wal = None;
    }
    let delete_after = input.and_then(|input| input.delete_after);
    let due_at = delete_after.unwrap_or(operation.updated_at);
    let purge = Operation {
        id: OperationId::from_random(ports.random().bits()),
        kind: OperationKind::Purge,
        status: OperationStatus::Running,
        input: next_fence(operation.input.clone()),
        output: None,
        problem: None,
        cancel_requested: false,
        past_no_return: forward_only(OperationKind::Purge),
        current_step: None,
        lease: None,
        due_at: Some(due_at),
        events: 0,
        created_at: operation.updated_at,
        version: 1,
        ..operation.clone()
    };
    database.delete_after = Some(due_at);
    database.operation_id = Some(purge.id.clone());
    vec![Write::Operation { record: Box::new(purge), expected: None }]
}

fn next_fence(mut input: Value) -> Value {
    let fence = input["fence"].as_u64().unwrap_or(0) + 1;
    input["fence"] = fence.into();
    input
}

/// Settles a connect.
pub(crate) async fn environment<P: Ports>(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
    let environment = ports.records().environment_get(&operation.environment_id).await?.ok_or_else(|| gone("environment"))?;
    let expected = environment.version;
    let connected = operation.output.clone().and_then(|output| serde_json::from_value::<Connected>(output).ok());
    let before = serde_json::from_value::<ConnectInput>(operation.input.clone()).ok().and_then(|input| input.before);
    let record = match (outcome, before) {
        (Outcome::Succeeded, _) => Environment { status: EnvironmentStatus::Connected, connected, problem: None, ..environment },
        // The databases stand on the old way in: a new one that does not open never takes its place.
        (Outcome::Failed | Outcome::Stuck, Some(Before { connection, status })) => {
            Environment { status, connection: Some(connection), problem: operation.problem.clone(), ..environment }
        }
        (Outcome::Failed | Outcome::Stuck, None) => {
            Environment { status: EnvironmentStatus::Failed, problem: operation.problem.clone(), ..environment }
        }
    };
    let record = Environment { version: expected + 1, ..record };
    Ok(vec![Write::Environment { record: Box::new(record), expected: Some(expected) }])
}

/// Settles an upgrade: it runs no longer, and what kept it from its end is the environment's problem. After one that is stuck
/// nothing moves by itself until a person has looked.
pub(crate) async fn upgraded<P: Ports>(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
    let environment = ports.records().environment_get(&operation.environment_id).await?.ok_or_else(|| gone("environment"))?;
    let (expected, version) = (Some(environment.version), environment.version + 1);
    let paused = environment.upgrades.paused || *outcome == Outcome::Stuck;
    let upgrades = Upgrades { running: None, paused, ..environment.upgrades.clone() };
    let problem = if *outcome == Outcome::Succeeded { environment.problem.clone() } else { operation.problem.clone() };
    Ok(vec![Write::Environment { record: Box::new(Environment { upgrades, problem, version, ..environment }), expected }])
}

/// Settles a disconnect: the connection is gone and the EKS cluster free, or all is as it was before.
pub(crate) async fn disconnected<P: Ports>(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
    let environment = ports.records().environment_get(&operation.environment_id).await?.ok_or_else(|| gone("environment"))?;
    let before = serde_json::from_value::<DisconnectInput>(operation.input.clone()).map(|input| input.before);
    let (expected, version) = (Some(environment.version), environment.version + 1);
    let mut writes = Vec::new();
    let record = match outcome {
        Outcome::Succeeded => {
            writes.push(Write::NameFreed { claim: EksCluster::of(&environment.spec).claim(), owner: environment.id.to_string() });
            // What was signed for its agent until now opens no session any more, whatever the agent thinks of its release.
            writes.push(Write::AgentsRevoked { environment: environment.id.clone(), before: ports.clock().now() });
            Environment { status: EnvironmentStatus::Created, connection: None, connected: None, problem: None, version, ..environment }
        }
        Outcome::Failed | Outcome::Stuck => {
            let status = before.unwrap_or(EnvironmentStatus::Connected);
            Environment { status, problem: operation.problem.clone(), version, ..environment }
        }
    };
    writes.push(Write::Environment { record: Box::new(record), expected });
    Ok(writes)
}
