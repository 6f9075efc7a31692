//! Operator and plugin: what they wait for, and the move itself.
use super::{Target, ask, done, withdraw};
use crate::input::UpgradeInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::CommandBody;
use kiven_model::database::Database;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operators::Component;
use kiven_model::upgrade::ComponentMove;
use kiven_model::{Code, EnvironmentId, OrganizationId, Problem};
use kiven_ports::{Agents, Ports, Records};
use serde::Serialize;
use std::time::Duration;

/// How long databases may take to be well: before a move the next window is as good, after it instances follow one by one.
const WELL_MAX: Duration = Duration::from_secs(60 * 60);
/// How often is looked.
const LOOK_LEAST: Duration = Duration::from_secs(1);
const LOOK_MOST: Duration = Duration::from_secs(30);

/// Waits until every database that is meant to run does, and nothing changes any.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitDatabasesWell {
    environment_id: EnvironmentId,
    organization_id: OrganizationId,
    /// After which move; none for before the first.
    after: Option<ComponentMove>,
}

impl AwaitDatabasesWell {
    pub(crate) fn before(input: &UpgradeInput) -> Self {
        Self { environment_id: input.environment_id.clone(), organization_id: input.organization_id.clone(), after: None }
    }
    pub(crate) fn after(input: &UpgradeInput, one: &ComponentMove) -> Self {
        Self { after: Some(one.clone()), ..Self::before(input) }
    }

    /// Whether nothing is to be waited for.
    async fn is_well<P: Ports>(&self, ports: &P, database: &Database) -> Result<bool, StepError> {
        match database.status {
            DatabaseStatus::Available => {
                let seen = ports.agents().observation_get(&database.id, &database.names().cluster).await?;
                Ok(seen.is_some_and(|seen| seen.healthy()))
            }
            // Whoever changes a database after the move waits for the new operator, not it for them.
            status if status.moving() => Ok(self.after.is_some()),
            _ => Ok(true),
        }
    }
}

impl<P: Ports> Step<P> for AwaitDatabasesWell {
    const NAME: &'static str = "await_databases_well";
    const WAIT_MAX: Duration = WELL_MAX;
    type Output = ();
    fn key(&self) -> String {
        match &self.after {
            None => "await_databases_well/before".to_owned(),
            Some(one) => format!("await_databases_well/after-{}-{}", one.component.deployment(), one.version),
        }
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let databases = ports.records().database_list(&self.organization_id).await?;
        let mut unwell = Vec::new();
        for database in databases.into_iter().filter(|database| database.spec.environment_id == self.environment_id && !database.status.gone()) {
            if !self.is_well(ports, &database).await? {
                unwell.push(format!("`{}`", database.spec.name));
            }
        }
        if unwell.is_empty() {
            return Ok(Progress::Done(()));
        }
        Ok(Progress::Pending { after: at.look_again(LOOK_LEAST, LOOK_MOST), on: format!("{} to be well", unwell.join(", ")) })
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
    fn overdue(&self, on: &str) -> Problem {
        let hint = "Look at the databases that are named; then `kiven environments upgrade`, or wait for the next window.";
        Problem::new(Code::CLUSTER_NOT_HEALTHY, format!("still waiting for {on}")).hint(hint)
    }
}

/// Moves one of the two to its next release; the agent checks all of it again.
#[derive(Debug, Clone, Serialize)]
pub struct MoveComponent {
    environment_id: EnvironmentId,
    component: Component,
    version: String,
}

impl MoveComponent {
    pub(crate) fn of(input: &UpgradeInput, one: &ComponentMove) -> Self {
        Self { environment_id: input.environment_id.clone(), component: one.component, version: one.version.clone() }
    }
}

impl<P: Ports> Step<P> for MoveComponent {
    const NAME: &'static str = "move_component";
    /// Images are pulled and leaders elected meanwhile; pauses grow to a minute.
    const ATTEMPTS_MAX: u32 = 30;
    type Output = ();
    fn key(&self) -> String {
        format!("move_component/{}-{}", self.component.deployment(), self.version)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let target = Target { environment_id: self.environment_id.clone(), database_id: None, cluster: String::new(), fence: 0 };
        let body = CommandBody::MoveComponent { component: self.component, version: self.version.clone() };
        Ok(done(ask(ports, at, at.token(), &target, body).await?, |_| ()))
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await
    }
}
