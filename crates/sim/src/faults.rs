//! What goes wrong, and how often: decided by a seed of its own, so that faults never change what the world is made of.
use kiven_ports::PortError;
use std::time::Duration;

/// Chances in ten thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    /// A call fails before its effect.
    pub retry_before: u32,
    /// A call has its effect and its answer is lost.
    pub retry_after: u32,
    /// A call is throttled: it fails before its effect and asks for patience.
    pub throttled: u32,
    /// The agent dies with a command: before its effect, or with its answer unsaid.
    pub answer_lost: u32,
    /// A ring is lost.
    pub ring_lost: u32,
    /// A ring comes twice.
    pub ring_doubled: u32,
    /// Another drive takes the lease before a commit.
    pub lease_withdrawn: u32,
}

impl Odds {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }
    /// Every ring is lost: only the sweep finds what is due.
    #[must_use]
    pub fn deaf() -> Self {
        Self { ring_lost: WHOLE, ..Self::default() }
    }
    /// Every ring comes twice.
    #[must_use]
    pub fn echoing() -> Self {
        Self { ring_doubled: WHOLE, ..Self::default() }
    }
    /// A bad day: everything goes wrong now and then.
    #[must_use]
    pub fn rough() -> Self {
        Self { retry_before: 150, retry_after: 150, throttled: 100, answer_lost: 800, ring_lost: 1000, ring_doubled: 1000, lease_withdrawn: 50 }
    }
}

/// All of ten thousand.
const WHOLE: u32 = 10_000;
/// How long a throttled caller is asked to wait.
const THROTTLE: Duration = Duration::from_secs(2);

/// A small generator (`SplitMix64`, Steele, Lea and Flood): good enough to choose, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    pub(crate) fn bits(&mut self) -> [u8; 16] {
        let both = (u128::from(self.next()) << 64) | u128::from(self.next());
        both.to_be_bytes()
    }
    /// Whether a chance in ten thousand comes true.
    pub(crate) fn hits(&mut self, chance: u32) -> bool {
        chance > 0 && self.next() % u64::from(WHOLE) < u64::from(chance)
    }
}

/// The odds and the dice.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) odds: Odds,
    pub(crate) dice: Seeded,
}

impl Faults {
    /// Fails a call before its effect, now and then.
    pub(crate) fn before(&mut self, call: &str) -> Result<(), PortError> {
        if self.dice.hits(self.odds.throttled) {
            return Err(PortError::Retry { what: call.to_owned(), why: "throttled".to_owned(), after: THROTTLE });
        }
        if self.dice.hits(self.odds.retry_before) {
            return Err(PortError::retry(call, "unreachable"));
        }
        Ok(())
    }
    /// Loses the answer of a call that has had its effect, now and then.
    pub(crate) fn after(&mut self, call: &str) -> Result<(), PortError> {
        if self.dice.hits(self.odds.retry_after) { Err(PortError::retry(call, "its answer was lost")) } else { Ok(()) }
    }
}
