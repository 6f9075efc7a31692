//! An operation: one durable change, its head, its steps and its events.
use crate::{DatabaseId, EnvironmentId, OperationId, OrganizationId, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Proves the way into an account and waits for the agent.
    Connect,
    /// Makes a database.
    Provision,
    /// Power off.
    Pause,
    /// Power on.
    Resume,
    /// Another size, other settings.
    Change,
    /// To the grace.
    Delete,
    /// Removes what the grace kept.
    Purge,
    /// From the grace back to paused.
    Undelete,
    /// New machine images under the database.
    PatchNodes,
    /// A new server certificate from the database's own authority.
    RotateCertificates,
    /// Lets go of an environment's databases or destroys them, then of the environment's account and agent.
    Disconnect,
    /// A newer operator or plugin in an environment's cluster.
    Upgrade,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [OperationKind; 12] = [
        Self::Connect,
        Self::Provision,
        Self::Pause,
        Self::Resume,
        Self::Change,
        Self::Delete,
        Self::Purge,
        Self::Undelete,
        Self::PatchNodes,
        Self::RotateCertificates,
        Self::Disconnect,
        Self::Upgrade,
    ];
    /// Those that change a database.
    pub fn of_databases() -> impl Iterator<Item = OperationKind> + Clone {
        Self::ALL.into_iter().filter(|kind| kind.is_of_a_database())
    }
    /// Whether it changes one database; the others are about an environment.
    #[must_use]
    pub fn is_of_a_database(self) -> bool {
        match self {
            Self::Connect | Self::Disconnect | Self::Upgrade => false,
            Self::Provision
            | Self::Pause
            | Self::Resume
            | Self::Change
            | Self::Delete
            | Self::Purge
            | Self::Undelete
            | Self::PatchNodes
            | Self::RotateCertificates => true,
        }
    }
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Provision => "provision",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Purge => "purge",
            Self::Undelete => "undelete",
            Self::PatchNodes => "patch_nodes",
            Self::RotateCertificates => "rotate_certificates",
            Self::Disconnect => "disconnect",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// Going on, or waiting for its due time.
    Running,
    /// Going back.
    Unwinding,
    /// At its end.
    Succeeded,
    /// Gone back whole.
    Failed,
    /// Neither forward nor back; people have been told.
    Stuck,
}

impl OperationStatus {
    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stuck)
    }
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unwinding => "unwinding",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

/// Who may run effects, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The drive that holds it.
    pub owner: String,
    /// From then on another may take it.
    pub until: Timestamp,
}

/// What an operation is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An environment.
    Environment(EnvironmentId),
    /// A database.
    Database(DatabaseId),
}

/// The head of an operation: small, read at every drive and every follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// Which version of its body drives it.
    pub body_version: u32,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Where it acts.
    pub environment_id: EnvironmentId,
    /// What it is about.
    pub subject: Subject,
    /// The body's input.
    pub input: Value,
    /// Where it is.
    pub status: OperationStatus,
    /// The body's output, at its end.
    pub output: Option<Value>,
    /// Why it goes back, failed or is stuck.
    pub problem: Option<Problem>,
    /// Somebody asked to stop it; honoured at the next step before the point of no return.
    pub cancel_requested: bool,
    /// Set once nothing may be undone any more.
    pub past_no_return: bool,
    /// The step that runs, in words for people.
    pub current_step: Option<String>,
    /// How soon it is worth looking again, in milliseconds.
    pub poll_after_ms: u64,
    /// Who may run effects.
    pub lease: Option<Lease>,
    /// When the sweep must ring again; `None` at the end.
    pub due_at: Option<Timestamp>,
    /// How many events there are.
    pub events: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Fences commits: each adds one.
    pub version: u64,
}

/// Where one step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Intent recorded; its effect may or may not have happened.
    Attempted,
    /// Output recorded.
    Done,
    /// Undone.
    Undone,
}

/// The record of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its place in the order of first attempts, from 0.
    pub ordinal: u32,
    /// The step's name.
    pub name: String,
    /// The name, or the name with a discriminator in loops; unique in the operation.
    pub key: String,
    /// The step's whole value.
    pub input: Value,
    /// What it gave.
    pub output: Option<Value>,
    /// Where it is.
    pub status: StepStatus,
    /// How often it ended in a retry.
    pub attempts: u32,
    /// When it may be tried again, after a retry: rings that come earlier do not count.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// What it was last said to wait for, so that it is said once.
    #[serde(default)]
    pub waiting_on: Option<String>,
    /// When its intent was recorded.
    pub started_at: Timestamp,
    /// When it was done or undone.
    pub ended_at: Option<Timestamp>,
}

/// What happened, in words for people; streamed to whoever follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationEvent {
    /// From 1, without gaps.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Which step, if any.
    pub step: Option<String>,
    /// What.
    pub kind: EventKind,
    /// In words.
    pub message: String,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A step began.
    StepStarted,
    /// A step waits for the world.
    StepWaiting,
    /// A step is done.
    StepDone,
    /// A step failed and will be tried again.
    StepRetried,
    /// A step was undone.
    StepUndone,
    /// The operation ended.
    Ended,
    /// It turned around.
    Unwinding,
}
