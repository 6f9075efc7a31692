//! What the customer's own rights installed, and Kiven only verifies.
use crate::input::DatabaseInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::report::AgentFacts;
use kiven_model::{Code, EnvironmentId, Problem};
use kiven_ports::{Agents, Ports};
use serde::Serialize;

async fn facts<P: Ports>(ports: &P, environment: &EnvironmentId) -> Result<AgentFacts, StepError> {
    let silent = || Problem::new(Code::AGENT_SILENT, "the environment's agent has never reported");
    Ok(ports.agents().agent_get(environment).await?.ok_or_else(silent)?.facts)
}

/// Step 2: the StorageClass that came with the chart.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyStorageClass {
    environment_id: EnvironmentId,
}

impl VerifyStorageClass {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { environment_id: input.access.environment_id.clone() }
    }
}

impl<P: Ports> Step<P> for VerifyStorageClass {
    const NAME: &'static str = "verify_storage_class";
    type Output = ();
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<()>, StepError> {
        if facts(ports, &self.environment_id).await?.storage_class {
            return Ok(Progress::Done(()));
        }
        let problem = Problem::new(Code::STORAGE_CLASS_MISSING, "the StorageClass `kiven-gp3` is not in the cluster");
        Err(StepError::Failed(problem.hint("Install or upgrade the agent's chart: it brings the StorageClass under your own rights.")))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Step 5: the operator that came with the chart.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyOperator {
    environment_id: EnvironmentId,
}

impl VerifyOperator {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { environment_id: input.access.environment_id.clone() }
    }
}

impl<P: Ports> Step<P> for VerifyOperator {
    const NAME: &'static str = "verify_operator";
    type Output = String;
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<String>, StepError> {
        let missing = || {
            let problem = Problem::new(Code::OPERATOR_MISSING, "the CloudNativePG operator is not ready in the cluster");
            problem.hint("Install or upgrade the agent's chart, and look at `kubectl -n kiven-system get deployments`.")
        };
        Ok(Progress::Done(facts(ports, &self.environment_id).await?.operator_version.ok_or_else(missing)?))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<String>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}
