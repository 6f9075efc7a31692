//! Every session that runs here: who is called, who makes room for a later session, and the way out when the relay stops.
use crate::limits::{Opening, SESSIONS_MAX};
use crate::metrics::{Metrics, Refusal};
use jiff::Timestamp;
use kiven_model::EnvironmentId;
use kiven_ports::Agents;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Status;

/// How often the records are asked who is called while nothing happens.
pub(crate) const IDLE_PACE: Duration = Duration::from_secs(1);
/// How often for a while after a command or an answer.
pub(crate) const BUSY_PACE: Duration = Duration::from_millis(50);
/// How long that while is.
const BUSY_FOR: Duration = Duration::from_secs(30);
/// After how long without an answer of the records the relay wants no new sessions.
const BLIND_MAX: Duration = Duration::from_secs(30);
/// How many agents a second are sent to another relay when this one stops: each costs that one a handshake.
const LEAVING_PER_SECOND: u64 = 1_000;
/// In how long the last of them leaves, whatever their number.
pub(crate) const LEAVE_MAX: Duration = Duration::from_secs(15);

/// What a session is told from outside.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// There are commands for its agent.
    pub(crate) called: Notify,
    /// The relay stops.
    pub(crate) leave: Notify,
    /// Since when it is called.
    since: Mutex<Option<Instant>>,
}

impl Signals {
    fn call(&self) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.called.notify_one();
    }

    /// When the relay learned of the commands that are looked for now.
    pub(crate) fn take_since(&self) -> Instant {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(Instant::now)
    }
}

struct Running {
    epoch: u64,
    task: tokio::task::AbortHandle,
    signals: Arc<Signals>,
}

struct State {
    running: HashMap<EnvironmentId, Running>,
    /// Sessions that are let in and do not run yet: the records are asked about them.
    beginning: usize,
    opening: HashMap<EnvironmentId, Opening>,
    busy_until: Instant,
    looked_at: Instant,
}

struct Inner {
    state: Mutex<State>,
    draining: AtomicBool,
    /// Rung when there is reason to look at once.
    busy: Notify,
}

/// Every session that runs.
#[derive(Clone)]
pub(crate) struct Sessions(Arc<Inner>);

/// A session that was let in, until it runs or is refused after all.
pub(crate) struct Beginning(Sessions);

impl Drop for Beginning {
    fn drop(&mut self) {
        self.0.state().beginning -= 1;
    }
}

/// A session that runs, until its task is over: by its end, by an abort or by a panic.
pub(crate) struct Counted {
    pub(crate) sessions: Sessions,
    pub(crate) environment: EnvironmentId,
    pub(crate) epoch: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.sessions.end(&self.environment, self.epoch);
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let now = Instant::now();
        let state = State { running: HashMap::new(), beginning: 0, opening: HashMap::new(), busy_until: now, looked_at: now };
        Self(Arc::new(Inner { state: Mutex::new(state), draining: AtomicBool::new(false), busy: Notify::new() }))
    }
}

