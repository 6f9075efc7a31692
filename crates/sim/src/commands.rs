//! [`Agents`] in memory: commands in order of sending, and the last word of each agent.
use crate::world::{World, at};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::event::{DATABASE_EVENTS_MAX, DatabaseEvent};
use kiven_model::report::{AgentRecord, Observation};
use kiven_model::{Code, DatabaseId, EnvironmentId, Problem};
use kiven_ports::agents::{CommandRecord, CommandState};
use kiven_ports::{Agents, PortError};
use std::collections::BTreeMap;

/// How long a command is on its way to the agent.
const ON_ITS_WAY_MS: i64 = 40;

/// Commands and sayings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox {
    commands: Vec<CommandRecord>,
    agents: BTreeMap<EnvironmentId, AgentRecord>,
    observations: BTreeMap<(DatabaseId, String), ((u64, u64), Observation)>,
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
        let open = |record: &&CommandRecord| matches!(record.state, CommandState::Pending | CommandState::Delivered { .. });
        self.commands.iter().filter(open).map(|record| record.command.id.clone()).collect()
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
    async fn commands_due(&self, environment: &EnvironmentId, session: u64) -> Result<Vec<Command>, PortError> {
        self.effect("commands_due", |state| Ok(state.inbox.due(environment, session)))
    }
    async fn command_delivered(&self, id: &str, session: u64) -> Result<bool, PortError> {
        self.effect("command_delivered", |state| Ok(state.inbox.delivered(id, session)))
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
}
