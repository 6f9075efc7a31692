//! Maintenance by itself: when a database's window opens it is looked at once, and at most one operation is started. Facts are
//! read, the decision is pure ([`kiven_model::maintenance::decide`]), one transaction records it together with what it starts.
use crate::accept::{Accepted, accept_database};
use crate::accept_upgrade::upgrade_first;
use crate::input::DatabaseInput;
use crate::tick::Ticked;
use jiff::{SignedDuration, Timestamp};
use kiven_model::database::Database;
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::maintenance::{Facts, MaintenanceDecision, decide};
use kiven_model::operation::OperationKind;
use kiven_model::{DatabaseId, OperationId, Problem};
use kiven_ports::{Agents, Clock, CustomerAccount, Doorbell, PortError, Ports, Random, Records, Write};
use std::time::Duration;

/// Who acts when maintenance does; never a person.
const ACTOR: &str = "maintenance";
/// How often it is looked again because a record has changed meanwhile; after that the next sweep does.
const ATTEMPTS_MAX: u32 = 3;
/// How far the clocks of two functions are apart at most.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// Decides about a database's maintenance, if that is due. Late or doubled calls are harmless.
///
/// # Errors
/// When records or the account cannot be read or written; it stays due, at most until its window closes.
pub async fn maintain<P: Ports>(ports: &P, database: &DatabaseId) -> Result<Ticked, PortError> {
    for _ in 0..ATTEMPTS_MAX {
        match attempt(ports, database).await {
            Err(PortError::Conflict(_)) => {}
            other => return other,
        }
    }
    Ok(Ticked::Overtaken)
}

async fn attempt<P: Ports>(ports: &P, id: &DatabaseId) -> Result<Ticked, PortError> {
    let (records, clock) = (ports.records(), ports.clock().now());
    let Some(database) = records.database_get(id).await? else { return Ok(Ticked::Idle) };
    let Some(due) = database.maintenance_due.filter(|due| due.duration_since(clock) <= SKEW) else { return Ok(Ticked::Idle) };
    let now = clock.max(due);
    let environment = records.environment_get(&database.spec.environment_id).await?;
    let upgrading = match &environment {
        // One operator serves all databases: it comes first, and what they need themselves comes with their next window.
        Some(environment) => upgrade_first(ports, environment).await?,
        None => false,
    };
    let facts = facts(ports, environment.as_ref(), &database, upgrading, now).await?;
    let (starts, reason) = decide(&facts, now);
    let accepted = match (starts, &environment) {
        (Some(kind), Some(environment)) => Some(accept(ports, environment, &database, kind, now)),
        _ => None,
    };
    let (record, operation, mut writes, reason) = match accepted {
        Some(Ok(Accepted { record, operation, writes })) => (record, Some(operation.id), writes, reason),
        Some(Err(problem)) => (fenced(database.clone()), None, Vec::new(), format!("{reason}; it was refused: {problem}")),
        None => (fenced(database.clone()), None, Vec::new(), reason),
    };
    tracing::info!(database_id = %id, starts = starts.map(OperationKind::as_str), reason, "maintenance was decided about");
    let decision = MaintenanceDecision { at: now, starts: starts.filter(|_| operation.is_some()), reason, operation_id: operation.clone() };
    let mut record = Database { maintenance: Some(decision), ..record };
    record.maintenance_planned(now);
    writes.retain(|write| !matches!(write, Write::Database { .. }));
    writes.push(Write::Database { record: Box::new(record), expected: Some(database.version) });
    records.records_commit(writes).await?;
    if let Some(operation) = &operation
        && let Err(error) = ports.doorbell().doorbell_ring(operation, Duration::ZERO).await
    {
        // The operation is due: the next sweep rings for it.
        tracing::warn!(%error, operation_id = %operation, "the doorbell did not ring");
    }
    Ok(Ticked::Decided(operation))
}

fn fenced(database: Database) -> Database {
    Database { version: database.version + 1, ..database }
}

/// The account is asked only where an answer could start something.
async fn facts<P: Ports>(
    ports: &P,
    environment: Option<&Environment>,
    database: &Database,
    upgrading: bool,
    now: Timestamp,
) -> Result<Facts, PortError> {
    let reachable = environment.filter(|environment| environment.status == EnvironmentStatus::Connected);
    let (open, status) = (database.spec.maintenance().open_at(now), database.status);
    let mut facts = Facts { status, open, connected: reachable.is_some(), upgrading, releases: Vec::new(), certificate_ends_at: None };
    let Some(environment) = reachable.filter(|_| open && !upgrading && status == DatabaseStatus::Available) else { return Ok(facts) };
    let seen = ports.agents().observation_get(&database.id, &database.names().cluster).await?;
    facts.certificate_ends_at = seen.and_then(|seen| seen.certificate_ends_at);
    let Ok(Accepted { operation, .. }) = accept(ports, environment, database, OperationKind::PatchNodes, now) else { return Ok(facts) };
    let Ok(input) = serde_json::from_value::<DatabaseInput>(operation.input) else { return Ok(facts) };
    for group in input.node_groups() {
        facts.releases.extend(ports.account().node_group_release(&input.access, &group.cluster, &group.name).await?);
    }
    Ok(facts)
}

/// The same acceptance as a person's wish, with the same fences.
fn accept<P: Ports>(
    ports: &P,
    environment: &Environment,
    database: &Database,
    kind: OperationKind,
    now: Timestamp,
) -> Result<Accepted<Database>, Problem> {
    let id = OperationId::from_random(ports.random().bits());
    accept_database(environment, database.clone(), Some(database.version), kind, id, ACTOR, now)
}
