//! [`Agents`] in memory: commands in order of sending, and the last word of each agent.
use crate::world::{World, at};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::event::{DATABASE_EVENTS_MAX, DatabaseEvent};
use kiven_model::logs::{BATCHES_MAX, SealedBatch};
use kiven_model::report::{AgentRecord, Observation};
use kiven_model::{Code, DatabaseId, EnvironmentId, LogSessionId, Problem};
use kiven_ports::agents::{Claimed, CommandRecord, CommandState, SessionClaim};
use kiven_ports::{Agents, PortError};
use std::collections::BTreeMap;

/// How long a command is on its way to the agent.
const ON_ITS_WAY_MS: i64 = 40;

/// Who serves an environment's agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served {
    pub(crate) epoch: u64,
    session: Option<u64>,
    revoked_before: Option<Timestamp>,
}

impl Served {
    fn claim(&mut self, claim: &SessionClaim) -> Claimed {
        if self.revoked_before.is_some_and(|before| before > claim.certified_at) {
            return Claimed::Revoked;
        }
        if let Some(session) = self.session.filter(|session| *session >= claim.session) {
            return Claimed::Superseded { session };
        }
        self.session = Some(claim.session);
        self.epoch += 1;
        Claimed::Owned { epoch: self.epoch }
    }
    pub(crate) fn revoke(&mut self, before: Timestamp) {
        self.revoked_before = self.revoked_before.max(Some(before));
        self.epoch += 1;
    }
}

/// Commands and sayings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox {
    commands: Vec<CommandRecord>,
    agents: BTreeMap<EnvironmentId, AgentRecord>,
    observations: BTreeMap<(DatabaseId, String), ((u64, u64), Observation)>,
    batches: BTreeMap<(LogSessionId, u64), SealedBatch>,
    /// By database, time, kind and subject.
    events: BTreeMap<(DatabaseId, Timestamp, &'static str, String), DatabaseEvent>,
}

impl Inbox {
    pub(crate) fn find(&self, id: &str) -> Option<&CommandRecord> {
        self.commands.iter().find(|record| record.command.id == id)
    }
    fn state(&mut self, id: &str) -> Option<&mut CommandState> {
        self.commands.iter_mut().find(|record| record.command.id == id).map(|record| &mut record.state)
    }
    /// Refuses what no careful sender would send.
    fn send(&mut self, command: &Command, now: Timestamp) -> Result<(), PortError> {
        let refused = |why: &str| Err(PortError::Refused(Problem::new(Code::AGENT_REFUSED, format!("{why}: {}", command.id))));
        if let Some(known) = self.find(&command.id) {
            return if known.command == *command { Ok(()) } else { refused("the id was used for another command") };
        }
        if !command.id.starts_with(&format!("{}/", command.operation_id)) {
            return refused("the id is not of the operation that asks");
        }
        if command.not_after <= now || (command.database_id.is_some() && command.fence == 0) {
            return refused("the command has expired or carries no fence");
        }
        self.commands.push(CommandRecord { command: command.clone(), state: CommandState::Pending });
        Ok(())
    }
    pub(crate) fn due(&self, environment: &EnvironmentId, session: u64) -> Vec<Command> {
        let open = |state: &CommandState| match state {
            CommandState::Pending => true,
            CommandState::Delivered { session: known } => *known != session,
            CommandState::Answered(_) | CommandState::Withdrawn => false,
        };
        self.commands.iter().filter(|r| r.command.environment_id == *environment && open(&r.state)).map(|r| r.command.clone()).collect()
    }
    fn called(&self, now: Timestamp) -> Vec<EnvironmentId> {
        let pending = self.commands.iter().filter(|r| r.state == CommandState::Pending && r.command.not_after > now);
        let called: std::collections::BTreeSet<EnvironmentId> = pending.map(|r| r.command.environment_id.clone()).collect();
        called.into_iter().collect()
    }
    pub(crate) fn delivered(&mut self, id: &str, session: u64) -> bool {
        match self.state(id) {
            Some(state @ (CommandState::Pending | CommandState::Delivered { .. })) => {
                *state = CommandState::Delivered { session };
                true
            }
            Some(CommandState::Answered(_) | CommandState::Withdrawn) | None => false,
        }
    }
    pub(crate) fn answer(&mut self, id: &str, outcome: &CommandOutcome) {
        if let Some(state @ (CommandState::Pending | CommandState::Delivered { .. })) = self.state(id) {
            *state = CommandState::Answered(outcome.clone());
        }
    }
    pub(crate) fn agent_put(&mut self, agent: &AgentRecord) {
        let newer = self.agents.get(&agent.environment_id).is_none_or(|known| known.session <= agent.session);
        if newer {
            self.agents.insert(agent.environment_id.clone(), agent.clone());
        }
    }
    pub(crate) fn observation_put(&mut self, observation: &Observation, order: (u64, u64)) {
        let key = (observation.database_id.clone(), observation.cluster.clone());
        if self.observations.get(&key).is_none_or(|(known, _)| *known < order) {
            self.observations.insert(key, (order, observation.clone()));
        }
    }
    pub(crate) fn event_put(&mut self, event: &DatabaseEvent) {
        let key = (event.database_id.clone(), event.at, event.what.kind(), event.what.subject().to_owned());
        self.events.insert(key, event.clone());
    }
    /// Commands that still may have an effect.
    pub(crate) fn open(&self) -> Vec<String> {
        self.commands.iter().filter(|record| record.open()).map(|record| record.command.id.clone()).collect()
    }
}

