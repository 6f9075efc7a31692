//! Agents: commands to them, and what they have said.
use crate::PortError;
use jiff::Timestamp;
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::event::DatabaseEvent;
use kiven_model::logs::SealedBatch;
use kiven_model::report::{AgentRecord, Observation};
use kiven_model::{DatabaseId, EnvironmentId, LogSessionId};
use serde::{Deserialize, Serialize};
use std::future::Future;

/// A relay takes an agent's session over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionClaim {
    /// Whose agent.
    pub environment_id: EnvironmentId,
    /// The agent's session; a later one is greater.
    pub session: u64,
    /// Which relay has it.
    pub relay: String,
    /// From when the certificate is good that the agent showed.
    pub certified_at: Timestamp,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The session is this relay's, until another claim or a revocation makes the epoch greater.
    Owned {
        /// Grows with every claim of the environment.
        epoch: u64,
    },
    /// A session at least as late was there before.
    Superseded {
        /// The latest session.
        session: u64,
    },
    /// The certificate was signed before the environment's certificates were revoked.
    Revoked,
}

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

impl CommandRecord {
    /// Whether it still may have an effect.
    #[must_use]
    pub fn open(&self) -> bool {
        matches!(self.state, CommandState::Pending | CommandState::Delivered { .. })
    }
}

/// Commands and observations. The relay serves the agents from it, `reports` writes into it, steps read it.
pub trait Agents: Send + Sync {
    /// Records a command; one of the same id that is already there stays as it is.
    fn command_send(&self, command: &Command) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Reads a command.
    fn command_get(&self, id: &str) -> impl Future<Output = Result<Option<CommandRecord>, PortError>> + Send;
    /// Takes back a pending command; answers the state after the attempt, `None` when there never was one.
    fn command_withdraw(&self, id: &str) -> impl Future<Output = Result<Option<CommandState>, PortError>> + Send;
    /// Makes a relay the one that serves an environment's agent. From then on no earlier epoch takes a command.
    fn session_claim(&self, claim: &SessionClaim) -> impl Future<Output = Result<Claimed, PortError>> + Send;
    /// The newest epoch of an environment; 0 before the first claim. A revocation makes it greater too.
    fn session_epoch(&self, environment: &EnvironmentId) -> impl Future<Output = Result<u64, PortError>> + Send;
    /// Environments that have pending commands whose `not_after` has not come. A hint for all relays at once: it may lag behind,
    /// and name an environment in vain.
    fn environments_called(&self, now: Timestamp) -> impl Future<Output = Result<Vec<EnvironmentId>, PortError>> + Send;
    /// Ids of an environment's commands that are pending, or delivered to a session other than `session`, in order of sending.
    fn commands_due(&self, environment: &EnvironmentId, session: u64) -> impl Future<Output = Result<Vec<String>, PortError>> + Send;
    /// Marks a command as handed to a session and answers it. `None` when it was withdrawn or answered meanwhile: it must not be
    /// handed over. [`PortError::Conflict`] when the epoch is no longer the environment's newest.
    fn command_take(&self, id: &str, session: u64, epoch: u64) -> impl Future<Output = Result<Option<Command>, PortError>> + Send;
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
    /// Keeps a batch for its reader; the same again changes nothing. It goes by itself some time after `until`.
    fn log_batch_put(&self, batch: &SealedBatch, until: Timestamp) -> impl Future<Output = Result<(), PortError>> + Send;
    /// The batches of a session after a sequence, by sequence, at most [`kiven_model::logs::BATCHES_MAX`]; consistent.
    fn log_batch_list(&self, session: &LogSessionId, after: u64) -> impl Future<Output = Result<Vec<SealedBatch>, PortError>> + Send;
}
