//! How ports fail: whether asking again can help.
use kiven_model::Problem;
use std::time::Duration;

/// A port's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Throttled, unreachable, not yet consistent: ask again.
    #[error("{what} did not answer: {why}")]
    Retry {
        /// Which call.
        what: String,
        /// Without secrets.
        why: String,
        /// Not before this.
        after: Duration,
    },
    /// The answer is no, and will stay no until somebody changes something.
    #[error(transparent)]
    Refused(Problem),
    /// A fence or condition did not hold: somebody else was first.
    #[error("{0} has changed meanwhile")]
    Conflict(String),
}

impl PortError {
    /// A failure that may pass within a second.
    pub fn retry(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Retry { what: what.into(), why: why.into(), after: Duration::from_millis(500) }
    }
}
