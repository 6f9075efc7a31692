//! What an agent said, recorded; the doorbell rings only for an operation that waits for it.
use kiven_model::OperationId;
use kiven_model::environment::EnvironmentStatus;
use kiven_model::report::{AgentRecord, Report, ReportBody};
use kiven_ports::{Agents, Doorbell, PortError, Ports, Records};
use std::time::Duration;

/// Records one report.
///
/// # Errors
/// When it could not be recorded: it comes again.
pub async fn record<P: Ports>(ports: &P, report: &Report) -> Result<(), PortError> {
    let waiting = match &report.body {
        ReportBody::Facts(facts) => {
            let environment_id = report.environment_id.clone();
            let record = AgentRecord { environment_id, session: report.session, seen_at: report.at, facts: facts.clone() };
            ports.agents().agent_put(&record).await?;
            let environment = ports.records().environment_get(&report.environment_id).await?;
            environment.filter(|e| e.status == EnvironmentStatus::Connecting).and_then(|e| e.operation_id)
        }
        ReportBody::Observed(observation) => {
            let database = ports.records().database_get(&observation.database_id).await?;
            let Some(database) = database.filter(|d| d.spec.environment_id == report.environment_id) else {
                tracing::warn!(environment_id = %report.environment_id, database_id = %observation.database_id, "an observation of another environment's database");
                return Ok(());
            };
            ports.agents().observation_put(observation, (report.session, report.sequence)).await?;
            if database.status.moving() { database.operation_id } else { None }
        }
        ReportBody::Answered { command_id, outcome } => {
            let known = ports.agents().command_get(command_id).await?;
            let Some(known) = known.filter(|known| known.command.environment_id == report.environment_id) else {
                tracing::warn!(environment_id = %report.environment_id, command_id, "an answer to a command that was never sent there");
                return Ok(());
            };
            ports.agents().command_answer(command_id, outcome).await?;
            Some(known.command.operation_id)
        }
        ReportBody::Dropped { count } => {
            tracing::warn!(environment_id = %report.environment_id, count, "the agent dropped reports");
            None
        }
    };
    if let Some(operation) = waiting {
        ring(ports, &operation).await;
    }
    Ok(())
}

/// A lost ring is the sweep's to make good.
async fn ring<P: Ports>(ports: &P, operation: &OperationId) {
    if let Err(error) = ports.doorbell().doorbell_ring(operation, Duration::ZERO).await {
        tracing::warn!(%error, operation_id = %operation, "the doorbell did not ring");
    }
}
