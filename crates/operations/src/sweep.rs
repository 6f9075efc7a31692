//! The sweep's half of schedules: it only rings. Thousands of schedules mean eight o'clock; deciding for one takes five reads and a
//! transaction, so ten thousand in one invocation would be a minute's work that fails as a whole. Instead the sweep reads the
//! due index (keys only) and rings for fifty databases a message: two hundred messages, which as many workers answer as the
//! queue is allowed to start. Each tick writes its own small item, spread over the shards of the index; what is not answered
//! stays due and is rung for again a minute later.
use crate::maintain::maintain;
use crate::tick::tick;
use futures_util::{StreamExt, TryStreamExt, stream};
use kiven_model::DatabaseId;
use kiven_ports::runtime::TICKS_MAX;
use kiven_ports::{Clock, Doorbell, PortError, Ports, Records};
use std::collections::BTreeSet;

/// Most databases that one sweep rings for; the rest are the next one's.
const DUE_MAX: usize = 20_000;
/// Rings sent at the same time.
const RINGS_AT_ONCE: usize = 16;
/// Databases decided about at the same time by one worker: it has one connection pool and half a CPU.
const TICKS_AT_ONCE: usize = 8;

/// Rings for every database whose schedule or maintenance has to be decided about; answers how many.
///
/// # Errors
/// When the due index cannot be read, or the doorbell does not ring: they stay due.
pub async fn ring_schedules<P: Ports>(ports: &P) -> Result<usize, PortError> {
    let now = ports.clock().now();
    let mut due = ports.records().powers_due(now, DUE_MAX).await?;
    let known: BTreeSet<DatabaseId> = due.iter().cloned().collect();
    due.extend(ports.records().maintenance_due(now, DUE_MAX).await?.into_iter().filter(|database| !known.contains(database)));
    let batches: Vec<Vec<DatabaseId>> = due.chunks(TICKS_MAX).map(<[DatabaseId]>::to_vec).collect();
    let rings = stream::iter(batches).map(|databases| async move { ports.doorbell().doorbell_tick(&databases).await });
    rings.buffer_unordered(RINGS_AT_ONCE).try_collect::<()>().await?;
    Ok(due.len())
}

/// Answers a ring: lets the schedules of these databases decide. One that cannot stays due, and is no reason for the others.
pub async fn tick_all<P: Ports>(ports: &P, databases: &[DatabaseId]) {
    let ticks = stream::iter(databases.to_vec()).for_each_concurrent(TICKS_AT_ONCE, |database| async move {
        match tick(ports, &database).await {
            Ok(ticked) => tracing::debug!(database_id = %database, ?ticked, "ticked"),
            Err(error) => tracing::warn!(%error, database_id = %database, "a schedule could not decide, it stays due"),
        }
        match maintain(ports, &database).await {
            Ok(ticked) => tracing::debug!(database_id = %database, ?ticked, "maintenance was looked at"),
            Err(error) => tracing::warn!(%error, database_id = %database, "maintenance could not be decided about, it stays due"),
        }
    });
    ticks.await;
}
