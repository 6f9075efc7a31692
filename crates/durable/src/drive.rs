//! One drive: take the lease, load, replay, run what comes next, commit; until a wait, the end, or the time is up.
use crate::body::{Body, Outcome, Stop};
use crate::context::{Cx, Undo, backoff, pause_left, signed};
use crate::fault::Faults;
use crate::journal::{Change, Journal};
use crate::step::{Progress, StepError};
use jiff::Timestamp;
use kiven_model::operation::{EventKind, Lease, Operation, OperationStatus, StepRecord, StepStatus};
use kiven_model::{Code, OperationId, Problem};
use kiven_ports::{Clock, PortError, Ports};
use std::sync::Arc;
use std::time::Duration;

/// How often an end is tried again when a record it settles has changed meanwhile.
const SETTLE_ATTEMPTS_MAX: u32 = 5;
/// How often an undo may fail before the operation is stuck.
const UNDO_ATTEMPTS_MAX: u32 = 30;
/// Turns within one drive: forward, then back.
const TURNS_MAX: u32 = 3;

/// Who drives, and for how long.
#[derive(Clone)]
pub struct Drive {
    /// Names the drive in the lease.
    pub owner: String,
    /// How long the lease is: another drive may begin after it.
    pub lease: Duration,
    /// What tests make go wrong.
    pub faults: Arc<dyn Faults>,
}

/// How a drive came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driven {
    /// The operation is over.
    Over(OperationStatus),
    /// Ring again after this.
    Wait(Duration),
    /// It waits, and a ring for no later time is on its way already: another would only add to the rings.
    Armed,
    /// Another drive has the lease.
    Busy,
    /// Nothing is known: ring again.
    Lost(String),
    /// There is no such operation.
    Unknown,
}

/// Drives an operation once.
///
/// # Errors
/// When the records cannot be read; nothing has been done then.
pub async fn drive<P: Ports, B: Body<P>>(ports: Arc<P>, id: &OperationId, how: &Drive) -> Result<Driven, PortError> {
    let mut armed = None;
    for turn in 0..TURNS_MAX {
        let Some(mut journal) = Journal::load(&*ports, id).await? else { return Ok(Driven::Unknown) };
        if journal.head.status.over() {
            return Ok(Driven::Over(journal.head.status));
        }
        let now = ports.clock().now();
        if journal.head.lease.as_ref().is_some_and(|lease| lease.owner != how.owner && lease.until > now) {
            return Ok(Driven::Busy);
        }
        if turn == 0 {
            armed = journal.head.due_at.filter(|due| *due > now);
        }
        let until = now + signed(how.lease);
        let lease = Lease { owner: how.owner.clone(), until };
        let taken = journal.commit(&*ports, now, Change::default(), |head| (head.lease, head.due_at) = (Some(lease), Some(until))).await;
        if let Err(Stop::Lost(why)) = taken {
            return Ok(Driven::Lost(why));
        }
        let driven = attempt::<P, B>(&ports, journal, how, until, armed).await?;
        if let Some(driven) = driven {
            tracing::info!(operation_id = %id, kind = B::KIND.as_str(), outcome = ?driven, "drive ended");
            return Ok(driven);
        }
    }
    Ok(Driven::Wait(Duration::ZERO))
}

/// Replays once. `None`: the operation has turned around, and its undo starts from a reloaded record.
async fn attempt<P: Ports, B: Body<P>>(
    ports: &Arc<P>,
    journal: Journal,
    how: &Drive,
    until: Timestamp,
    armed: Option<Timestamp>,
) -> Result<Option<Driven>, PortError> {
    let unwinding = journal.head.status == OperationStatus::Unwinding;
    let input = serde_json::from_value::<B::Input>(journal.head.input.clone());
    let cx = Cx::new(Arc::clone(ports), journal, Arc::clone(&how.faults), until, how.lease);
    let result = match input {
        Ok(input) => B::run(cx.clone(), input).await.and_then(|output| {
            serde_json::to_value(output)
                .map_err(|error| Stop::Stuck(Problem::new(Code::REPLAY_DIFFERS, format!("the output cannot be recorded: {error}"))))
        }),
        Err(error) => Err(Stop::Stuck(Problem::new(Code::REPLAY_DIFFERS, "The operation's input cannot be read").detail(error.to_string()))),
    };
    match result {
        Ok(_) | Err(Stop::Replayed | Stop::Fail(_) | Stop::Wait(_)) if unwinding => unwind::<P, B>(&cx, armed).await.map(Some),
        Ok(output) => end::<P, B>(&cx, Outcome::Succeeded, Some(output), None).await.map(Some),
        Err(Stop::Wait(after)) => Ok(Some(rest(&cx, after, armed).await)),
        Err(Stop::Fail(problem)) => Ok(turn_around(&cx, problem).await.err().map(lost)),
        Err(Stop::Stuck(problem)) => end::<P, B>(&cx, Outcome::Stuck, None, Some(problem)).await.map(Some),
        Err(Stop::Lost(why)) => Ok(Some(Driven::Lost(why))),
        Err(Stop::Replayed) => Ok(Some(Driven::Lost("nothing left to replay".to_owned()))),
        Err(Stop::Crashed) => Ok(Some(Driven::Lost("crashed".to_owned()))),
    }
}

