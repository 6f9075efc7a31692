//! One durable step: a serialisable value that can be run again and undone.
use jiff::Timestamp;
use kiven_model::operation::Operation;
use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Where a step runs: its operation and its own record.
#[derive(Debug, Clone)]
pub struct At {
    /// The operation's head as of the last commit.
    pub operation: Arc<Operation>,
    /// The step's key.
    pub key: String,
    /// When its intent was recorded.
    pub started_at: Timestamp,
    /// How often it has ended in a retry.
    pub attempts: u32,
    /// Now, by the port.
    pub now: Timestamp,
}

impl At {
    /// `{operation id}/{step key}`: the client token in AWS and the command's id at the agent.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}/{}", self.operation.id, self.key)
    }
    /// When to look again at something that may take long: half of what it has taken so far, within bounds.
    #[must_use]
    pub fn look_again(&self, least: Duration, most: Duration) -> Duration {
        let elapsed = Duration::try_from(self.now.duration_since(self.started_at)).unwrap_or_default();
        (elapsed / 2).clamp(least, most)
    }
}

/// How far a step came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T> {
    /// At its end.
    Done(T),
    /// The world is not ready: run it again after a while, or when the doorbell rings.
    Pending {
        /// Not before this, unless rung.
        after: Duration,
        /// What it waits for, in words for people.
        on: String,
    },
}

/// Why a step could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It may work later; counted against the step's attempts.
    #[error("{problem}")]
    Retry {
        /// What happened.
        problem: Problem,
        /// Not before this.
        after: Duration,
    },
    /// Somebody outside must act first, as when a customer has taken a role away: waits for days, is not counted, undoes nothing.
    #[error("{problem}")]
    Blocked {
        /// What happened.
        problem: Problem,
        /// Not before this.
        after: Duration,
    },
    /// It will not work.
    #[error(transparent)]
    Failed(#[from] Problem),
}

impl From<PortError> for StepError {
    fn from(error: PortError) -> Self {
        let text = error.to_string();
        match error {
            PortError::Refused(problem) => Self::Failed(problem),
            PortError::Retry { after, .. } => Self::Retry { problem: Problem::new(Code::UNAVAILABLE, text), after },
            PortError::Conflict(_) => Self::Retry { problem: Problem::new(Code::UNAVAILABLE, text), after: Duration::from_millis(200) },
        }
    }
}

/// One step. Its value is its input: two values that serialise alike are the same step.
pub trait Step<P>: Serialize + Clone + Send + Sync + 'static {
    /// What it is called in records, events and logs.
    const NAME: &'static str;
    /// The longest one run or undo takes: cut off then, and tried again. It starts only with more lease left than this.
    const TIMEOUT: Duration = Duration::from_secs(20);
    /// The longest it may wait for the world in all.
    const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
    /// How often it may be retried.
    const ATTEMPTS_MAX: u32 = 12;
    /// What it gives.
    type Output: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// Tells runs of the same step in a loop apart.
    fn key(&self) -> String {
        Self::NAME.to_owned()
    }
    /// Ensures the effect; may run any number of times.
    fn run(&self, ports: &P, at: &At) -> impl Future<Output = Result<Progress<Self::Output>, StepError>> + Send;
    /// Takes the effect back; `done` is its output, `None` when it may or may not have happened.
    fn undo(&self, ports: &P, at: &At, done: Option<Self::Output>) -> impl Future<Output = Result<Progress<()>, StepError>> + Send;
    /// What people are told when [`Step::WAIT_MAX`] is over.
    fn overdue(&self, on: &str) -> Problem {
        Problem::new(Code::STEP_STUCK, format!("`{}` took too long: still waiting for {on}", Self::NAME))
    }
}
