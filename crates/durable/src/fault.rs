//! Places where tests make things go wrong; production passes them by.

/// A place in a step's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Its intent is recorded, its effect has not begun.
    IntentRecorded,
    /// Its effect has happened, its output is not recorded.
    EffectDone,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// Nothing.
    Pass,
    /// The step fails for good.
    Fail,
    /// The process is gone.
    Crash,
}

/// Decides what happens at each place.
pub trait Faults: Send + Sync {
    /// Asked each time a place is passed.
    fn hit(&self, point: Point, step: &str) -> Hit;
}

/// Nothing ever goes wrong by design.
#[derive(Debug, Clone, Copy)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn hit(&self, _: Point, _: &str) -> Hit {
        Hit::Pass
    }
}
