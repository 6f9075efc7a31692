//! What a body sees: steps, and the point of no return.
use crate::body::Stop;
use crate::fault::{Faults, Hit, Point};
use crate::journal::{Change, Journal};
use crate::set::StepSet;
use crate::step::{At, Progress, Step, StepError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use jiff::{SignedDuration, Timestamp};
use kiven_model::operation::{EventKind, OperationStatus, StepRecord, StepStatus};
use kiven_model::{Code, Problem};
use kiven_ports::{Clock, Ports};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tracing::Instrument;

/// How a step's undo is called once its type is forgotten.
type UndoCall = Box<dyn FnOnce(At) -> BoxFuture<'static, Result<Progress<()>, StepError>> + Send>;

/// An undo that replay has met.
pub(crate) struct Undo {
    pub(crate) ordinal: u32,
    pub(crate) timeout: Duration,
    pub(crate) call: UndoCall,
}

/// What a body works with. Cloned into every step, so it owns everything.
pub struct Cx<P> {
    inner: Arc<Inner<P>>,
}

impl<P> Clone for Cx<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(crate) struct Inner<P> {
    pub(crate) ports: Arc<P>,
    pub(crate) journal: futures_util::lock::Mutex<Journal>,
    pub(crate) undos: std::sync::Mutex<Vec<Undo>>,
    pub(crate) faults: Arc<dyn Faults>,
    /// No step starts that could still run at this time.
    pub(crate) until: Timestamp,
    /// How long the lease was when it was taken.
    pub(crate) lease: Duration,
    cursor: AtomicU32,
}

/// A step whose place in the record is known.
pub(crate) struct Placed<S> {
    step: S,
    record: StepRecord,
    fresh: bool,
}

impl<P: Ports> Cx<P> {
    pub(crate) fn new(ports: Arc<P>, journal: Journal, faults: Arc<dyn Faults>, until: Timestamp, lease: Duration) -> Self {
        let journal = futures_util::lock::Mutex::new(journal);
        Self { inner: Arc::new(Inner { ports, journal, undos: std::sync::Mutex::default(), faults, until, lease, cursor: AtomicU32::new(0) }) }
    }
    pub(crate) fn inner(&self) -> &Inner<P> {
        &self.inner
    }

    /// Runs one step, or answers what it gave before.
    ///
    /// # Errors
    /// [`Stop`], to be passed on.
    pub async fn step<S: Step<P>>(&self, step: S) -> Result<S::Output, Stop> {
        let (output,) = self.all((step,)).await?;
        Ok(output)
    }

    /// Runs steps that do not need each other together: all intents in one write, all polled to their end.
    ///
    /// # Errors
    /// The first [`Stop`] by position, after all have come to rest.
    pub async fn all<T: StepSet<P>>(&self, steps: T) -> Result<T::Output, Stop> {
        steps.run(self).await
    }

    /// Runs a list of like steps together; each needs a key of its own.
    ///
    /// # Errors
    /// The first [`Stop`] by position, after all have come to rest.
    pub async fn each<S: Step<P>>(&self, steps: Vec<S>) -> Result<Vec<S::Output>, Stop> {
        let mut placed = Vec::with_capacity(steps.len());
        for step in steps {
            placed.push(self.place(step).await?);
        }
        self.record_intents(placed.iter().map(Placed::intent)).await?;
        let runs = placed.into_iter().map(|one| self.finish(one));
        futures_util::future::join_all(runs).await.into_iter().collect()
    }

    /// From here on the operation is never undone: what fails is retried, then left Stuck and told.
    ///
    /// # Errors
    /// [`Stop`], to be passed on.
    pub async fn no_way_back(&self) -> Result<(), Stop> {
        let mut journal = self.inner.journal.lock().await;
        if journal.head.past_no_return || journal.head.status == OperationStatus::Unwinding {
            return Ok(());
        }
        refuse_cancelled(&journal)?;
        let now = self.inner.ports.clock().now();
        journal.commit(&*self.inner.ports, now, Change::default(), |head| head.past_no_return = true).await
    }

    /// Finds a step's place: the next ordinal. What is recorded there must be this very step.
    pub(crate) async fn place<S: Step<P>>(&self, step: S) -> Result<Placed<S>, Stop> {
        let ordinal = self.inner.cursor.fetch_add(1, Ordering::Relaxed);
        let (key, input) = (step.key(), to_value(&step)?);
        let journal = self.inner.journal.lock().await;
        let Some(record) = journal.steps.iter().find(|record| record.ordinal == ordinal).cloned() else {
            if journal.head.status == OperationStatus::Unwinding {
                return Err(Stop::Replayed);
            }
            refuse_cancelled(&journal)?;
            if journal.steps.iter().any(|record| record.key == key) {
                return Err(diverged(&format!("two steps have the key `{key}`")));
            }
            let now = self.inner.ports.clock().now();
            self.time_for(S::TIMEOUT, now)?;
            let status = StepStatus::Attempted;
            let record = StepRecord {
                ordinal,
                name: S::NAME.to_owned(),
                key,
                input,
                output: None,
                status,
                attempts: 0,
                not_before: None,
                waiting_on: None,
                started_at: now,
                ended_at: None,
            };
            return Ok(Placed { step, record, fresh: true });
        };
        if record.key != key || record.input != input {
            return Err(diverged(&format!("step {ordinal} was `{}` and is now `{key}`, or its input has changed", record.key)));
        }
        Ok(Placed { step, record, fresh: false })
    }

    /// How long something that takes up to `timeout` may run: it starts only with more lease left than that.
    pub(crate) fn time_for(&self, timeout: Duration, now: Timestamp) -> Result<Duration, Stop> {
        let needed = timeout.min(self.inner.lease / 2);
        if now + signed(needed) > self.inner.until { Err(Stop::Wait(Duration::ZERO)) } else { Ok(needed) }
    }

    /// Races work against its time. What is cut off may have happened: it is tried again like every other doubtful effect.
    pub(crate) async fn within<T>(&self, limit: Duration, key: &str, work: impl Future<Output = Result<T, StepError>>) -> Result<T, StepError> {
        match select(pin!(work), pin!(self.inner.ports.clock().sleep(limit))).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => {
                let problem = Problem::new(Code::UNAVAILABLE, format!("`{key}` was cut off after {} s", limit.as_secs()));
                Err(StepError::Retry { problem, after: CUT_OFF_PAUSE })
            }
        }
    }

    /// Records every fresh intent in one write.
    pub(crate) async fn record_intents(&self, placed: impl Iterator<Item = Option<StepRecord>>) -> Result<(), Stop> {
        let steps: Vec<StepRecord> = placed.flatten().collect();
        if steps.is_empty() {
            return Ok(());
        }
        for (index, step) in steps.iter().enumerate() {
            if steps[..index].iter().any(|earlier| earlier.key == step.key) {
                return Err(diverged(&format!("two steps have the key `{}`", step.key)));
            }
        }
        let events = steps.iter().map(|s| (EventKind::StepStarted, Some(s.key.clone()), words(&s.name))).collect();
        let current = steps.last().map(|s| s.key.clone());
        let now = self.inner.ports.clock().now();
        let change = Change { steps, events, ..Change::default() };
        self.inner.journal.lock().await.commit(&*self.inner.ports, now, change, |head| head.current_step = current).await
    }

    /// Runs a placed step to its rest and records how it came out.
    pub(crate) async fn finish<S: Step<P>>(&self, placed: Placed<S>) -> Result<S::Output, Stop> {
        let Placed { step, record, .. } = placed;
        let output = recorded_output::<S::Output>(&record)?;
        self.remember_undo(&step, record.ordinal, output.clone());
        if let Some(output) = output {
            return Ok(output);
        }
        let at = {
            let journal = self.inner.journal.lock().await;
            if journal.head.status == OperationStatus::Unwinding {
                return Err(Stop::Replayed);
            }
            refuse_cancelled(&journal)?;
            self.at(&journal, &record)
        };
        if let Some(left) = pause_left(&record, at.now) {
            return Err(Stop::Wait(left));
        }
        let limit = self.time_for(S::TIMEOUT, at.now)?;
        self.pass(Point::IntentRecorded, &record.key).await?;
        let span = tracing::info_span!("step", step = %record.key);
        let result = self.within(limit, &record.key, step.run(&self.inner.ports, &at)).instrument(span).await;
        self.pass(Point::EffectDone, &record.key).await?;
        match result {
            Ok(Progress::Done(output)) => self.record_output(record, output).await,
            Ok(Progress::Pending { after, on }) => self.waiting::<S>(&step, record, after, &on).await,
            Err(error) => self.failed::<S>(record, error).await,
        }
    }

    /// Passes a place where tests make things go wrong.
    async fn pass(&self, point: Point, key: &str) -> Result<(), Stop> {
        match self.inner.faults.hit(point, key) {
            Hit::Pass => Ok(()),
            Hit::Fail => Err(turn(&*self.inner.journal.lock().await, injected(key))),
            Hit::Crash => Err(Stop::Crashed),
        }
    }

    fn remember_undo<S: Step<P>>(&self, step: &S, ordinal: u32, output: Option<S::Output>) {
        let (ports, step) = (Arc::clone(&self.inner.ports), step.clone());
        let call = Box::new(move |at: At| async move { step.undo(&ports, &at, output).await }.boxed());
        let mut undos = self.inner.undos.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        undos.push(Undo { ordinal, timeout: S::TIMEOUT, call });
    }

    pub(crate) fn at(&self, journal: &Journal, record: &StepRecord) -> At {
        At {
            operation: Arc::clone(&journal.head),
            key: record.key.clone(),
            started_at: record.started_at,
            attempts: record.attempts,
            now: self.inner.ports.clock().now(),
        }
    }

    async fn record_output<T: serde::Serialize>(&self, record: StepRecord, output: T) -> Result<T, Stop> {
        let now = self.inner.ports.clock().now();
        let key = record.key.clone();
        let message = words(&record.name);
        let done = StepRecord { output: Some(to_value(&output)?), status: StepStatus::Done, ended_at: Some(now), ..record };
        let change = Change { steps: vec![done], events: vec![(EventKind::StepDone, Some(key), message)], ..Change::default() };
        self.inner.journal.lock().await.commit(&*self.inner.ports, now, change, |head| head.poll_after_ms = POLL_MS_MIN).await?;
        Ok(output)
    }

    async fn waiting<S: Step<P>>(&self, step: &S, record: StepRecord, after: Duration, on: &str) -> Result<S::Output, Stop> {
        let mut journal = self.inner.journal.lock().await;
        let now = self.inner.ports.clock().now();
        if now.duration_since(record.started_at) > signed(S::WAIT_MAX) {
            return Err(turn(&journal, step.overdue(on)));
        }
        let message = format!("{}: waiting for {on}", words(&record.name));
        let poll = (after.as_millis() as u64 / 10).clamp(POLL_MS_MIN, POLL_MS_MAX);
        if record.waiting_on.as_deref() != Some(on) {
            let event = (EventKind::StepWaiting, Some(record.key.clone()), message.clone());
            let waiting = StepRecord { waiting_on: Some(on.to_owned()), ..record };
            let change = Change { steps: vec![waiting], events: vec![event], ..Change::default() };
            let edit = |head: &mut kiven_model::operation::Operation| (head.current_step, head.poll_after_ms) = (Some(message), poll);
            journal.commit(&*self.inner.ports, now, change, edit).await?;
        }
        Err(Stop::Wait(after))
    }

    async fn failed<S: Step<P>>(&self, record: StepRecord, error: StepError) -> Result<S::Output, Stop> {
        let mut journal = self.inner.journal.lock().await;
        let (problem, after) = match error {
            StepError::Failed(problem) => return Err(turn(&journal, problem)),
            StepError::Blocked { problem, after } => return Err(self.blocked(&mut journal, record, problem, after).await),
            StepError::Retry { problem, .. } if record.attempts + 1 >= S::ATTEMPTS_MAX => return Err(turn(&journal, problem)),
            StepError::Retry { problem, after } => (problem, after),
        };
        let now = self.inner.ports.clock().now();
        let backoff = backoff(after, record.attempts);
        let message = format!("{}: {problem}; tried again in {} ms", words(&record.name), backoff.as_millis());
        let key = record.key.clone();
        let again = StepRecord { attempts: record.attempts + 1, not_before: Some(now + signed(backoff)), ..record };
        let change = Change { steps: vec![again], events: vec![(EventKind::StepRetried, Some(key), message)], ..Change::default() };
        journal.commit(&*self.inner.ports, now, change, |_| {}).await?;
        Err(Stop::Wait(backoff))
    }
}