fn lost(stop: Stop) -> Driven {
    Driven::Lost(format!("{stop:?}"))
}

/// Gives the lease back and says when to ring again.
async fn rest<P: Ports>(cx: &Cx<P>, after: Duration, armed: Option<Timestamp>) -> Driven {
    let inner = cx.inner();
    let now = inner.ports.clock().now();
    let wanted = now + signed(after);
    let armed = armed.filter(|earlier| *earlier > now && *earlier <= wanted);
    let edit = |head: &mut Operation| (head.lease, head.due_at) = (None, Some(armed.unwrap_or(wanted)));
    match inner.journal.lock().await.commit(&*inner.ports, now, Change::default(), edit).await {
        Ok(()) if armed.is_some() => Driven::Armed,
        Ok(()) => Driven::Wait(after),
        Err(stop) => lost(stop),
    }
}

async fn turn_around<P: Ports>(cx: &Cx<P>, problem: Problem) -> Result<(), Stop> {
    let inner = cx.inner();
    let now = inner.ports.clock().now();
    let change = Change { events: vec![(EventKind::Unwinding, None, format!("going back: {problem}"))], ..Change::default() };
    let edit = |head: &mut Operation| (head.status, head.problem) = (OperationStatus::Unwinding, Some(problem));
    inner.journal.lock().await.commit(&*inner.ports, now, change, edit).await
}