impl Agents for World {
    async fn command_send(&self, command: &Command) -> Result<(), PortError> {
        self.effect("command_send", |state| {
            state.inbox.send(command, at(state.now))?;
            let now = state.now;
            state.agent.wake(now + ON_ITS_WAY_MS);
            Ok(())
        })
    }
    async fn command_get(&self, id: &str) -> Result<Option<CommandRecord>, PortError> {
        self.effect("command_get", |state| Ok(state.inbox.find(id).cloned()))
    }
    async fn command_withdraw(&self, id: &str) -> Result<Option<CommandState>, PortError> {
        self.effect("command_withdraw", |state| {
            let Some(found) = state.inbox.state(id) else { return Ok(None) };
            if *found == CommandState::Pending {
                *found = CommandState::Withdrawn;
            }
            Ok(Some(found.clone()))
        })
    }
    async fn session_claim(&self, claim: &SessionClaim) -> Result<Claimed, PortError> {
        self.effect("session_claim", |state| Ok(state.store.sessions.entry(claim.environment_id.clone()).or_default().claim(claim)))
    }
    async fn session_epoch(&self, environment: &EnvironmentId) -> Result<u64, PortError> {
        self.effect("session_epoch", |state| Ok(state.store.sessions.get(environment).map_or(0, |served| served.epoch)))
    }
    async fn environments_called(&self, now: Timestamp) -> Result<Vec<EnvironmentId>, PortError> {
        self.effect("environments_called", |state| Ok(state.inbox.called(now)))
    }
    async fn commands_due(&self, environment: &EnvironmentId, session: u64) -> Result<Vec<String>, PortError> {
        self.effect("commands_due", |state| Ok(state.inbox.due(environment, session).into_iter().map(|command| command.id).collect()))
    }
    async fn command_take(&self, id: &str, session: u64, epoch: u64) -> Result<Option<Command>, PortError> {
        self.effect("command_take", |state| {
            let Some(command) = state.inbox.find(id).filter(|record| record.open()).map(|record| record.command.clone()) else { return Ok(None) };
            if state.store.sessions.get(&command.environment_id).is_none_or(|served| served.epoch != epoch) {
                return Err(PortError::Conflict("the session's epoch".to_owned()));
            }
            Ok(state.inbox.delivered(id, session).then_some(command))
        })
    }
    async fn command_answer(&self, id: &str, outcome: &CommandOutcome) -> Result<(), PortError> {
        self.effect("command_answer", |state| {
            state.inbox.answer(id, outcome);
            Ok(())
        })
    }
    async fn agent_put(&self, agent: &AgentRecord) -> Result<(), PortError> {
        self.effect("agent_put", |state| {
            state.inbox.agent_put(agent);
            Ok(())
        })
    }
    async fn agent_get(&self, environment: &EnvironmentId) -> Result<Option<AgentRecord>, PortError> {
        self.effect("agent_get", |state| Ok(state.inbox.agents.get(environment).cloned()))
    }
    async fn observation_put(&self, observation: &Observation, order: (u64, u64)) -> Result<(), PortError> {
        self.effect("observation_put", |state| {
            state.inbox.observation_put(observation, order);
            Ok(())
        })
    }
    async fn observation_get(&self, database: &DatabaseId, cluster: &str) -> Result<Option<Observation>, PortError> {
        self.effect("observation_get", |state| {
            Ok(state.inbox.observations.get(&(database.clone(), cluster.to_owned())).map(|(_, seen)| seen.clone()))
        })
    }
    async fn event_put(&self, event: &DatabaseEvent) -> Result<(), PortError> {
        self.effect("event_put", |state| {
            state.inbox.event_put(event);
            Ok(())
        })
    }
    async fn event_list(&self, database: &DatabaseId) -> Result<Vec<DatabaseEvent>, PortError> {
        self.effect("event_list", |state| {
            let own = state.inbox.events.values().rev().filter(|event| event.database_id == *database);
            Ok(own.take(DATABASE_EVENTS_MAX).cloned().collect())
        })
    }
    async fn log_batch_put(&self, batch: &SealedBatch, _until: Timestamp) -> Result<(), PortError> {
        self.effect("log_batch_put", |state| {
            state.inbox.batches.insert((batch.session_id.clone(), batch.sequence), batch.clone());
            Ok(())
        })
    }
    async fn log_batch_list(&self, session: &LogSessionId, after: u64) -> Result<Vec<SealedBatch>, PortError> {
        self.effect("log_batch_list", |state| {
            let own = state.inbox.batches.range((session.clone(), after.saturating_add(1))..=(session.clone(), u64::MAX));
            Ok(own.take(BATCHES_MAX).map(|(_, batch)| batch.clone()).collect())
        })
    }
}
