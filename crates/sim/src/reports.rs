//! What becomes of a report, by the rules of the function `reports`: recorded, and rung for whoever waits.
use crate::world::State;
use kiven_model::OperationId;
use kiven_model::environment::EnvironmentStatus;
use kiven_model::report::{AgentRecord, Report, ReportBody};
use std::time::Duration;

impl State {
    pub(crate) fn report(&mut self, report: &Report) {
        if let Some(operation) = self.recorded(report) {
            self.ring(&operation, Duration::ZERO);
        }
    }

    /// Records it and answers who waits for it.
    fn recorded(&mut self, report: &Report) -> Option<OperationId> {
        match &report.body {
            ReportBody::Facts(facts) => {
                let environment_id = report.environment_id.clone();
                self.inbox.agent_put(&AgentRecord { environment_id, session: report.session, seen_at: report.at, facts: facts.clone() });
                let environment = self.store.environments.get(&report.environment_id)?;
                if environment.status == EnvironmentStatus::Connecting { environment.operation_id.clone() } else { None }
            }
            ReportBody::Observed(observation) => {
                let database = self.store.databases.get(&observation.database_id).filter(|d| d.spec.environment_id == report.environment_id)?;
                self.inbox.observation_put(observation, (report.session, report.sequence));
                if database.status.moving() { database.operation_id.clone() } else { None }
            }
            ReportBody::Answered { command_id, outcome } => {
                let known = self.inbox.find(command_id).filter(|known| known.command.environment_id == report.environment_id)?;
                let operation = (!known.command.body.is_for_a_reader()).then(|| known.command.operation_id.clone());
                self.inbox.answer(command_id, outcome);
                operation
            }
            ReportBody::Event(event) => {
                self.store.databases.get(&event.database_id).filter(|d| d.spec.environment_id == report.environment_id)?;
                self.inbox.event_put(event);
                None
            }
            ReportBody::Logged(_) | ReportBody::Sealed(_) | ReportBody::Statistics(_) | ReportBody::Dropped { .. } => None,
        }
    }
}
