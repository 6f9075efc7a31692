//! Agents: commands to them, and what they have said.
use crate::PortError;
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::event::DatabaseEvent;
use kiven_model::report::{AgentRecord, Observation};
use kiven_model::{DatabaseId, EnvironmentId};
use serde::{Deserialize, Serialize};
use std::future::Future;

/// Where a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// Recorded, not handed to an agent's session yet.
    Pending,
    /// Handed to a session; the effect may or may not have happened.
    Delivered {
        /// The agent's session.
        session: u64,
    },
    /// At its end.
    Answered(CommandOutcome),
    /// Taken back before it was delivered: it never had an effect.
    Withdrawn,
}

/// A command as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// What was asked.
    pub command: Command,
    /// Where it is.
    pub state: CommandState,
}

/// Commands and observations. The relay serves the agents from it, `reports` writes into it, steps read it.
pub trait Agents: Send + Sync {
    /// Records a command; one of the same id that is already there stays as it is.
    fn command_send(&self, command: &Command) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Reads a command.
    fn command_get(&self, id: &str) -> impl Future<Output = Result<Option<CommandRecord>, PortError>> + Send;
    /// Takes back a pending command; answers the state after the attempt, `None` when there never was one.
    fn command_withdraw(&self, id: &str) -> impl Future<Output = Result<Option<CommandState>, PortError>> + Send;
    /// Commands of an environment that are pending, or delivered to a session other than `session`, in order of sending.
    fn commands_due(&self, environment: &EnvironmentId, session: u64) -> impl Future<Output = Result<Vec<Command>, PortError>> + Send;
    /// Marks a command as handed to a session. False when it was withdrawn or answered meanwhile: it must not be handed over.
    fn command_delivered(&self, id: &str, session: u64) -> impl Future<Output = Result<bool, PortError>> + Send;
    /// Records a command's end; a second answer changes nothing. Asking again is another command.
    fn command_answer(&self, id: &str, outcome: &CommandOutcome) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Records what an agent says of itself; an older session changes nothing.
    fn agent_put(&self, agent: &AgentRecord) -> impl Future<Output = Result<(), PortError>> + Send;
    /// What an environment's agent last said of itself.
    fn agent_get(&self, environment: &EnvironmentId) -> impl Future<Output = Result<Option<AgentRecord>, PortError>> + Send;
    /// Records an observation; `(session, sequence)` orders them, an older one changes nothing.
    fn observation_put(&self, observation: &Observation, order: (u64, u64)) -> impl Future<Output = Result<(), PortError>> + Send;
    /// The newest observation of a generation.
    fn observation_get(&self, database: &DatabaseId, cluster: &str) -> impl Future<Output = Result<Option<Observation>, PortError>> + Send;
    /// Records what happened to a database; the same event again changes nothing. It goes by itself after
    /// [`kiven_model::event::DATABASE_EVENT_DAYS`].
    fn event_put(&self, event: &DatabaseEvent) -> impl Future<Output = Result<(), PortError>> + Send;
    /// What happened to a database, newest first, at most [`kiven_model::event::DATABASE_EVENTS_MAX`].
    fn event_list(&self, database: &DatabaseId) -> impl Future<Output = Result<Vec<DatabaseEvent>, PortError>> + Send;
}