/// Undoes every attempted step, last first.
async fn unwind<P: Ports, B: Body<P>>(cx: &Cx<P>, armed: Option<Timestamp>) -> Result<Driven, PortError> {
    let inner = cx.inner();
    let mut undos: Vec<Undo> = std::mem::take(&mut *inner.undos.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    undos.sort_by_key(|undo| std::cmp::Reverse(undo.ordinal));
    for undo in undos {
        let (record, at) = {
            let journal = inner.journal.lock().await;
            let Some(record) = journal.steps.iter().find(|r| r.ordinal == undo.ordinal && r.status != StepStatus::Undone).cloned() else { continue };
            let at = cx.at(&journal, &record);
            (record, at)
        };
        if let Some(left) = pause_left(&record, at.now) {
            return Ok(rest(cx, left, armed).await);
        }
        let limit = match cx.time_for(undo.timeout, at.now) {
            Ok(limit) => limit,
            Err(_) => return Ok(rest(cx, Duration::ZERO, armed).await),
        };
        match cx.within(limit, &record.key, (undo.call)(at)).await {
            Ok(Progress::Done(())) => {
                if let Err(stop) = record_undone(cx, record).await {
                    return Ok(lost(stop));
                }
            }
            Ok(Progress::Pending { after, .. }) => return Ok(rest(cx, after, armed).await),
            Err(StepError::Retry { problem, after }) => match count_undo(cx, record, &problem, after).await {
                Ok(Some(pause)) => return Ok(rest(cx, pause, armed).await),
                Ok(None) => return end::<P, B>(cx, Outcome::Stuck, None, Some(stuck_undo(problem))).await,
                Err(stop) => return Ok(lost(stop)),
            },
            Err(StepError::Blocked { problem, after }) => {
                let stop = cx.blocked(&mut *inner.journal.lock().await, record, problem, after).await;
                return match stop {
                    Stop::Wait(after) => Ok(rest(cx, after, armed).await),
                    Stop::Fail(problem) | Stop::Stuck(problem) => end::<P, B>(cx, Outcome::Stuck, None, Some(stuck_undo(problem))).await,
                    stop @ (Stop::Replayed | Stop::Lost(_) | Stop::Crashed) => Ok(lost(stop)),
                };
            }
            Err(StepError::Failed(problem)) => return end::<P, B>(cx, Outcome::Stuck, None, Some(stuck_undo(problem))).await,
        }
    }
    let unmet = inner.journal.lock().await.steps.iter().any(|record| record.status != StepStatus::Undone);
    if unmet {
        let problem = Problem::new(Code::REPLAY_DIFFERS, "An attempted step was not met while going back");
        return end::<P, B>(cx, Outcome::Stuck, None, Some(problem)).await;
    }
    end::<P, B>(cx, Outcome::Failed, None, None).await
}

fn stuck_undo(problem: Problem) -> Problem {
    Problem::new(Code::UNDO_STUCK, "A step could not be undone").detail(problem.to_string()).hint(problem.hint)
}

async fn record_undone<P: Ports>(cx: &Cx<P>, record: StepRecord) -> Result<(), Stop> {
    let inner = cx.inner();
    let now = inner.ports.clock().now();
    let event = (EventKind::StepUndone, Some(record.key.clone()), format!("{} undone", record.name.replace('_', " ")));
    let undone = StepRecord { status: StepStatus::Undone, ended_at: Some(now), ..record };
    let change = Change { steps: vec![undone], events: vec![event], ..Change::default() };
    inner.journal.lock().await.commit(&*inner.ports, now, change, |_| {}).await
}

/// Counts a failed undo and answers the pause before the next; `None` when there were too many.
async fn count_undo<P: Ports>(cx: &Cx<P>, record: StepRecord, problem: &Problem, after: Duration) -> Result<Option<Duration>, Stop> {
    if record.attempts >= UNDO_ATTEMPTS_MAX {
        return Ok(None);
    }
    let pause = backoff(after, record.attempts);
    let inner = cx.inner();
    let now = inner.ports.clock().now();
    let event = (EventKind::StepRetried, Some(record.key.clone()), format!("undo: {problem}"));
    // A done step stays replayable while its undo is retried, so its status is kept and only its end moves.
    let again = StepRecord { attempts: record.attempts + 1, not_before: Some(now + signed(pause)), ..record };
    let change = Change { steps: vec![again], events: vec![event], ..Change::default() };
    inner.journal.lock().await.commit(&*inner.ports, now, change, |_| {}).await.map(|()| Some(pause))
}

/// Records the end, with everything that makes it known, in one transaction.
async fn end<P: Ports, B: Body<P>>(
    cx: &Cx<P>,
    outcome: Outcome,
    output: Option<serde_json::Value>,
    problem: Option<Problem>,
) -> Result<Driven, PortError> {
    let inner = cx.inner();
    for attempt in 1..=SETTLE_ATTEMPTS_MAX {
        let mut journal = inner.journal.lock().await;
        let now = inner.ports.clock().now();
        let mut settled = Operation::clone(&journal.head);
        settled.output.clone_from(&output);
        settled.problem = problem.clone().or(settled.problem);
        settled.status = outcome.status();
        settled.updated_at = now;
        let writes = match B::settle(&inner.ports, &settled, &outcome).await {
            Ok(writes) => writes,
            // What it was about has changed beyond what this end fits: people must look, and nothing is written over it.
            Err(PortError::Refused(problem)) => {
                (settled.status, settled.problem) = (OperationStatus::Stuck, Some(problem));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let status = settled.status;
        let message = settled
            .problem
            .as_ref()
            .filter(|_| status != OperationStatus::Succeeded)
            .map_or(status.as_str().to_owned(), |p| format!("{}: {p}", status.as_str()));
        let change = Change { events: vec![(EventKind::Ended, None, message)], writes, ..Change::default() };
        let edit = |head: &mut Operation| {
            (head.status, head.output, head.problem) = (settled.status, settled.output, settled.problem);
            (head.lease, head.due_at, head.current_step) = (None, None, None);
        };
        match journal.commit(&*inner.ports, now, change, edit).await {
            Ok(()) => return Ok(Driven::Over(status)),
            Err(stop) if attempt == SETTLE_ATTEMPTS_MAX => return Ok(lost(stop)),
            Err(_) => {}
        }
    }
    Ok(Driven::Lost("the end could not be recorded".to_owned()))
}
