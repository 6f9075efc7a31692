//! Connections: how many one environment has, and whether one of them has a session.
//!
//! Each costs a file, a task and TLS' buffers, and who has a certificate may open as many as it likes: so few are let in, and one that
//! no session is on is closed.
use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX};
use kiven_model::EnvironmentId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// All that are open, by environment.
#[derive(Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    of: HashMap<EnvironmentId, usize>,
    all: usize,
}

/// A connection's place; given back with it.
pub(crate) struct Place {
    connections: Connections,
    environment: EnvironmentId,
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if the environment may have one.
    pub(crate) fn admit(&self, environment: &EnvironmentId) -> Option<Place> {
        let mut open = self.open();
        let own = open.of.get(environment).copied().unwrap_or(0);
        if own >= CONNECTIONS_OF_ONE_MAX || open.all >= CONNECTIONS_MAX {
            return None;
        }
        open.of.insert(environment.clone(), own + 1);
        open.all += 1;
        Some(Place { connections: self.clone(), environment: environment.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.all = open.all.saturating_sub(1);
        match open.of.get_mut(&self.environment) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(open.of.remove(&self.environment)),
        }
    }
}

/// Whether a connection has a session: its sessions say so, and whoever drives it waits for it.
#[derive(Clone, Default)]
pub(crate) struct Seat(Arc<Sitting>);

#[derive(Default)]
struct Sitting {
    sessions: AtomicUsize,
    changed: Notify,
}

/// A session on a connection, for as long as it lives.
pub(crate) struct Taken(Arc<Sitting>);

impl Seat {
    /// A session begins.
    pub(crate) fn take(&self) -> Taken {
        self.0.sessions.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_one();
        Taken(Arc::clone(&self.0))
    }

    /// Returns when there has been no session for so long.
    pub(crate) async fn empty_for(&self, long: Duration) {
        loop {
            if self.0.sessions.load(Ordering::SeqCst) > 0 {
                self.0.changed.notified().await;
            } else if Box::pin(tokio::time::timeout(long, self.0.changed.notified())).await.is_err() {
                // The timer is boxed: a connection with a session, of which there are thousands, has no room for it.
                return;
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[test]
    fn an_environment_has_so_many_and_its_places_come_back() {
        let (connections, first) = (Connections::default(), EnvironmentId::from_random([1; 16]));
        let mut places: Vec<Place> = (0..CONNECTIONS_OF_ONE_MAX).map(|_| connections.admit(&first).unwrap()).collect();
        assert!(connections.admit(&first).is_none() && connections.admit(&EnvironmentId::from_random([2; 16])).is_some());
        places.pop();
        assert!(connections.admit(&first).is_some());
        places.clear();
        assert!(connections.open().of.is_empty() && connections.open().all == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_empty_from_the_beginning_and_from_the_end_of_its_last_session() {
        let (seat, long, began) = (Seat::default(), Duration::from_secs(10), Instant::now());
        seat.empty_for(long).await;
        assert_eq!(began.elapsed(), long);
        let taken = seat.take();
        let waiting = seat.clone();
        let empty = tokio::spawn(async move { waiting.empty_for(long).await });
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(!empty.is_finished());
        drop(taken);
        empty.await.unwrap();
        assert_eq!(began.elapsed(), long * 2 + Duration::from_secs(3_600));
    }
}
