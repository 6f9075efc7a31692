//! Operations that survive anything: a plain async function, replayed over its recorded steps.
//!
//! Invariants of this crate:
//! - it names no cloud, no cluster and no database: it knows the records, a clock and steps;
//! - intent is recorded before effect, output before the next step;
//! - the head's version fences every commit, its lease fences every effect;
//! - an operation ends Failed only when every attempted step has been undone.
mod body;
mod context;
mod drive;
mod fault;
mod journal;
mod set;
mod step;

pub use body::{Body, Outcome, Stop};
pub use context::Cx;
pub use drive::{Drive, Driven, drive};
pub use fault::{Faults, Hit, NoFaults, Point};
pub use set::StepSet;
pub use step::{At, Progress, Step, StepError};
