//! What can go wrong between a client and the API.
use kiven_model::{Code, OperationId, Problem};

/// Why a request did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API answered with a problem.
    #[error("{problem}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        problem: Box<Problem>,
    },
    /// No answer within the bound on retries.
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// The last attempt's error.
        source: reqwest::Error,
    },
    /// An answer that is none of Kiven's.
    #[error("{endpoint} answered {status} with something that is no answer of Kiven")]
    Unreadable {
        /// Who answered.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// What could not be read.
        source: serde_json::Error,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    /// The system gave no random bytes for an idempotency key.
    #[error("the system gives no randomness")]
    Random(#[source] getrandom::Error),
}

impl ClientError {
    /// The API's problem, when it answered with one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        if let Self::Refused { problem, .. } = self { Some(problem) } else { None }
    }
    /// Whether the API said this.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.problem().is_some_and(|problem| problem.code == code)
    }
    /// Whether the thing asked for does not exist (any more).
    #[must_use]
    pub fn not_found(&self) -> bool {
        self.is(Code::NOT_FOUND)
    }
    /// The operation that is in the way: one that runs, or one that keeps the thing in a state which does not allow the request.
    #[must_use]
    pub fn running_operation(&self) -> Option<&OperationId> {
        let in_the_way = |problem: &&Problem| problem.code == Code::OPERATION_RUNNING || problem.code == Code::WRONG_STATE;
        self.problem().filter(in_the_way).and_then(|problem| problem.operation_id.as_ref())
    }
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } | Self::Unreadable { status, .. } => crate::http::retried(*status),
            Self::Setup(_) | Self::Random(_) => false,
        }
    }
}