impl<P: Ports> Cx<P> {
    /// Waits for somebody outside. The step's own time begins anew with each look, so that it still has all of it afterwards.
    pub(crate) async fn blocked(&self, journal: &mut Journal, record: StepRecord, problem: Problem, after: Duration) -> Stop {
        let now = self.inner.ports.clock().now();
        if now.duration_since(journal.head.created_at) > SignedDuration::from_hours(24 * BLOCKED_DAYS_MAX) {
            return turn(journal, problem);
        }
        let message = format!("{}: waiting: {problem}", words(&record.name));
        let mut change = Change::default();
        if record.waiting_on.as_deref() != Some(&message) {
            change.events.push((EventKind::StepWaiting, Some(record.key.clone()), message.clone()));
        }
        // A step that is done is being undone: its end stays what it is.
        let next = now + signed(after);
        let started_at = if record.status == StepStatus::Attempted { next } else { record.started_at };
        change.steps.push(StepRecord { started_at, waiting_on: Some(message.clone()), not_before: Some(next), ..record });
        let edit = |head: &mut kiven_model::operation::Operation| (head.current_step, head.poll_after_ms) = (Some(message), POLL_MS_MAX);
        match journal.commit(&*self.inner.ports, now, change, edit).await {
            Ok(()) => Stop::Wait(after),
            Err(stop) => stop,
        }
    }
}

