//! The newest epoch of a relay that the agent has seen: a relay of an earlier one has nothing to say any more.
use crate::guardrails::GROWTH_MAX;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. It outlives sessions, and by the ledger the process.
#[derive(Debug, Default)]
pub(crate) struct Epochs(AtomicU64);

impl Epochs {
    /// Begins with what an earlier process has seen.
    pub(crate) fn from(newest: u64) -> Self {
        Self(AtomicU64::new(newest))
    }

    /// The newest.
    pub(crate) fn newest(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// A relay says its epoch. False when a later one was seen before, or when none can have come so far.
    pub(crate) fn reach(&self, epoch: u64) -> bool {
        epoch.saturating_sub(self.newest()) <= GROWTH_MAX && self.0.fetch_max(epoch, Ordering::SeqCst) <= epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_grows_and_never_so_far_that_nobody_could_follow() {
        let epochs = Epochs::from(7);
        for (epoch, reached) in [(8, true), (7, false), (8, true), (u64::MAX, false), (9, true), (9 + GROWTH_MAX, true), (10, false)] {
            assert_eq!(epochs.reach(epoch), reached, "{epoch}");
        }
    }
}
