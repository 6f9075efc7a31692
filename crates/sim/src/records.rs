//! [`Records`] in memory: the fences of the real store, and a few more.
use crate::commands::Served;
use crate::world::{World, at, steal};
use jiff::Timestamp;
use kiven_model::database::Database;
use kiven_model::enrolment::AgentToken;
use kiven_model::environment::Environment;
use kiven_model::ids::ApiKeyId;
use kiven_model::logs::LogSession;
use kiven_model::operation::{Operation, OperationEvent, StepRecord};
use kiven_model::organization::{ApiKey, Organization};
use kiven_model::schedule::{POWER_EVENTS_MAX, PowerEvent, Schedule, ScheduledPower};
use kiven_model::{Code, DatabaseId, EnvironmentId, LogSessionId, OperationId, OrganizationId, Problem, ScheduleId};
use kiven_ports::records::{EVENTS_MAX, WRITES_MAX};
use kiven_ports::{NameClaim, PortError, Records, Write};
use std::collections::{BTreeMap, BTreeSet};

/// Most operations in one list.
const OPERATIONS_MAX: usize = 100;

/// Every record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    organizations: BTreeMap<OrganizationId, Organization>,
    keys: BTreeMap<ApiKeyId, ApiKey>,
    pub(crate) environments: BTreeMap<EnvironmentId, Environment>,
    pub(crate) databases: BTreeMap<DatabaseId, Database>,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    steps: BTreeMap<OperationId, BTreeMap<String, StepRecord>>,
    events: BTreeMap<OperationId, BTreeMap<u64, OperationEvent>>,
    names: BTreeMap<NameClaim, String>,
    schedules: BTreeMap<ScheduleId, Schedule>,
    pub(crate) powers: BTreeMap<DatabaseId, ScheduledPower>,
    power_events: BTreeMap<DatabaseId, Vec<PowerEvent>>,
    agent_tokens: BTreeMap<(EnvironmentId, String), AgentToken>,
    pub(crate) sessions: BTreeMap<EnvironmentId, Served>,
    log_sessions: BTreeMap<LogSessionId, LogSession>,
    upgrades_stopped: Option<String>,
}

fn refused(why: impl Into<String>) -> PortError {
    PortError::Refused(Problem::new(Code::REPLAY_DIFFERS, why))
}

fn fence(what: &str, stored: Option<u64>, expected: Option<u64>, version: u64) -> Result<(), PortError> {
    if stored != expected {
        return Err(PortError::Conflict(what.to_owned()));
    }
    // Real stores would take any number; one that is not the next is a bug of the writer.
    if version != expected.map_or(1, |version| version + 1) {
        return Err(refused(format!("{what} was to get version {version} after {expected:?}")));
    }
    Ok(())
}

fn same(what: &str, stored: Option<u64>, expected: u64) -> Result<(), PortError> {
    if stored == Some(expected) { Ok(()) } else { Err(PortError::Conflict(what.to_owned())) }
}

/// What a write is about, to find two writes of one thing in a transaction.
fn item(write: &Write) -> String {
    match write {
        Write::Organization(record) => record.id.to_string(),
        Write::ApiKey(record) => record.id.to_string(),
        Write::Environment { record, .. } => record.id.to_string(),
        Write::EnvironmentGone { id, .. } | Write::EnvironmentKept { id, .. } => id.to_string(),
        Write::AgentToken(record) => record.sha256.clone(),
        Write::AgentTokenGone { sha256, .. } => sha256.clone(),
        Write::AgentsRevoked { environment, .. } => format!("{environment}/agents"),
        Write::Database { record, .. } => record.id.to_string(),
        Write::Operation { record, .. } => record.id.to_string(),
        Write::Step(id, step) => format!("{id}/{}", step.key),
        Write::Event(id, event) => format!("{id}#{}", event.sequence),
        Write::Schedule { record, .. } => record.id.to_string(),
        Write::ScheduleGone { id, .. } => id.to_string(),
        Write::LogSession { record, .. } => record.id.to_string(),
        Write::UpgradesStopped { .. } => "the stop of upgrades".to_owned(),
        Write::ScheduledPower { record, .. } => format!("{}/power", record.database_id),
        Write::ScheduledPowerGone { id, .. } => format!("{id}/power"),
        Write::PowerEvent(id, event) => format!("{id}/power/{}", event.at),
        Write::NameTaken { claim, .. } | Write::NameFreed { claim, .. } => format!("{claim:?}"),
    }
}

impl Store {
    /// Changes a head behind everybody's back, as another writer would.
    pub(crate) fn edit(&mut self, id: &OperationId, edit: impl FnOnce(&mut Operation)) {
        if let Some(head) = self.operations.get_mut(id).filter(|head| !head.status.over()) {
            edit(head);
            head.version += 1;
        }
    }