/// How many days an operation waits for somebody outside before it gives up.
const BLOCKED_DAYS_MAX: i64 = 30;
/// The pause after something was cut off.
const CUT_OFF_PAUSE: Duration = Duration::from_millis(500);
/// Bounds of the pace that followers are told, in milliseconds.
const POLL_MS_MIN: u64 = 50;
const POLL_MS_MAX: u64 = 10_000;
/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The pause after a retry: doubled with each attempt.
pub(crate) fn backoff(after: Duration, attempts: u32) -> Duration {
    (after.max(Duration::from_millis(100)) * 2u32.pow(attempts.min(6))).min(BACKOFF_MAX)
}

/// What is left of the pause after a retry. A ring may come earlier, from an agent's answer or for another step: without
/// this, rings alone would use up a step's attempts within milliseconds.
pub(crate) fn pause_left(record: &StepRecord, now: Timestamp) -> Option<Duration> {
    let until = record.not_before.filter(|until| *until > now)?;
    Duration::try_from(until.duration_since(now)).ok()
}

impl<S> Placed<S> {
    pub(crate) fn intent(&self) -> Option<StepRecord> {
        self.fresh.then(|| self.record.clone())
    }
}

pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// What a step gave. JSON cannot tell an output that is null from none, so the status decides.
fn recorded_output<T: DeserializeOwned>(record: &StepRecord) -> Result<Option<T>, Stop> {
    let value = record.output.clone().unwrap_or(Value::Null);
    match record.status {
        StepStatus::Attempted => Ok(None),
        StepStatus::Undone => Ok(serde_json::from_value(value).ok()),
        StepStatus::Done => match serde_json::from_value(value) {
            Ok(output) => Ok(Some(output)),
            Err(error) => Err(diverged(&format!("the output of `{}` cannot be read: {error}", record.key))),
        },
    }
}

/// A step's name in words: `ensure_backup_bucket` reads "ensure backup bucket".
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn to_value<T: serde::Serialize>(value: &T) -> Result<Value, Stop> {
    serde_json::to_value(value).map_err(|error| diverged(&format!("a value cannot be recorded: {error}")))
}

fn diverged(why: &str) -> Stop {
    let hint = "The operation's code has changed while it ran. Deploy the version it began with, or contact support.";
    Stop::Stuck(Problem::new(Code::REPLAY_DIFFERS, "The operation cannot be replayed").detail(why).hint(hint))
}

fn injected(key: &str) -> Problem {
    Problem::new(Code::STEP_STUCK, format!("`{key}` was made to fail"))
}

fn refuse_cancelled(journal: &Journal) -> Result<(), Stop> {
    if journal.head.cancel_requested && !journal.head.past_no_return {
        return Err(Stop::Fail(Problem::new(Code::CANCELLED, "The operation was cancelled")));
    }
    Ok(())
}

/// Back while there is a way back, else stuck.
fn turn(journal: &Journal, problem: Problem) -> Stop {
    if journal.head.past_no_return { Stop::Stuck(problem) } else { Stop::Fail(problem) }
}
