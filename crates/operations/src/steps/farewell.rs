//! Disconnecting: which databases there are, letting go of them or deleting them, and the agent's last command.
use super::connect::SILENT_SECONDS_MAX;
use super::{Target, ask};
use crate::accept::accept_database;
use crate::accept_disconnect::refuse_farewell;
use crate::input::DisconnectInput;
use jiff::SignedDuration;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::CommandBody;
use kiven_model::database::Database;
use kiven_model::environment::Farewell;
use kiven_model::lifecycle::{DatabaseStatus, Event, next};
use kiven_model::operation::OperationKind;
use kiven_model::{Code, DatabaseId, EnvironmentId, OperationId, OrganizationId, Problem};
use kiven_ports::{Agents, Doorbell, NameClaim, Ports, Random, Records, Write};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Most databases of one environment that are disconnected with it.
const DATABASES_MAX: usize = 500;
/// The longest grace is 90 days; after it a purge takes minutes, or waits for a lost role.
const GONE_DAYS_MAX: u64 = 120;
/// How often a grace is looked at: its end rings nobody.
const GRACE_LOOK_MAX: Duration = Duration::from_secs(600);
/// How long an agent that was heard a moment ago has to answer.
const LAST_WORD_SECONDS_MAX: i64 = 120;

fn gone(what: impl std::fmt::Display) -> StepError {
    StepError::Failed(Problem::new(Code::NOT_FOUND, format!("the record of {what} is missing")))
}

/// Finds the environment's databases, waits for those that move, and refuses what the farewell does not allow.
#[derive(Debug, Clone, Serialize)]
pub struct ReadDatabases {
    environment_id: EnvironmentId,
    organization_id: OrganizationId,
    environment: String,
    farewell: Farewell,
}

impl ReadDatabases {
    pub(crate) fn of(input: &DisconnectInput) -> Self {
        Self {
            environment_id: input.environment_id.clone(),
            organization_id: input.organization_id.clone(),
            environment: input.environment.name.clone(),
            farewell: input.farewell,
        }
    }

    /// The names are strongly consistent and the list is not: a database that was made a moment ago is found by its name, one
    /// whose name is free already by the list.
    async fn read<P: Ports>(&self, ports: &P) -> Result<Vec<Database>, StepError> {
        let records = ports.records();
        let listed = records.database_list(&self.organization_id).await?.into_iter().filter(|one| one.spec.environment_id == self.environment_id);
        let mut ids: BTreeSet<DatabaseId> = listed.filter(|one| !one.status.gone()).map(|one| one.id).collect();
        for name in records.database_names(&self.environment_id).await? {
            let owner = records.name_owner(&NameClaim::Database(self.environment_id.clone(), name)).await?;
            ids.extend(owner.and_then(|owner| DatabaseId::parse(&owner).ok()));
        }
        let mut databases = Vec::new();
        if ids.len() > DATABASES_MAX {
            let problem = Problem::new(Code::ENVIRONMENT_IN_USE, format!("the environment `{}` has {} databases", self.environment, ids.len()));
            return Err(problem.hint(format!("At most {DATABASES_MAX} are disconnected together: delete some first.")).into());
        }
        for id in ids {
            databases.extend(records.database_get(&id).await?.filter(|one| !one.status.gone()));
        }
        Ok(databases)
    }
}

