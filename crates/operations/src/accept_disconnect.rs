//! How a wish to disconnect becomes an operation, and what stands in its way. Pure.
use crate::accept::{Accepted, begun, head};
use crate::input::DisconnectInput;
use jiff::Timestamp;
use kiven_model::database::Database;
use kiven_model::environment::{Environment, EnvironmentStatus, Farewell};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{OperationKind, Subject};
use kiven_model::{Code, OperationId, Problem};

/// Accepts a disconnect. `actor` is who consents to what it destroys, if it destroys. From this transaction on no database is
/// made in the environment: creating one is fenced by its version.
///
/// # Errors
/// When it is not connected; else never in practice: when the input cannot be written as JSON.
pub fn accept_disconnect(
    environment: Environment,
    farewell: Farewell,
    id: OperationId,
    actor: &str,
    now: Timestamp,
) -> Result<Accepted<Environment>, Problem> {
    if environment.connection.is_none() {
        let problem = Problem::new(Code::ENVIRONMENT_NOT_READY, format!("environment `{}` is not connected", environment.spec.name));
        return Err(problem.hint("There is nothing to disconnect."));
    }
    if let Some(running) = &environment.upgrades.running {
        let problem = Problem::new(Code::OPERATION_RUNNING, format!("operator or plugin of `{}` is being moved", environment.spec.name));
        return Err(problem.hint("Wait until that has ended.").operation(running.clone()));
    }
    let input = DisconnectInput {
        environment_id: environment.id.clone(),
        organization_id: environment.organization_id.clone(),
        environment: environment.spec.clone(),
        farewell,
        actor: actor.to_owned(),
        before: environment.status,
    };
    let operation = head(&environment, OperationKind::Disconnect, Subject::Environment(environment.id.clone()), id, &input, now)?;
    Ok(begun(Environment { status: EnvironmentStatus::Disconnecting, ..environment }, operation))
}

/// What keeps an environment with these databases of its own from being disconnected in this way. What moves is no reason: it
/// is waited for, and judged where it comes to rest.
///
/// # Errors
/// The reason, with every database that is one.
pub fn refuse_farewell(environment: &str, farewell: Option<Farewell>, databases: &[Database]) -> Result<(), Problem> {
    let named = |wanted: fn(&Database) -> bool| -> Vec<String> {
        databases.iter().filter(|database| wanted(database)).map(|database| format!("{} ({})", database.spec.name, database.status)).collect()
    };
    let (names, code, message, hint) = match farewell {
        None => (
            named(|database| !database.status.gone()),
            Code::ENVIRONMENT_IN_USE,
            format!("the environment `{environment}` still has databases"),
            "Choose what becomes of them: `release` leaves them running as your own, `destroy` deletes each with its deletion settings. Or destroy \
             them first, and wait for the end of their graces.",
        ),
        Some(Farewell::Release) => (
            named(|database| !database.status.gone() && !database.status.moving() && database.status != DatabaseStatus::Available),
            Code::NOT_RELEASABLE,
            format!("the environment `{environment}` has databases that do not run"),
            "Resume what is paused, let a grace end or undelete it, delete what is stuck; then release the others.",
        ),
        Some(Farewell::Destroy) => (
            named(|database| database.spec.deletion_protection && at_rest(database.status)),
            Code::DELETION_PROTECTED,
            format!("the environment `{environment}` has databases that are protected from deletion"),
            "Set `deletion_protection = false` for each and apply, then destroy.",
        ),
    };
    if names.is_empty() { Ok(()) } else { Err(Problem::new(code, message).detail(names.join(", ")).hint(hint)) }
}

/// Whether a destroy would begin its deletion.
fn at_rest(status: DatabaseStatus) -> bool {
    matches!(status, DatabaseStatus::Available | DatabaseStatus::Paused | DatabaseStatus::Stuck)
}
