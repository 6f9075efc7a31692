//! Statistics of each instance, asked over one connection that stays open, and closed before anybody waits for it.
//!
//! What is asked and what may be told of it is pure: [`kiven_data_services::statistics`], [`kiven_model::statement`].
mod connection;
pub(crate) mod targets;
#[cfg(test)]
mod watch_tests;

pub(crate) use targets::Target;

use crate::outbox::Outbox;
use crate::watch::World;
use connection::{Connection, Told};
use kiven_model::report::ReportBody;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// Most instances that are asked; each is a connection.
const INSTANCES_MAX: usize = 64;
/// How long one instance may take to say everything.
const COLLECTION_MAX: Duration = Duration::from_secs(20);

/// Asks every instance of every running database, until the process ends.
pub(crate) async fn collect_for_ever(world: Arc<World>, outbox: Arc<Outbox>, every: Duration) {
    let mut targets = world.targets();
    let mut running: BTreeMap<String, AbortHandle> = BTreeMap::new();
    loop {
        let wanted = targets.borrow_and_update().clone();
        // With its task goes the connection.
        running.retain(|uid, task| {
            let stays = wanted.iter().any(|target| target.uid == *uid);
            if !stays {
                task.abort();
            }
            stays
        });
        for target in wanted {
            if running.len() < INSTANCES_MAX && !running.contains_key(&target.uid) {
                let uid = target.uid.clone();
                running.insert(uid, tokio::spawn(collect(target, Arc::clone(&world), Arc::clone(&outbox), every)).abort_handle());
            }
        }
        if targets.changed().await.is_err() {
            return;
        }
    }
}

/// Asks one instance again and again.
async fn collect(target: Target, world: Arc<World>, outbox: Arc<Outbox>, every: Duration) {
    let mut ticks = interval_at(Instant::now() + phase(&target.uid, every), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut connection, mut told, mut failing): (Option<Connection>, Told, bool) = (None, Told::default(), false);
    loop {
        ticks.tick().await;
        let asked = timeout(COLLECTION_MAX, async {
            let open = match connection.take() {
                Some(open) if open.good().await => open,
                _ => Connection::open(world.client(), &target).await?,
            };
            let mut said = open.ask(&target, &mut told).await?;
            if let Some(used) = &mut said.volume {
                world.fill(&target.instance, used);
            }
            outbox.push(ReportBody::Statistics(Box::new(said)));
            connection = Some(open);
            anyhow::Ok(())
        });
        let failed = match asked.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("it took too long".to_owned()),
        };
        if let Some(error) = failed.as_ref().filter(|_| !failing) {
            tracing::warn!(pod = target.instance, error, "an instance does not say its statistics");
        }
        failing = failed.is_some();
    }
}

/// When an instance's turn is, so that not all are asked at once: by its UID, and the same after every start of the agent.
fn phase(uid: &str, every: Duration) -> Duration {
    // FNV-1a, whose constants are its definition.
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let milliseconds = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(hash % milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_over_the_pause() {
        let every = Duration::from_secs(30);
        let mut thirds = [0; 3];
        for n in 0..300 {
            let turn = phase(&format!("6f2d1a34-0000-4000-8000-{n:012}"), every);
            assert!(turn < every);
            thirds[(turn.as_millis() / 10_000) as usize] += 1;
        }
        assert!(thirds.iter().all(|count| *count > 70), "{thirds:?}");
        assert_eq!(phase("a", every), phase("a", every));
    }
}