impl<P: Ports> Step<P> for ReadDatabases {
    const NAME: &'static str = "read_databases";
    type Output = Vec<DatabaseId>;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<Vec<DatabaseId>>, StepError> {
        let databases = self.read(ports).await?;
        refuse_farewell(&self.environment, Some(self.farewell), &databases)?;
        // A purge under way is the end that is waited for later; a release waits for every end.
        let busy = |one: &&Database| one.status.moving() && (self.farewell == Farewell::Release || one.status != DatabaseStatus::Purging);
        if let Some(moving) = databases.iter().find(busy) {
            let after = at.look_again(Duration::from_millis(500), Duration::from_secs(10));
            return Ok(Progress::Pending { after, on: format!("database `{}`, which is {}", moving.spec.name, moving.status) });
        }
        Ok(Progress::Done(databases.into_iter().map(|one| one.id).collect()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<Vec<DatabaseId>>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Ends Kiven's record of a database that runs, and its part in a schedule. Nothing in the account or cluster is touched.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseDatabase {
    database_id: DatabaseId,
}

impl ReleaseDatabase {
    pub(crate) fn each(databases: &[DatabaseId]) -> Vec<Self> {
        databases.iter().map(|id| Self { database_id: id.clone() }).collect()
    }
}

impl<P: Ports> Step<P> for ReleaseDatabase {
    const NAME: &'static str = "release_database";
    type Output = ();
    fn key(&self) -> String {
        format!("release_database:{}", self.database_id)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let database = ports.records().database_get(&self.database_id).await?.ok_or_else(|| gone(&self.database_id))?;
        if database.status.gone() {
            return Ok(Progress::Done(()));
        }
        // Accepted by somebody who had read the environment a moment before.
        if database.status.moving() {
            let after = at.look_again(Duration::from_millis(500), Duration::from_secs(10));
            return Ok(Progress::Pending { after, on: format!("database `{}`, which is {}", database.spec.name, database.status) });
        }
        let status = next(database.status, Event::LetGo).map_err(|error| {
            let problem = Problem::new(Code::NOT_RELEASABLE, format!("database `{}` is {}", database.spec.name, database.status));
            problem.detail(error.to_string()).hint("Bring it to run again or delete it, then disconnect again.")
        })?;
        let claim = NameClaim::Database(database.spec.environment_id.clone(), database.spec.name.to_string());
        let mut writes = vec![Write::NameFreed { claim, owner: database.id.to_string() }];
        if let Some(power) = ports.records().scheduled_power_get(&database.id).await? {
            writes.push(Write::ScheduledPowerGone { id: database.id.clone(), expected: power.version });
        }
        let (expected, version) = (Some(database.version), database.version + 1);
        let record = Database { status, problem: None, maintenance_due: None, updated_at: at.now, version, ..database };
        writes.push(Write::Database { record: Box::new(record), expected });
        ports.records().records_commit(writes).await?;
        Ok(Progress::Done(()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // never reached: it begins past the point of no return
    }
}

/// Begins the deletion of a database, with its own deletion settings and the consent of whoever asked for the disconnect.
#[derive(Debug, Clone, Serialize)]
pub struct BeginDelete {
    database_id: DatabaseId,
    environment_id: EnvironmentId,
    actor: String,
}

impl BeginDelete {
    pub(crate) fn each(input: &DisconnectInput, databases: &[DatabaseId]) -> Vec<Self> {
        let one = |id: &DatabaseId| Self { database_id: id.clone(), environment_id: input.environment_id.clone(), actor: input.actor.clone() };
        databases.iter().map(one).collect()
    }
}

impl<P: Ports> Step<P> for BeginDelete {
    const NAME: &'static str = "begin_delete";
    type Output = ();
    fn key(&self) -> String {
        format!("begin_delete:{}", self.database_id)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let database = ports.records().database_get(&self.database_id).await?.ok_or_else(|| gone(&self.database_id))?;
        match database.status {
            status if status.name_free() || status == DatabaseStatus::Deleting => return Ok(Progress::Done(())),
            status if status.moving() => {
                let after = at.look_again(Duration::from_millis(500), Duration::from_secs(10));
                return Ok(Progress::Pending { after, on: format!("database `{}`, which is {status}", database.spec.name) });
            }
            _ => refuse_farewell(&database.spec.name.to_string(), Some(Farewell::Destroy), std::slice::from_ref(&database))?,
        }
        let environment = ports.records().environment_get(&self.environment_id).await?.ok_or_else(|| gone(&self.environment_id))?;
        let id = OperationId::from_random(ports.random().bits());
        let expected = Some(database.version);
        let accepted = accept_database(&environment, database, expected, OperationKind::Delete, id, &self.actor, at.now)?;
        ports.records().records_commit(accepted.writes).await?;
        if let Err(error) = ports.doorbell().doorbell_ring(&accepted.operation.id, Duration::ZERO).await {
            // It is due: the next sweep rings for it.
            tracing::warn!(%error, operation_id = %accepted.operation.id, "the doorbell did not ring");
        }
        Ok(Progress::Done(()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // a deletion is taken back by an undelete, by whoever wants it
    }
}

/// Waits until a database's grace is over and nothing is left of it.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitGone {
    database_id: DatabaseId,
}

impl AwaitGone {
    pub(crate) fn each(databases: &[DatabaseId]) -> Vec<Self> {
        databases.iter().map(|id| Self { database_id: id.clone() }).collect()
    }
}

impl<P: Ports> Step<P> for AwaitGone {
    const NAME: &'static str = "await_gone";
    const WAIT_MAX: Duration = Duration::from_secs(GONE_DAYS_MAX * 24 * 3_600);
    type Output = ();
    fn key(&self) -> String {
        format!("await_gone:{}", self.database_id)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        // A record that has expired is of a database that is gone.
        let Some(database) = ports.records().database_get(&self.database_id).await? else { return Ok(Progress::Done(())) };
        let name = &database.spec.name;
        let on = match (database.status, database.delete_after) {
            (status, _) if status.gone() => return Ok(Progress::Done(())),
            (DatabaseStatus::Grace, Some(until)) => format!("the grace of database `{name}`, until {until:.0}"),
            (DatabaseStatus::Available | DatabaseStatus::Paused, _) => {
                let problem = Problem::new(Code::WRONG_STATE, format!("the deletion of database `{name}` was taken back"));
                return Err(StepError::Failed(problem.hint("The environment stays connected. Disconnect it again when nothing of it is wanted.")));
            }
            (DatabaseStatus::Stuck, _) => {
                let problem = Problem::new(Code::WRONG_STATE, format!("the deletion of database `{name}` is stuck"));
                let problem = problem.detail(database.problem.map(|problem| problem.to_string()).unwrap_or_default());
                return Err(StepError::Failed(problem.hint("Delete it again once the reason is mended, then disconnect again.")));
            }
            (status, _) => format!("database `{name}`, which is {status}"),
        };
        Ok(Progress::Pending { after: at.look_again(Duration::from_secs(1), GRACE_LOOK_MAX), on })
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Tells the agent that it is released, if it is there. A silent one is no reason to stay: it gets no commands any more.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseAgent {
    environment_id: EnvironmentId,
}

impl ReleaseAgent {
    pub(crate) fn of(input: &DisconnectInput) -> Self {
        Self { environment_id: input.environment_id.clone() }
    }
}

impl<P: Ports> Step<P> for ReleaseAgent {
    const NAME: &'static str = "release_agent";
    type Output = bool;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<bool>, StepError> {
        let record = ports.agents().agent_get(&self.environment_id).await?;
        let heard = record.is_some_and(|agent| at.now.duration_since(agent.seen_at) < SignedDuration::from_secs(SILENT_SECONDS_MAX));
        let late = at.now.duration_since(at.started_at) > SignedDuration::from_secs(LAST_WORD_SECONDS_MAX);
        if !heard || late {
            ports.agents().command_withdraw(&super::attempt_id(at.token(), at)).await?;
            return Ok(Progress::Done(false));
        }
        let target = Target { environment_id: self.environment_id.clone(), database_id: None, cluster: String::new(), fence: 0 };
        match ask(ports, at, at.token(), &target, CommandBody::Release).await {
            Ok(Progress::Done(_)) => Ok(Progress::Done(true)),
            Ok(Progress::Pending { after, on }) => Ok(Progress::Pending { after, on }),
            // It would not, or could not: the environment goes without its agreement.
            Err(StepError::Failed(problem)) => {
                tracing::warn!(%problem, environment_id = %self.environment_id, "the agent did not take its release");
                Ok(Progress::Done(false))
            }
            Err(error) => Err(error),
        }
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<bool>) -> Result<Progress<()>, StepError> {
        super::withdraw(ports, at).await
    }
}