    fn check(&self, write: &Write) -> Result<(), PortError> {
        match write {
            Write::Organization(_)
            | Write::ApiKey(_)
            | Write::NameFreed { .. }
            | Write::PowerEvent(..)
            | Write::AgentsRevoked { .. }
            | Write::UpgradesStopped { .. } => Ok(()),
            Write::Environment { record, expected } => {
                fence("the environment", self.environments.get(&record.id).map(|e| e.version), *expected, record.version)
            }
            Write::EnvironmentGone { id, expected } | Write::EnvironmentKept { id, version: expected } => {
                same("the environment", self.environments.get(id).map(|e| e.version), *expected)
            }
            Write::AgentToken(record) => match self.agent_tokens.get(&(record.environment_id.clone(), record.sha256.clone())) {
                Some(_) => Err(PortError::Conflict("the agent's token".to_owned())),
                None => Ok(()),
            },
            Write::AgentTokenGone { environment, sha256 } => match self.agent_tokens.get(&(environment.clone(), sha256.clone())) {
                Some(_) => Ok(()),
                None => Err(PortError::Conflict("the agent's token".to_owned())),
            },
            Write::Database { record, expected } => {
                fence("the database", self.databases.get(&record.id).map(|d| d.version), *expected, record.version)
            }
            Write::Operation { record, expected } => self.check_operation(record, *expected),
            Write::Step(id, step) => self.check_step(id, step),
            Write::Event(id, event) => match self.events.get(id).and_then(|events| events.get(&event.sequence)) {
                Some(known) if known != &**event => Err(refused("an event is never rewritten")),
                Some(_) | None => Ok(()),
            },
            Write::Schedule { record, expected } => {
                fence("the schedule", self.schedules.get(&record.id).map(|s| s.version), *expected, record.version)
            }
            Write::LogSession { record, expected } => {
                fence("the session", self.log_sessions.get(&record.id).map(|s| s.version), *expected, record.version)
            }
            Write::ScheduleGone { id, expected } => same("the schedule", self.schedules.get(id).map(|s| s.version), *expected),
            Write::ScheduledPower { record, expected } => {
                fence("the database's schedule", self.powers.get(&record.database_id).map(|p| p.version), *expected, record.version)
            }
            Write::ScheduledPowerGone { id, expected } => same("the database's schedule", self.powers.get(id).map(|p| p.version), *expected),
            Write::NameTaken { claim, owner } => match self.names.get(claim) {
                Some(known) if known != owner => Err(PortError::Conflict("the name".to_owned())),
                Some(_) | None => Ok(()),
            },
        }
    }

    fn check_operation(&self, record: &Operation, expected: Option<u64>) -> Result<(), PortError> {
        let stored = self.operations.get(&record.id);
        fence("the operation", stored.map(|o| o.version), expected, record.version)?;
        let Some(stored) = stored else { return Ok(()) };
        if stored.status.over() {
            return Err(refused("an operation that is over never changes"));
        }
        if stored.past_no_return && !record.past_no_return {
            return Err(refused("the point of no return is passed once"));
        }
        if stored.input != record.input || stored.kind != record.kind || stored.body_version != record.body_version {
            return Err(refused("what an operation works on never changes"));
        }
        Ok(())
    }

