//! How a wish to take a deletion back becomes an operation: the grace ends, the name is claimed, the purge that waits is withdrawn.
use crate::accept::{Accepted, accept_database};
use jiff::Timestamp;
use kiven_model::database::Database;
use kiven_model::environment::Environment;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{EventKind, Operation, OperationEvent, OperationKind, OperationStatus};
use kiven_model::{Code, OperationId, Problem};
use kiven_ports::{NameClaim, Write};

/// Accepts an undelete. `purge` is the operation that the database names: the one that waits for the end of its grace.
///
/// All of it is one transaction, fenced by the versions of both: a purge that begins at this moment makes it a conflict, and one
/// that lost finds its head changed at its next commit, and the database not in its grace any more.
///
/// # Errors
/// When there is no grace, or the purge has begun.
pub fn accept_undelete(
    environment: &Environment,
    database: Database,
    purge: Operation,
    id: OperationId,
    actor: &str,
    now: Timestamp,
) -> Result<Accepted<Database>, Problem> {
    if database.status != DatabaseStatus::Grace {
        let problem = Problem::new(Code::WRONG_STATE, format!("database `{}` is {}, not in its grace", database.spec.name, database.status));
        return Err(problem.hint("Only a deleted database whose grace lasts can be brought back."));
    }
    // The first thing a purge does is to say so.
    if purge.kind != OperationKind::Purge || purge.status != OperationStatus::Running || purge.events > 0 {
        let problem = Problem::new(Code::WRONG_STATE, format!("the grace of database `{}` is over and its volumes are going", database.spec.name));
        return Err(problem.operation(purge.id).hint("Restore it from its archive, which is kept for its retention."));
    }
    let expected = database.version;
    let claim = NameClaim::Database(database.spec.environment_id.clone(), database.spec.name.to_string());
    let owner = database.id.to_string();
    let mut accepted = accept_database(environment, database, Some(expected), OperationKind::Undelete, id, actor, now)?;
    accepted.writes.push(Write::NameTaken { claim, owner });
    accepted.writes.extend(withdrawn(purge, now));
    Ok(accepted)
}

/// Ends an operation that has done nothing yet.
fn withdrawn(operation: Operation, now: Timestamp) -> [Write; 2] {
    let problem = Problem::new(Code::CANCELLED, "the deletion was taken back");
    let event = OperationEvent { sequence: operation.events + 1, at: now, step: None, kind: EventKind::Ended, message: format!("failed: {problem}") };
    let (id, expected) = (operation.id.clone(), Some(operation.version));
    let record = Operation {
        status: OperationStatus::Failed,
        problem: Some(problem),
        lease: None,
        due_at: None,
        events: event.sequence,
        updated_at: now,
        version: operation.version + 1,
        ..operation
    };
    [Write::Operation { record: Box::new(record), expected }, Write::Event(id, Box::new(event))]
}
