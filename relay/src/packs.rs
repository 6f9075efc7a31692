//! Statistics on their way to the archive: gathered for a minute by environment, packed, put. They are the one thing that a relay keeps,
//! and may lose: what came in the last minute goes with a relay that is killed, as a figure of the next minute replaces it.
use crate::metrics::Metrics;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use kiven_model::EnvironmentId;
use kiven_model::report::Report;
use kiven_ports::statistics::Pack;
use kiven_ports::{PortError, StatisticsArchive};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// For how long an environment's statistics are gathered.
const GATHER: Duration = Duration::from_secs(60);
/// How often it is looked whose time has come.
const LOOK: Duration = Duration::from_secs(1);
/// So much of an environment's is packed at once, in bytes: it takes a few milliseconds.
const CHUNK_BYTES: usize = 256 * 1024;
/// Most of one environment in one minute, packed, in bytes: some fifty instances' in a tenth of it.
const PACK_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most of all environments together, in bytes.
const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Packs on their way to the archive at once.
const PUTS_MAX: usize = 16;
/// How often a pack is tried to be put.
const ATTEMPTS_MAX: u32 = 3;
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long the last packs may take when the relay stops.
const LAST_MAX: Duration = Duration::from_secs(5);

/// What one environment has said since its last pack.
struct Open {
    at: Timestamp,
    since: Instant,
    lines: u64,
    /// Lines that are not packed yet.
    raw: Vec<u8>,
    /// Members of a gzip file.
    packed: Vec<u8>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<EnvironmentId, Open>,
    /// Of everything open and on its way.
    bytes: usize,
    number: u64,
}

/// Everything gathered.
pub(crate) struct Packs {
    relay: String,
    now: fn() -> Timestamp,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
    closing: Notify,
}

/// A pack and how many lines are in it.
struct Closed {
    pack: Pack,
    lines: u64,
}

impl Packs {
    /// None yet, of the relay of this name.
    pub(crate) fn new(relay: String, now: fn() -> Timestamp, metrics: Arc<Metrics>) -> Self {
        Self { relay, now, metrics, inner: Mutex::default(), closing: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report, or drops it where there is no room; both are counted.
    pub(crate) fn add(&self, report: &Report) {
        // Written anew: nothing but what the relay has understood goes on, and a report is one line.
        let line = serde_json::to_vec(report).unwrap_or_default();
        let mut inner = self.inner();
        let Inner { open, bytes, .. } = &mut *inner;
        let at = (self.now)();
        let fresh = || Open { at, since: Instant::now(), lines: 0, raw: Vec::new(), packed: Vec::new() };
        let of_environment = open.entry(report.environment_id.clone()).or_insert_with(fresh);
        if line.is_empty() || *bytes + line.len() > ALL_BYTES_MAX || of_environment.packed.len() > PACK_BYTES_MAX {
            self.metrics.statistics_lost(1);
            return;
        }
        let before = of_environment.bytes();
        of_environment.raw.extend_from_slice(&line);
        of_environment.raw.push(b'\n');
        of_environment.lines += 1;
        if of_environment.raw.len() >= CHUNK_BYTES {
            of_environment.pack();
        }
        *bytes = *bytes + of_environment.bytes() - before;
        self.metrics.statistics(line.len());
    }

    /// Closes the packs whose time has come, or all.
    fn close(&self, all: bool) -> Vec<Closed> {
        let mut inner = self.inner();
        let due = |open: &Open| all || open.since.elapsed() >= GATHER;
        let ids: Vec<EnvironmentId> = inner.open.iter().filter(|(_, open)| due(open)).map(|(id, _)| id.clone()).collect();
        let mut closed = Vec::new();
        for environment_id in ids {
            let Some(mut open) = inner.open.remove(&environment_id) else { continue };
            let before = open.bytes();
            open.pack();
            inner.bytes = inner.bytes + open.bytes() - before;
            inner.number += 1;
            let pack = Pack { environment_id, at: open.at, relay: self.relay.clone(), number: inner.number, body: open.packed };
            if open.lines > 0 {
                closed.push(Closed { pack, lines: open.lines });
            }
        }
        closed
    }

    /// Puts packs into the archive until [`Packs::finish`], and then all that are left.
    pub(crate) async fn put_for_ever<A: StatisticsArchive + 'static>(self: Arc<Self>, archive: Arc<A>) {
        let mut puts = JoinSet::new();
        loop {
            let last = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = self.closing.notified() => true,
            };
            for closed in self.close(last) {
                while puts.len() >= PUTS_MAX {
                    puts.join_next().await;
                }
                puts.spawn(Arc::clone(&self).put(Arc::clone(&archive), closed));
            }
            while puts.try_join_next().is_some() {}
            if last {
                while puts.join_next().await.is_some() {}
                return;
            }
        }
    }