    fn check_step(&self, id: &OperationId, step: &StepRecord) -> Result<(), PortError> {
        if !self.operations.contains_key(id) {
            return Err(refused("a step of no operation"));
        }
        match self.steps.get(id).and_then(|steps| steps.get(&step.key)) {
            Some(known) if known.input != step.input || known.ordinal != step.ordinal => Err(refused("a step's input and place never change")),
            Some(_) | None => Ok(()),
        }
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Organization(record) => drop(self.organizations.insert(record.id.clone(), record)),
            Write::ApiKey(record) => drop(self.keys.insert(record.id.clone(), record)),
            Write::Environment { record, .. } => drop(self.environments.insert(record.id.clone(), *record)),
            Write::EnvironmentGone { id, .. } => drop(self.environments.remove(&id)),
            Write::EnvironmentKept { .. } => {}
            Write::AgentToken(record) => drop(self.agent_tokens.insert((record.environment_id.clone(), record.sha256.clone()), *record)),
            Write::AgentsRevoked { environment, before } => self.sessions.entry(environment).or_default().revoke(before),
            Write::AgentTokenGone { environment, sha256 } => drop(self.agent_tokens.remove(&(environment, sha256))),
            Write::Database { record, .. } => drop(self.databases.insert(record.id.clone(), *record)),
            Write::Operation { record, .. } => drop(self.operations.insert(record.id.clone(), *record)),
            Write::Step(id, step) => drop(self.steps.entry(id).or_default().insert(step.key.clone(), *step)),
            Write::Event(id, event) => drop(self.events.entry(id).or_default().insert(event.sequence, *event)),
            Write::Schedule { record, .. } => drop(self.schedules.insert(record.id.clone(), *record)),
            Write::UpgradesStopped { reason } => self.upgrades_stopped = reason,
            Write::LogSession { record, .. } => drop(self.log_sessions.insert(record.id.clone(), *record)),
            Write::ScheduleGone { id, .. } => drop(self.schedules.remove(&id)),
            Write::ScheduledPower { record, .. } => drop(self.powers.insert(record.database_id.clone(), *record)),
            Write::ScheduledPowerGone { id, .. } => drop(self.powers.remove(&id)),
            Write::PowerEvent(id, event) => self.power_events.entry(id).or_default().push(*event),
            Write::NameTaken { claim, owner } => drop(self.names.insert(claim, owner)),
            Write::NameFreed { claim, owner } => {
                if self.names.get(&claim) == Some(&owner) {
                    self.names.remove(&claim);
                }
            }
        }
    }

    fn commit(&mut self, writes: Vec<Write>) -> Result<(), PortError> {
        if writes.len() > WRITES_MAX {
            return Err(refused(format!("{} writes in one transaction", writes.len())));
        }
        let items: BTreeSet<String> = writes.iter().map(item).collect();
        if items.len() != writes.len() {
            return Err(refused("one transaction writes one thing twice"));
        }
        // Heads that come in the same transaction are there for its steps.
        let heads: BTreeSet<&OperationId> =
            writes.iter().filter_map(|w| if let Write::Operation { record, .. } = w { Some(&record.id) } else { None }).collect();
        for write in &writes {
            match write {
                Write::Step(id, _) if heads.contains(id) && !self.operations.contains_key(id) => {}
                _ => self.check(write)?,
            }
        }
        for write in writes {
            self.write(write);
        }
        Ok(())
    }
}

