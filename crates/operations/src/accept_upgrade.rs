//! How a newer operator or plugin becomes an operation: by a decision when windows open, or by a person's hand.
use crate::accept::{Accepted, begun, head};
use crate::input::UpgradeInput;
use jiff::Timestamp;
use kiven_model::database::Database;
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::maintenance::MaintenanceWindow;
use kiven_model::operation::{OperationKind, Subject};
use kiven_model::operators::Component;
use kiven_model::report::AgentFacts;
use kiven_model::upgrade::{ComponentMove, Decision, Facts, UpgradeDecision, Upgrades, decide, next};
use kiven_model::{Code, OperationId, Problem};
use kiven_ports::{Agents, Clock, Doorbell, PortError, Ports, Random, Records};
use std::time::Duration;

/// Accepts an upgrade.
///
/// # Errors
/// When the environment is not connected or another upgrade runs.
pub fn accept_upgrade(
    environment: Environment,
    moves: Vec<ComponentMove>,
    id: OperationId,
    now: Timestamp,
) -> Result<Accepted<Environment>, Problem> {
    if environment.status != EnvironmentStatus::Connected {
        let problem = Problem::new(Code::ENVIRONMENT_NOT_READY, format!("environment `{}` is not connected", environment.spec.name));
        return Err(problem.hint("Operator and plugin move only while Kiven can see them."));
    }
    if let Some(running) = &environment.upgrades.running {
        let problem = Problem::new(Code::OPERATION_RUNNING, format!("operator or plugin of `{}` is being moved already", environment.spec.name));
        return Err(problem.operation(running.clone()));
    }
    let input = UpgradeInput { environment_id: environment.id.clone(), organization_id: environment.organization_id.clone(), moves };
    let operation = head(&environment, OperationKind::Upgrade, Subject::Environment(environment.id.clone()), id.clone(), &input, now)?;
    let upgrades = Upgrades { running: Some(id), ..environment.upgrades.clone() };
    Ok(begun(Environment { upgrades, ..environment }, operation))
}

/// The version of a component that is ready, as the agent said.
fn running(agent: &AgentFacts, component: Component) -> Option<&str> {
    match component {
        Component::Operator => agent.operator_version.as_deref(),
        Component::Plugin => agent.plugin_version.as_deref(),
    }
}

/// What is newer than what runs, whatever the hour: what a person may ask for. Empty when nothing is, or it is not Kiven's to move.
#[must_use]
pub fn newer(agent: &AgentFacts) -> Vec<ComponentMove> {
    let newer = |component: Component| {
        let from = running(agent, component)?;
        next(component, from).map(|release| ComponentMove { component, from: from.to_owned(), version: release.version.to_owned() })
    };
    Component::ALL.into_iter().filter(|_| agent.upgradable).filter_map(newer).collect()
}

/// Decides about each component; answers what moves, and the reason of the first that could and does not.
fn decided(
    environment: &Environment,
    agent: &AgentFacts,
    databases: &[Database],
    stopped: Option<&str>,
    now: Timestamp,
) -> (Vec<ComponentMove>, String) {
    let own = || databases.iter().filter(|database| database.spec.environment_id == environment.id && !database.status.gone());
    // Where nothing runs nothing is disturbed.
    let windows: Vec<MaintenanceWindow> =
        own().filter(|database| database.status == DatabaseStatus::Available).map(|database| database.spec.maintenance()).collect();
    let (mut moves, mut reasons) = (Vec::new(), Vec::new());
    for one in newer(agent) {
        let facts = Facts {
            environment: &environment.id,
            component: one.component,
            running: Some(&one.from),
            stopped: environment.upgrades.paused || stopped.is_some(),
            windows: &windows,
            moving: own().any(|database| database.status.moving()),
        };
        match decide(&facts, now) {
            Decision::Move(_) => {
                reasons.push(format!("{} {} goes to {}", one.component, one.from, one.version));
                moves.push(one);
            }
            Decision::Stay(why) => reasons.push(match stopped.filter(|why| !why.is_empty()) {
                Some(stopped) => format!("{why}: {stopped}"),
                None => why,
            }),
        }
    }
    (moves, reasons.join("; "))
}

/// Looks, when a database's window has opened, whether operator and plugin move now, and begins it. Answers whether they are being
/// moved, so that the databases' own maintenance waits for its next window.
///
/// # Errors
/// When records cannot be read or written; [`PortError::Conflict`] when somebody was first: then it is looked at again.
pub(crate) async fn upgrade_first<P: Ports>(ports: &P, environment: &Environment) -> Result<bool, PortError> {
    if environment.upgrades.running.is_some() {
        return Ok(true);
    }
    if environment.status != EnvironmentStatus::Connected {
        return Ok(false);
    }
    let Some(agent) = ports.agents().agent_get(&environment.id).await? else { return Ok(false) };
    // Most of the time there is nothing newer: then nothing else is read, and nothing written.
    if newer(&agent.facts).is_empty() {
        return Ok(false);
    }
    let (databases, now) = (ports.records().database_list(&environment.organization_id).await?, ports.clock().now());
    let stopped = ports.records().upgrades_stopped().await?;
    let (moves, reason) = decided(environment, &agent.facts, &databases, stopped.as_deref(), now);
    if moves.is_empty() {
        tracing::info!(environment_id = %environment.id, reason, "operator and plugin stay");
        return Ok(false);
    }
    let id = OperationId::from_random(ports.random().bits());
    let decision = UpgradeDecision { at: now, moves: moves.clone(), reason };
    let upgrades = Upgrades { decision: Some(decision), ..environment.upgrades.clone() };
    let accepted = accept_upgrade(Environment { upgrades, ..environment.clone() }, moves, id.clone(), now).map_err(PortError::Refused)?;
    ports.records().records_commit(accepted.writes).await?;
    tracing::info!(environment_id = %environment.id, operation_id = %id, "operator or plugin move");
    if let Err(error) = ports.doorbell().doorbell_ring(&id, Duration::ZERO).await {
        // The operation is due: the next sweep rings for it.
        tracing::warn!(%error, operation_id = %id, "the doorbell did not ring");
    }
    Ok(true)
}
