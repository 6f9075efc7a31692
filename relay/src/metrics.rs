//! What a relay counts, as text for Prometheus.
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histogram's buckets, in milliseconds.
const BOUNDS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A TLS handshake that failed or took too long.
    Handshake,
    /// A certificate that names no environment, or another one than the hello.
    Identity,
    /// A certificate from before a revocation.
    Revoked,
    /// A session that is not later than the newest.
    Superseded,
    /// The relay stops, or has no place.
    Full,
    /// An environment opens sessions too fast.
    Opening,
    /// A message that does not belong into a session.
    Protocol,
    /// A report that cannot be read, or is too large.
    Report,
    /// An epoch that is over: another relay has the agent.
    Epoch,
    /// An agent that did not read.
    Slow,
    /// A connection too many, of one environment or of all.
    Connection,
}

/// How a connection ended that its agent did not close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// No session was on it.
    Idle,
    /// The agent did not answer a ping.
    Silent,
    /// The line broke, or what came over it was not HTTP/2.
    Broken,
}

impl Ending {
    const ALL: [Self; 3] = [Self::Idle, Self::Silent, Self::Broken];

    fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Silent => "silent",
            Self::Broken => "broken",
        }
    }
}

impl Refusal {
    const ALL: [Self; 11] = [
        Self::Handshake,
        Self::Identity,
        Self::Revoked,
        Self::Superseded,
        Self::Full,
        Self::Opening,
        Self::Protocol,
        Self::Report,
        Self::Epoch,
        Self::Slow,
        Self::Connection,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Identity => "identity",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::Full => "full",
            Self::Opening => "opening",
            Self::Protocol => "protocol",
            Self::Report => "report",
            Self::Epoch => "epoch",
            Self::Slow => "slow",
            Self::Connection => "connection",
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    sessions: AtomicU64,
    commands: AtomicU64,
    reports: AtomicU64,
    report_bytes: AtomicU64,
    throttled: AtomicU64,
    looks_failed: AtomicU64,
    statistics: AtomicU64,
    statistics_bytes: AtomicU64,
    statistics_lost: AtomicU64,
    packs: AtomicU64,
    pack_bytes: AtomicU64,
    refusals: [AtomicU64; Refusal::ALL.len()],
    endings: [AtomicU64; Ending::ALL.len()],
    delivery: [AtomicU64; BOUNDS_MS.len() + 1],
    delivery_us: AtomicU64,
}

/// Counts one session for as long as it lives.
pub(crate) struct Counted(std::sync::Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A session begins.
    pub(crate) fn session(self: &std::sync::Arc<Self>) -> Counted {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Counted(std::sync::Arc::clone(self))
    }

    /// Sessions that run.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// A command was handed over, so long after the relay learned that there was one.
    pub(crate) fn command(&self, after: Duration) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let bucket = BOUNDS_MS.iter().position(|bound| after.as_millis() <= u128::from(*bound)).unwrap_or(BOUNDS_MS.len());
        if let Some(count) = self.delivery.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.delivery_us.fetch_add(u64::try_from(after.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// A report is safe in the queue.
    pub(crate) fn report(&self, bytes: usize) {
        self.reports.fetch_add(1, Ordering::Relaxed);
        self.report_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A session waits because its agent has said too much.
    pub(crate) fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    /// The records did not say who is called.
    pub(crate) fn look_failed(&self) {
        self.looks_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Statistics were gathered.
    pub(crate) fn statistics(&self, bytes: usize) {
        self.statistics.fetch_add(1, Ordering::Relaxed);
        self.statistics_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many statistics will not be in the archive.
    pub(crate) fn statistics_lost(&self, lines: u64) {
        self.statistics_lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// A pack is in the archive.
    pub(crate) fn pack(&self, bytes: usize) {
        self.packs.fetch_add(1, Ordering::Relaxed);
        self.pack_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Something was refused.
    pub(crate) fn refused(&self, why: Refusal) {
        if let Some(count) = Refusal::ALL.iter().position(|known| *known == why).and_then(|index| self.refusals.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection ended otherwise than by its agent.
    pub(crate) fn ended(&self, how: Ending) {
        if let Some(count) = Ending::ALL.iter().position(|known| *known == how).and_then(|index| self.endings.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything, in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let plain = [
            ("kiven_relay_sessions", "gauge", "Sessions that run.", &self.sessions),
            ("kiven_relay_commands_total", "counter", "Commands handed over.", &self.commands),
            ("kiven_relay_reports_total", "counter", "Reports left in the queue.", &self.reports),
            ("kiven_relay_report_bytes_total", "counter", "Their bytes.", &self.report_bytes),
            ("kiven_relay_throttled_total", "counter", "How often an agent had to wait for its allowance.", &self.throttled),
            ("kiven_relay_statistics_total", "counter", "Statistics of instances that were gathered.", &self.statistics),
            ("kiven_relay_statistics_bytes_total", "counter", "Their bytes.", &self.statistics_bytes),
            ("kiven_relay_statistics_lost_total", "counter", "Statistics that did not reach the archive.", &self.statistics_lost),
            ("kiven_relay_packs_total", "counter", "Packs of statistics put into the archive.", &self.packs),
            ("kiven_relay_pack_bytes_total", "counter", "Their bytes.", &self.pack_bytes),
            ("kiven_relay_looks_failed_total", "counter", "How often the records did not say who is called.", &self.looks_failed),
        ];
        for (name, kind, help, value) in plain {
            let value = value.load(Ordering::Relaxed);
            // Writing into a String does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        let name = "kiven_relay_refusals_total";
        let _ = writeln!(text, "# HELP {name} What was refused, by reason.\n# TYPE {name} counter");
        for (why, count) in Refusal::ALL.iter().zip(&self.refusals) {
            let _ = writeln!(text, "{name}{{reason=\"{}\"}} {}", why.label(), count.load(Ordering::Relaxed));
        }
        let name = "kiven_relay_connections_ended_total";
        let _ = writeln!(text, "# HELP {name} Connections that their agents did not close, by reason.\n# TYPE {name} counter");
        for (how, count) in Ending::ALL.iter().zip(&self.endings) {
            let _ = writeln!(text, "{name}{{reason=\"{}\"}} {}", how.label(), count.load(Ordering::Relaxed));
        }
        self.delivery_text(&mut text);
        text
    }

    fn delivery_text(&self, text: &mut String) {
        let name = "kiven_relay_delivery_seconds";
        let _ = writeln!(text, "# HELP {name} From when the relay learned of a command until it was handed over.\n# TYPE {name} histogram");
        let mut so_far = 0;
        for (index, count) in self.delivery.iter().enumerate() {
            so_far += count.load(Ordering::Relaxed);
            let bound = BOUNDS_MS.get(index).map_or_else(|| "+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {so_far}");
        }
        let sum = self.delivery_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {so_far}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_text_counts_what_was_told() {
        let metrics = Arc::new(Metrics::default());
        let counted = metrics.session();
        for ms in [3, 40, 70_000] {
            metrics.command(Duration::from_millis(ms));
        }
        metrics.report(120);
        metrics.refused(Refusal::Revoked);
        metrics.ended(Ending::Silent);
        let text = metrics.text();
        for line in [
            "kiven_relay_sessions 1",
            "kiven_relay_report_bytes_total 120",
            "kiven_relay_refusals_total{reason=\"revoked\"} 1",
            "kiven_relay_refusals_total{reason=\"slow\"} 0",
            "kiven_relay_connections_ended_total{reason=\"silent\"} 1",
            "kiven_relay_delivery_seconds_bucket{le=\"0.005\"} 1",
            "kiven_relay_delivery_seconds_bucket{le=\"0.05\"} 2",
            "kiven_relay_delivery_seconds_bucket{le=\"+Inf\"} 3",
            "kiven_relay_delivery_seconds_sum 70.043",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        drop(counted);
        assert_eq!(metrics.sessions(), 0);
    }
}