impl Records for World {
    async fn records_commit(&self, writes: Vec<Write>) -> Result<(), PortError> {
        self.call("records_commit", |state| {
            if state.faults.dice.hits(state.faults.odds.lease_withdrawn) {
                let now = at(state.now);
                for write in &writes {
                    if let Write::Operation { record, expected: Some(_) } = write {
                        state.store.edit(&record.id, |head| steal(head, now));
                    }
                }
            }
            state.store.commit(writes)
        })
    }
    async fn organization_get(&self, id: &OrganizationId) -> Result<Option<Organization>, PortError> {
        self.call("organization_get", |state| Ok(state.store.organizations.get(id).cloned()))
    }
    async fn api_key_get(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, PortError> {
        self.call("api_key_get", |state| Ok(state.store.keys.get(id).cloned()))
    }
    async fn name_owner(&self, claim: &NameClaim) -> Result<Option<String>, PortError> {
        self.call("name_owner", |state| Ok(state.store.names.get(claim).cloned()))
    }
    async fn database_names(&self, environment: &EnvironmentId) -> Result<Vec<String>, PortError> {
        self.call("database_names", |state| {
            let taken = |claim: &NameClaim| match claim {
                NameClaim::Database(within, name) if within == environment => Some(name.clone()),
                NameClaim::Database(..) | NameClaim::Environment(..) | NameClaim::EksCluster(..) => None,
            };
            Ok(state.store.names.keys().filter_map(taken).collect())
        })
    }
    async fn environment_get(&self, id: &EnvironmentId) -> Result<Option<Environment>, PortError> {
        self.call("environment_get", |state| Ok(state.store.environments.get(id).cloned()))
    }
    async fn agent_token_get(&self, environment: &EnvironmentId, sha256: &str) -> Result<Option<AgentToken>, PortError> {
        self.call("agent_token_get", |state| Ok(state.store.agent_tokens.get(&(environment.clone(), sha256.to_owned())).cloned()))
    }
    async fn environment_list(&self, organization: &OrganizationId) -> Result<Vec<Environment>, PortError> {
        self.call("environment_list", |state| {
            let mut list: Vec<Environment> = state.store.environments.values().filter(|e| e.organization_id == *organization).cloned().collect();
            list.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
            Ok(list)
        })
    }
    async fn database_get(&self, id: &DatabaseId) -> Result<Option<Database>, PortError> {
        self.call("database_get", |state| Ok(state.store.databases.get(id).cloned()))
    }
    async fn database_list(&self, organization: &OrganizationId) -> Result<Vec<Database>, PortError> {
        self.call("database_list", |state| {
            let mut list: Vec<Database> = state.store.databases.values().filter(|d| d.organization_id == *organization).cloned().collect();
            list.sort_by_key(|database| database.spec.name.to_string());
            Ok(list)
        })
    }
    async fn operation_head(&self, id: &OperationId) -> Result<Option<Operation>, PortError> {
        let head = |known: &Operation| Operation { input: serde_json::Value::Null, ..known.clone() };
        self.call("operation_head", |state| Ok(state.store.operations.get(id).map(head)))
    }
    async fn operation_get(&self, id: &OperationId) -> Result<Option<Operation>, PortError> {
        self.call("operation_get", |state| Ok(state.store.operations.get(id).cloned()))
    }
    async fn operation_steps(&self, id: &OperationId) -> Result<Vec<StepRecord>, PortError> {
        self.call("operation_steps", |state| {
            let mut steps: Vec<StepRecord> = state.store.steps.get(id).into_iter().flat_map(BTreeMap::values).cloned().collect();
            steps.sort_by_key(|step| step.ordinal);
            Ok(steps)
        })
    }
    async fn operation_events(&self, id: &OperationId, after: u64) -> Result<Vec<OperationEvent>, PortError> {
        self.call("operation_events", |state| {
            let events = state.store.events.get(id).into_iter().flat_map(BTreeMap::values);
            Ok(events.filter(|event| event.sequence > after).take(EVENTS_MAX).cloned().collect())
        })
    }
    async fn operation_list(&self, organization: &OrganizationId) -> Result<Vec<Operation>, PortError> {
        self.call("operation_list", |state| {
            let mut list: Vec<Operation> = state.store.operations.values().filter(|o| o.organization_id == *organization).cloned().collect();
            list.sort_by_key(|operation| std::cmp::Reverse(operation.created_at));
            list.truncate(OPERATIONS_MAX);
            list.iter_mut().for_each(|operation| operation.input = serde_json::Value::Null);
            Ok(list)
        })
    }
    async fn schedule_get(&self, id: &ScheduleId) -> Result<Option<Schedule>, PortError> {
        self.call("schedule_get", |state| Ok(state.store.schedules.get(id).cloned()))
    }
    async fn schedule_list(&self, organization: &OrganizationId) -> Result<Vec<Schedule>, PortError> {
        self.call("schedule_list", |state| {
            let mut list: Vec<Schedule> = state.store.schedules.values().filter(|s| s.organization_id == *organization).cloned().collect();
            list.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            Ok(list)
        })
    }
    async fn upgrades_stopped(&self) -> Result<Option<String>, PortError> {
        self.call("upgrades_stopped", |state| Ok(state.store.upgrades_stopped.clone()))
    }
    async fn log_session_get(&self, id: &LogSessionId) -> Result<Option<LogSession>, PortError> {
        self.call("log_session_get", |state| Ok(state.store.log_sessions.get(id).cloned()))
    }
    async fn log_session_list(&self, organization: &OrganizationId) -> Result<Vec<LogSession>, PortError> {
        self.call("log_session_list", |state| {
            let open = |session: &&LogSession| session.organization_id == *organization && !session.closed;
            let mut list: Vec<LogSession> = state.store.log_sessions.values().filter(open).cloned().collect();
            list.sort_by(|a, b| (a.opened_at, &a.id).cmp(&(b.opened_at, &b.id)));
            Ok(list)
        })
    }
    async fn scheduled_power_get(&self, id: &DatabaseId) -> Result<Option<ScheduledPower>, PortError> {
        self.call("scheduled_power_get", |state| Ok(state.store.powers.get(id).cloned()))
    }
    async fn power_events(&self, id: &DatabaseId) -> Result<Vec<PowerEvent>, PortError> {
        self.call("power_events", |state| {
            let events = state.store.power_events.get(id).into_iter().flatten();
            Ok(events.rev().take(POWER_EVENTS_MAX).cloned().collect())
        })
    }
    async fn powers_due(&self, now: Timestamp, limit: usize) -> Result<Vec<DatabaseId>, PortError> {
        self.call("powers_due", |state| {
            let due = |power: &ScheduledPower| Some((power.next_due.filter(|at| *at <= now)?, power.database_id.clone()));
            let mut due: Vec<(Timestamp, DatabaseId)> = state.store.powers.values().filter_map(due).collect();
            due.sort();
            Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
        })
    }
    async fn maintenance_due(&self, now: Timestamp, limit: usize) -> Result<Vec<DatabaseId>, PortError> {
        self.call("maintenance_due", |state| {
            let due = |database: &Database| Some((database.maintenance_due.filter(|at| *at <= now)?, database.id.clone()));
            let mut due: Vec<(Timestamp, DatabaseId)> = state.store.databases.values().filter_map(due).collect();
            due.sort();
            Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
        })
    }
    async fn operations_due(&self, now: Timestamp, limit: usize) -> Result<Vec<OperationId>, PortError> {
        self.call("operations_due", |state| {
            let mut due: Vec<(Timestamp, OperationId)> =
                state.store.operations.values().filter_map(|o| o.due_at.filter(|at| *at <= now).map(|at| (at, o.id.clone()))).collect();
            due.sort();
            Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
        })
    }
}