    async fn put<A: StatisticsArchive>(self: Arc<Self>, archive: Arc<A>, closed: Closed) {
        let mut pause = Duration::ZERO;
        for attempt in 1..=ATTEMPTS_MAX {
            tokio::time::sleep(pause).await;
            pause = match archive.pack_put(&closed.pack).await {
                Ok(()) => {
                    self.metrics.pack(closed.pack.body.len());
                    break;
                }
                Err(PortError::Retry { after, .. }) if attempt < ATTEMPTS_MAX => after.min(PAUSE_MAX),
                Err(error) => {
                    tracing::warn!(environment_id = %closed.pack.environment_id, %error, lines = closed.lines, "statistics are lost");
                    self.metrics.statistics_lost(closed.lines);
                    break;
                }
            };
        }
        self.inner().bytes -= closed.pack.body.len();
    }

    /// Lets [`Packs::put_for_ever`], which runs in this task, put what is left, for a while.
    pub(crate) async fn finish(&self, putting: tokio::task::JoinHandle<()>) {
        self.closing.notify_one();
        if tokio::time::timeout(LAST_MAX, putting).await.is_err() {
            tracing::warn!("the last statistics did not reach the archive in time");
        }
    }
}

impl Open {
    fn bytes(&self) -> usize {
        self.raw.len() + self.packed.len()
    }

    /// Packs what is not packed yet as one more member.
    fn pack(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        if raw.is_empty() {
            return;
        }
        let mut member = GzEncoder::new(std::mem::take(&mut self.packed), Compression::fast());
        // Writing into memory does not fail.
        let written = member.write_all(&raw).and_then(|()| member.finish());
        self.packed = written.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::MultiGzDecoder;
    use kiven_model::report::ReportBody;
    use kiven_sim::{Odds, World};
    use std::io::Read;

    fn packs() -> Arc<Packs> {
        Arc::new(Packs::new("a".to_owned(), || Timestamp::UNIX_EPOCH, Arc::default()))
    }

    fn report(environment: u8, sequence: u64) -> Report {
        let environment_id = EnvironmentId::from_random([environment; 16]);
        Report { environment_id, session: 1, sequence, at: Timestamp::UNIX_EPOCH, body: ReportBody::Dropped { count: 1, events: 0 } }
    }

    fn lines(body: &[u8]) -> Vec<Report> {
        let mut text = String::new();
        MultiGzDecoder::new(body).read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_of_each_environment_is_one_object() {
        let (packs, world) = (packs(), Arc::new(World::new(1, Odds::none())));
        let putting = tokio::spawn(Arc::clone(&packs).put_for_ever(Arc::clone(&world)));
        (1..=3).for_each(|sequence| packs.add(&report(1, sequence)));
        packs.add(&report(2, 1));
        tokio::time::sleep(GATHER - LOOK).await;
        let key = |environment: u8, number| {
            let environment_id = EnvironmentId::from_random([environment; 16]);
            Pack { environment_id, at: Timestamp::UNIX_EPOCH, relay: "a".to_owned(), number, body: Vec::new() }.key()
        };
        let mut found = Vec::new();
        for (environment, number) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            found.push(world.pack_get(&key(environment, number)).await.unwrap());
        }
        assert!(found.iter().all(Option::is_none), "not before the minute is over");
        tokio::time::sleep(LOOK * 3).await;
        let mut found = Vec::new();
        for (environment, number) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            found.extend(world.pack_get(&key(environment, number)).await.unwrap());
        }
        let mut counts: Vec<usize> = found.iter().map(|body| lines(body).len()).collect();
        counts.sort_unstable();
        assert_eq!((counts, packs.inner().bytes), (vec![1, 3], 0));
        packs.add(&report(1, 4));
        packs.finish(putting).await;
        let last = world.pack_get(&key(1, 3)).await.unwrap().unwrap();
        assert_eq!(lines(&last), [report(1, 4)], "a relay that stops leaves nothing behind");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_for_one_and_for_all() {
        let packs = packs();
        for sequence in 0..20_000 {
            packs.add(&report(1, sequence));
        }
        {
            let inner = packs.inner();
            let open = &inner.open[&EnvironmentId::from_random([1; 16])];
            assert!(open.raw.len() < CHUNK_BYTES && !open.packed.is_empty() && inner.bytes == open.bytes());
        }
        let closed = packs.close(true);
        assert_eq!(closed.len(), 1, "one environment, one pack");
        assert_eq!((lines(&closed[0].pack.body).len(), closed[0].lines), (20_000, 20_000));
        packs.inner().bytes = ALL_BYTES_MAX;
        packs.add(&report(2, 1));
        assert!(packs.metrics.text().contains("kiven_relay_statistics_lost_total 1\n"));
        assert!(packs.close(true).is_empty());
    }
}
