//! What one agent may ask of a relay. Pure: every limit is a number here, and time comes from outside.
use std::time::Duration;
use tokio::time::Instant;

/// Largest message of an agent, in bytes; a larger one ends its session.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Commands handed over and not answered, for one agent: fewer than it admits, so that it never stops reading.
pub(crate) const COMMANDS_IN_FLIGHT_MAX: usize = 48;
/// Messages on their way to one agent; beyond it the session waits.
pub(crate) const OUTGOING_MAX: usize = 64;
/// Reports on their way to the queue, of all agents; beyond it sessions wait and read no more.
pub(crate) const QUEUE_SENDS_MAX: usize = 256;
/// Calls of the records at once, of all sessions: each has a connection of its own.
pub(crate) const RECORDS_CALLS_MAX: usize = 128;
/// Sessions of all agents; beyond it an agent is told to try another relay.
pub(crate) const SESSIONS_MAX: usize = 20_000;
/// Connections of one environment: the one with its session, and those that a broken network has left, until they are seen to be idle.
pub(crate) const CONNECTIONS_OF_ONE_MAX: usize = 8;
/// Connections of all: fewer than the process may have files.
pub(crate) const CONNECTIONS_MAX: usize = 2 * SESSIONS_MAX;

/// Messages and bytes that an agent may send: at once, and each second for ever. All that an agent buffers (512 reports) fits at once.
const MESSAGES: Rate = Rate { burst: 600.0, per_second: 20.0 };
const BYTES: Rate = Rate { burst: 4.0 * 1024.0 * 1024.0, per_second: 128.0 * 1024.0 };
/// Sessions that one environment may open: at once, and each second for ever.
const SESSIONS: Rate = Rate { burst: 10.0, per_second: 0.2 };

/// How much, and how fast it comes back.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// A bucket of tokens. It may be overdrawn by one message, whose size is known only once it has been read.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst, at: now }
    }

    fn charge(&mut self, tokens: f64, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate.per_second).min(self.rate.burst) - tokens;
        self.at = now;
    }

    /// From when it is not empty.
    fn ready_at(&self) -> Instant {
        if self.tokens >= 1.0 { self.at } else { self.at + Duration::from_secs_f64((1.0 - self.tokens) / self.rate.per_second) }
    }
}

/// What one session may still send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    messages: Bucket,
    bytes: Bucket,
}

impl Allowance {
    /// Everything at once is there.
    pub(crate) fn full(now: Instant) -> Self {
        Self { messages: Bucket::full(MESSAGES, now), bytes: Bucket::full(BYTES, now) }
    }

    /// Charges a message that was read.
    pub(crate) fn charge(&mut self, bytes: usize, now: Instant) {
        self.messages.charge(1.0, now);
        self.bytes.charge(bytes as f64, now);
    }

    /// From when the next message may be read.
    pub(crate) fn ready_at(&self) -> Instant {
        self.messages.ready_at().max(self.bytes.ready_at())
    }
}

/// How many sessions one environment may still open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening(Bucket);

impl Opening {
    /// Everything at once is there.
    pub(crate) fn full(now: Instant) -> Self {
        Self(Bucket::full(SESSIONS, now))
    }

    /// Whether one more may be opened now; then it is counted.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        let ready = self.0.ready_at() <= now;
        self.0.charge(if ready { 1.0 } else { 0.0 }, now);
        ready
    }

    /// Whether it says no more than a full one would.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.0.at).as_secs_f64() * SESSIONS.per_second + self.0.tokens >= SESSIONS.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_an_agent_buffers_passes_at_once_and_then_so_many_a_second() {
        let now = Instant::now();
        let mut allowance = Allowance::full(now);
        let read = |allowance: &mut Allowance, bytes, now| {
            (0..10_000)
                .take_while(|_| {
                    allowance.ready_at() <= now && {
                        allowance.charge(bytes, now);
                        true
                    }
                })
                .count()
        };
        assert_eq!(read(&mut allowance, 100, now), 600);
        assert_eq!(read(&mut allowance, 100, now), 0);
        assert_eq!(read(&mut allowance, 100, now + Duration::from_secs(10)), 200);
        let mut large = Allowance::full(now);
        assert_eq!(read(&mut large, MESSAGE_BYTES_MAX, now), 16);
        assert_eq!(large.ready_at(), now + Duration::from_secs_f64(1.0 / BYTES.per_second));
        large.charge(MESSAGE_BYTES_MAX, now);
        assert!(large.ready_at() > now + Duration::from_secs(1) && large.ready_at() < now + Duration::from_secs(3), "an overdraft is paid back");
    }

    #[test]
    fn an_environment_opens_ten_sessions_and_then_one_in_five_seconds() {
        let now = Instant::now();
        let mut opening = Opening::full(now);
        assert_eq!((0..20).filter(|_| opening.admit(now)).count(), 10);
        assert!(!opening.admit(now + Duration::from_secs(4)) && opening.admit(now + Duration::from_secs(5)));
        assert!(!opening.is_full(now + Duration::from_secs(40)) && opening.is_full(now + Duration::from_secs(60)));
    }
}