impl Sessions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more may be opened by an environment; it counts from now on.
    pub(crate) fn admit(&self, environment: &EnvironmentId, metrics: &Metrics) -> Result<Beginning, Status> {
        let now = Instant::now();
        let mut state = self.state();
        if self.is_draining() || state.running.len() + state.beginning >= SESSIONS_MAX {
            metrics.refused(Refusal::Full);
            return Err(Status::unavailable("this relay takes no more sessions"));
        }
        if state.opening.len() >= SESSIONS_MAX {
            state.opening.retain(|_, opening| !opening.is_full(now));
        }
        if state.opening.entry(environment.clone()).or_insert_with(|| Opening::full(now)).admit(now) {
            state.beginning += 1;
            return Ok(Beginning(self.clone()));
        }
        metrics.refused(Refusal::Opening);
        Err(Status::resource_exhausted("this agent opens sessions too fast"))
    }

    /// A later epoch of an environment ends the session before; a session that comes too late for its epoch ends itself.
    pub(crate) fn begin(&self, environment: &EnvironmentId, epoch: u64, task: tokio::task::AbortHandle, signals: Arc<Signals>) {
        let mut state = self.state();
        if state.running.get(environment).is_some_and(|known| known.epoch > epoch) {
            task.abort();
            return;
        }
        if let Some(before) = state.running.insert(environment.clone(), Running { epoch, task, signals: Arc::clone(&signals) }) {
            before.task.abort();
        }
        drop(state);
        if self.is_draining() {
            signals.leave.notify_one();
        }
    }

    /// A session is over.
    fn end(&self, environment: &EnvironmentId, epoch: u64) {
        let mut state = self.state();
        if state.running.get(environment).is_some_and(|known| known.epoch == epoch) {
            state.running.remove(environment);
        }
    }

    /// Something happened after which commands may follow soon.
    pub(crate) fn busy(&self) {
        let now = Instant::now();
        let was = std::mem::replace(&mut self.state().busy_until, now + BUSY_FOR);
        if was <= now {
            self.0.busy.notify_one();
        }
    }

    /// Tells every agent to leave; answers within how long.
    pub(crate) fn drain(&self) -> Duration {
        self.0.draining.store(true, Ordering::SeqCst);
        let state = self.state();
        state.running.values().for_each(|running| running.signals.leave.notify_one());
        leave_within(state.running.len())
    }

    /// Whether none runs or begins.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        state.running.is_empty() && state.beginning == 0
    }

    /// Whether the relay stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst)
    }

    /// Within how long agents are to leave.
    pub(crate) fn leave_within(&self) -> Duration {
        leave_within(self.state().running.len())
    }

    /// Whether the records were readable lately.
    pub(crate) fn sees(&self) -> bool {
        self.state().looked_at.elapsed() < BLIND_MAX
    }

    /// Asks the records again and again who is called, and calls those that are here.
    pub(crate) async fn call_for_ever<S: Agents>(&self, store: &S, metrics: &Metrics, now: impl Fn() -> Timestamp) {
        loop {
            let begun = Instant::now();
            match store.environments_called(now()).await {
                Ok(called) => {
                    let mut state = self.state();
                    state.looked_at = Instant::now();
                    let here = called.iter().filter_map(|environment| state.running.get(environment));
                    let count = here.map(|running| running.signals.call()).count();
                    if count > 0 {
                        state.busy_until = Instant::now() + BUSY_FOR;
                    }
                }
                Err(error) => {
                    metrics.look_failed();
                    tracing::warn!(%error, "the records do not say who is called");
                }
            }
            let busy = Instant::now() < self.state().busy_until;
            tokio::select! {
                () = tokio::time::sleep_until(begun + if busy { BUSY_PACE } else { IDLE_PACE }) => {}
                () = self.0.busy.notified() => {}
            }
        }
    }
}

fn leave_within(sessions: usize) -> Duration {
    Duration::from_millis(sessions as u64 * 1_000 / LEAVING_PER_SECOND).min(LEAVE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_counts_from_when_it_is_let_in_and_a_panic_gives_its_place_back() {
        let (sessions, metrics, environment) = (Sessions::default(), Metrics::default(), EnvironmentId::from_random([1; 16]));
        let beginning = sessions.admit(&environment, &metrics).unwrap();
        assert!(!sessions.is_empty(), "the records are asked");
        let counted = Counted { sessions: sessions.clone(), environment: environment.clone(), epoch: 1 };
        let task = tokio::spawn(async move {
            let _counted = counted;
            panic!("a session that panics");
        });
        sessions.begin(&environment, 1, task.abort_handle(), Arc::default());
        drop(beginning);
        assert!(!sessions.is_empty() && task.await.is_err());
        assert!(sessions.is_empty());
        drop(sessions.admit(&environment, &metrics).unwrap());
        assert!(sessions.is_empty(), "one that was refused after all");
    }
}
