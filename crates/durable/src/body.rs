//! An operation's body, and how it stops.
use crate::context::Cx;
use kiven_model::Problem;
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_ports::{PortError, Ports, Write};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;
use std::time::Duration;

/// Why a body stopped before its end. Bodies pass it on with `?` and never look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The world is not ready.
    Wait(Duration),
    /// Turn around and undo.
    Fail(Problem),
    /// Neither forward nor back.
    Stuck(Problem),
    /// Everything recorded has been replayed while going back.
    Replayed,
    /// Another drive was first, or the record could not be written: nothing is known of this drive.
    Lost(String),
    /// A test pulled the plug.
    Crashed,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// At its end, with its output recorded in the head.
    Succeeded,
    /// Gone back whole.
    Failed,
    /// Neither.
    Stuck,
}

impl Outcome {
    /// How the record says it.
    #[must_use]
    pub fn status(&self) -> OperationStatus {
        match self {
            Self::Succeeded => OperationStatus::Succeeded,
            Self::Failed => OperationStatus::Failed,
            Self::Stuck => OperationStatus::Stuck,
        }
    }
}

/// A kind of operation: one plain async function over a context.
pub trait Body<P: Ports> {
    /// The kind.
    const KIND: OperationKind;
    /// The version of this body; an old body stays while live records use it.
    const VERSION: u32;
    /// What it works on.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it gives.
    type Output: Serialize + Send;

    /// Deterministic: everything that can differ between two replays is a step's output.
    fn run(cx: Cx<P>, input: Self::Input) -> impl Future<Output = Result<Self::Output, Stop>> + Send;
    /// The writes that make an end known, in the same transaction as the end itself.
    fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> impl Future<Output = Result<Vec<Write>, PortError>> + Send;
}
