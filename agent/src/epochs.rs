//! The newest epoch of a relay that the agent has seen: a relay of an earlier one has nothing to say any more.
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

    /// A relay says its epoch. False when a later one was seen before.
    pub(crate) fn reach(&self, epoch: u64) -> bool {
        self.0.fetch_max(epoch, Ordering::SeqCst) <= epoch
    }
}
