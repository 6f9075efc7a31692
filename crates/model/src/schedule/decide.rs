//! What a schedule does about one database now: running operation > manual > schedule, decided purely from recorded facts.
//!
//! - Only the latest boundary that has fallen due counts, so missed ticks collapse into it.
//! - The creation of the database and every manual action hold until the next boundary after them. So does a change of the
//!   schedule itself. With `ready_by` an early start belongs to its boundary: what a person does after it comes after the
//!   boundary, what they do before it comes before.
//! - A boundary is settled once: reached, held against, or skipped. What happens to the power later is somebody's wish.
use super::calendar::{Turn, horizon, lookback};
use super::lead::{LEAD_SECONDS_MAX, lead_seconds};
use super::spec::{ScheduleSpec, moved};
use crate::Valid;
use crate::database::Power;
use crate::lifecycle::DatabaseStatus;
use crate::operation::OperationKind;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a scheduled pause waits for an operation or a backup, before it is skipped and told.
pub const PAUSE_WAIT_MINUTES_MAX: i64 = 120;
/// How often a schedule tries one boundary, before it is skipped and told.
pub const ATTEMPTS_MAX: u32 = 3;
/// How soon after a try the next one may come, and how soon a change under way is looked at again.
pub const RETRY_SECONDS: i64 = 300;
/// How soon something that is waited for is looked at again.
pub const RECHECK_SECONDS: i64 = 60;
/// From this lateness on the reason says how late it is.
const LATE_MINUTES: i64 = 5;
/// How long before an instant a boundary may lie that an instant still decides about: a window, and the longest lead.
const MEMORY: SignedDuration = SignedDuration::from_hours(48);

/// What is known of one database and its schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerFacts {
    /// Where the database is in its life.
    pub status: DatabaseStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the schedule was made, enabled, changed or given this database: the latest of them.
    pub scheduled_since: Timestamp,
    /// When a person last asked for power on or off, by whatever way.
    pub last_manual_at: Option<Timestamp>,
    /// The operation that runs on it.
    pub running: Option<Running>,
    /// Whether a backup is being taken, by an operation or by the operator in the cluster.
    pub backup_running: bool,
    /// Whether the way into the customer's account is lost.
    pub access_lost: bool,
    /// How long its own resumes took, in seconds, oldest first.
    pub resume_seconds: Vec<u32>,
    /// What the last decision recorded.
    pub progress: Progress,
}

/// An operation that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// What it does.
    pub kind: OperationKind,
    /// Whether nothing of it may be undone any more; of a pause: it has hibernated.
    pub past_no_return: bool,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
}

/// What a schedule remembers of a database; recorded together with the action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The latest boundary that needs nothing more.
    pub settled: Option<Timestamp>,
    /// The boundary being worked on.
    pub pending: Option<Pending>,
}

/// A boundary being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Which.
    pub boundary: Timestamp,
    /// When it was first acted on or waited for.
    pub since: Timestamp,
    /// How often an operation has been started for it.
    pub attempts: u32,
    /// When the last one was.
    pub tried_at: Option<Timestamp>,
    /// When it was last seen that nothing can be done: no access, or a stuck database. People have been told.
    #[serde(default)]
    pub stopped_at: Option<Timestamp>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing(Why),
    /// Nothing yet: something else goes first, at most until then.
    Wait {
        /// When the boundary is given up, tried again or overtaken by the next one.
        until: Timestamp,
    },
    /// Start the operation `pause`.
    Pause,
    /// Start the operation `resume`.
    Resume,
    /// Ask the running pause to stop and go back.
    CancelPause,
    /// Give this boundary up, and tell people.
    Skip(Skipped),
}

/// Why there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The schedule is disabled; power stays as it is.
    Disabled,
    /// The database is deleted, being deleted, or was never made.
    Gone,
    /// The database is stuck; people have been told.
    Stuck,
    /// Schedules stop while there is no way into the account.
    AccessLost,
    /// Something later than the boundary goes before it.
    Held(Held),
    /// No boundary has fallen due since the last one that was settled.
    Settled,
    /// The database is as wanted.
    AlreadyThere,
    /// It is on its way there.
    UnderWay,
}

/// What holds until the next boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The creation of the database.
    Creation,
    /// A manual action.
    Manual,
    /// A change of the schedule.
    Schedule,
}

/// Why a boundary is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// What it waited for was not over in [`PAUSE_WAIT_MINUTES_MAX`].
    WaitedTooLong,
    /// [`ATTEMPTS_MAX`] operations for it have gone back.
    FailedTooOften,
}

/// What a schedule does about a database now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Why, in words for the event.
    pub reason: String,
    /// Whether it is news: a decision that only repeats the last one is not.
    pub tell: bool,
    /// What to record, in the same write as the action.
    pub progress: Progress,
    /// When to decide again at the latest; `None`: not before the schedule changes. The end of an operation may come earlier.
    pub next_due: Option<Timestamp>,
}

/// Decides. Ask at [`Decision::next_due`]; asking more often, or much later, is harmless.
#[must_use]
pub fn decide(spec: &Valid<ScheduleSpec>, facts: &PowerFacts, now: Timestamp) -> Decision {
    let case = Case { spec, facts, now, lead: lead(spec, facts) };
    if let Some(decision) = case.out_of_play() {
        return decision;
    }
    let Some(turn) = case.current() else {
        let next_due = Some(case.next(facts.progress));
        let progress = Progress { pending: None, ..facts.progress };
        return Decision { action: Action::Nothing(Why::Settled), reason: "nothing is due".to_owned(), tell: false, progress, next_due };
    };
    if let Some(held) = case.held(turn) {
        // Where power is as the boundary wanted it anyway, nothing was left out.
        let off = matches!(facts.status, DatabaseStatus::Paused | DatabaseStatus::Pausing | DatabaseStatus::Undeleting);
        let decision = case.settle(turn, Action::Nothing(Why::Held(held)), held.words());
        return Decision { tell: off != (turn.power == Power::Off), ..decision };
    }
    match turn.power {
        Power::Off => case.power_off(turn),
        Power::On => case.power_on(turn),
    }
}

/// How early power comes on. An early start keeps the lead it began with: its own resume may change the estimate.
fn lead(spec: &ScheduleSpec, facts: &PowerFacts) -> SignedDuration {
    let begun = facts.progress.pending.map_or(SignedDuration::ZERO, |pending| pending.boundary.duration_since(pending.since));
    let estimate = if spec.ready_by { i64::from(lead_seconds(&facts.resume_seconds)) } else { 0 };
    begun.max(SignedDuration::from_secs(estimate))
}

struct Case<'a> {
    spec: &'a ScheduleSpec,
    facts: &'a PowerFacts,
    now: Timestamp,
    lead: SignedDuration,
}

impl Case<'_> {
    /// Schedules that do nothing, databases that nothing is done to.
    fn out_of_play(&self) -> Option<Decision> {
        use DatabaseStatus as S;
        let kept = self.facts.progress;
        let (why, reason, progress, next_due) = match self.facts.status {
            S::Deleting | S::Grace | S::Purging | S::Deleted | S::Released | S::Failed => {
                (Why::Gone, "the database is deleted or being deleted", Progress { pending: None, ..kept }, None)
            }
            S::Provisioning | S::Available | S::Pausing | S::Paused | S::Resuming | S::Changing | S::Undeleting | S::Stuck if !self.spec.enabled => {
                (Why::Disabled, "the schedule is disabled, power stays as it is", Progress { pending: None, ..kept }, None)
            }
            S::Stuck => return Some(self.stopped(Why::Stuck, "cannot be done, the database is stuck", self.next(kept))),
            S::Provisioning | S::Available | S::Pausing | S::Paused | S::Resuming | S::Changing | S::Undeleting if self.facts.access_lost => {
                let words = "cannot be done, the environment's access is lost";
                return Some(self.stopped(Why::AccessLost, words, self.soon(RETRY_SECONDS, kept)));
            }
            S::Provisioning | S::Available | S::Pausing | S::Paused | S::Resuming | S::Changing | S::Undeleting => return None,
        };
        Some(Decision { action: Action::Nothing(why), reason: reason.to_owned(), tell: false, progress, next_due })
    }

    /// Nothing can be done. A boundary that would be acted on is remembered, and told once.
    fn stopped(&self, why: Why, words: &str, next_due: Timestamp) -> Decision {
        let kept = self.facts.progress;
        let (action, next_due) = (Action::Nothing(why), Some(next_due));
        let Some(turn) = self.current().filter(|turn| self.held(*turn).is_none() && !self.is_there(turn.power)) else {
            return Decision { action, reason: words.to_owned(), tell: false, progress: kept, next_due };
        };
        let tell = self.pending_for(turn).is_none_or(|pending| pending.stopped_at.is_none());
        let pending = Pending { stopped_at: Some(self.now), ..self.pending_or_new(turn) };
        Decision { action, reason: self.words(turn, words), tell, progress: Progress { pending: Some(pending), ..kept }, next_due }
    }

    /// Whether the database is as wanted, or on its way there.
    fn is_there(&self, power: Power) -> bool {
        use DatabaseStatus as S;
        match power {
            Power::Off => matches!(self.facts.status, S::Paused | S::Pausing | S::Undeleting),
            Power::On => matches!(self.facts.status, S::Available | S::Resuming | S::Provisioning | S::Changing),
        }
    }

    /// The latest turn that has fallen due and is not settled.
    fn current(&self) -> Option<Turn> {
        let Progress { settled, pending: _ } = self.facts.progress;
        let (held, _) = self.latest_hold();
        let known = settled.map_or(held, |settled| settled.max(held)).min(self.now);
        let from = moved(known, -MEMORY).max(lookback(self.now));
        self.spec.turns(self.lead, from, self.now).last().filter(|turn| settled.is_none_or(|settled| turn.at > settled))
    }

    /// The last thing that holds, manual or not.
    fn latest_hold(&self) -> (Timestamp, Held) {
        let PowerFacts { created_at, scheduled_since, last_manual_at, .. } = self.facts;
        let changed = if scheduled_since > created_at { (*scheduled_since, Held::Schedule) } else { (*created_at, Held::Creation) };
        match last_manual_at {
            Some(manual) if *manual >= changed.0 => (*manual, Held::Manual),
            Some(_) | None => changed,
        }
    }

    /// What holds against a turn. A person who acts after an early start has seen it; a schedule that is made then means its boundary.
    fn held(&self, turn: Turn) -> Option<Held> {
        let begun = self.pending_for(turn).map_or(turn.due, |pending| pending.since);
        match (self.latest_hold(), self.facts.last_manual_at) {
            ((at, held), _) if at >= turn.at => Some(held),
            (_, Some(manual)) if manual >= begun => Some(Held::Manual),
            (_, Some(_) | None) => None,
        }
    }

    fn power_off(&self, turn: Turn) -> Decision {
        use DatabaseStatus as S;
        match (self.facts.status, self.facts.running) {
            (S::Paused, _) => self.settle(turn, Action::Nothing(Why::AlreadyThere), "the database is paused"),
            (S::Pausing, running) => self.under_way(turn, running),
            (S::Available, None) if !self.facts.backup_running => self.attempt(turn, Action::Pause),
            (_, running) => {
                let pending = self.pending_or_new(turn);
                // What could not be done anyway was not waited for.
                let since = pending.stopped_at.map_or(pending.since, |stopped| stopped.max(pending.since));
                let until = moved(since, SignedDuration::from_mins(PAUSE_WAIT_MINUTES_MAX));
                let busy = running.map_or("a backup".to_owned(), |running| format!("the operation {}", running.kind.as_str()));
                if self.now >= until {
                    let words = format!("{busy} still runs after {PAUSE_WAIT_MINUTES_MAX} minutes; power stays as it is until the next boundary");
                    return self.settle(turn, Action::Skip(Skipped::WaitedTooLong), &words);
                }
                self.wait(turn, pending, until, &format!("waits for {busy} to end"))
            }
        }
    }

    fn power_on(&self, turn: Turn) -> Decision {
        use DatabaseStatus as S;
        match (self.facts.status, self.facts.running) {
            (S::Available, _) => self.settle(turn, Action::Nothing(Why::AlreadyThere), "the database is on"),
            (S::Resuming | S::Provisioning, running) => self.under_way(turn, running),
            (S::Paused, None) => self.attempt(turn, Action::Resume),
            (S::Pausing, Some(Running { kind: OperationKind::Pause, past_no_return: false, cancel_requested })) => {
                if cancel_requested {
                    return self.under_way(turn, self.facts.running);
                }
                self.pend(turn, Action::CancelPause, self.pending_or_new(turn), RECHECK_SECONDS, "cancels the pause, which has not hibernated yet")
            }
            (_, running) => {
                let pending = self.pending_or_new(turn);
                let busy = running.map_or("what runs".to_owned(), |running| format!("the operation {}", running.kind.as_str()));
                let until = self.next(self.facts.progress);
                self.wait(turn, pending, until, &format!("waits for {busy} to end"))
            }
        }
    }

    /// Starts an operation, unless the last one has only just gone back or too many have.
    fn attempt(&self, turn: Turn, action: Action) -> Decision {
        let pending = self.pending_or_new(turn);
        if pending.attempts >= ATTEMPTS_MAX {
            let words = format!("has failed {ATTEMPTS_MAX} times and is given up; power stays as it is until the next boundary");
            return self.settle(turn, Action::Skip(Skipped::FailedTooOften), &words);
        }
        if let Some(until) = pending.tried_at.map(|at| moved(at, SignedDuration::from_secs(RETRY_SECONDS))).filter(|until| *until > self.now) {
            return self.wait(turn, pending, until, "has failed and is tried again");
        }
        let words = self.how_it_begins(turn);
        let pending = Pending { attempts: pending.attempts + 1, tried_at: Some(self.now), ..pending };
        self.pend(turn, action, pending, RETRY_SECONDS, &words)
    }

    fn how_it_begins(&self, turn: Turn) -> String {
        let late = self.now.duration_since(turn.due).as_mins();
        let early = turn.at.duration_since(self.now).as_secs();
        match (self.pending_for(turn).map(|pending| pending.attempts), late) {
            (Some(tries @ 1..), _) => format!("begins again, try {} of {ATTEMPTS_MAX}", tries.saturating_add(1)),
            (Some(0), _) => format!("begins {late} minutes late: what it waited for is over"),
            (None, LATE_MINUTES..) => format!("begins {late} minutes late: nothing could be decided earlier"),
            (None, _) if early > 0 => format!("begins {} minutes early to be ready in time", early.div_euclid(60).max(1)),
            (None, _) => "begins".to_owned(),
        }
    }

    fn under_way(&self, turn: Turn, running: Option<Running>) -> Decision {
        // A change that is being taken back is over soon, and then it is this turn's again.
        let again = if running.is_some_and(|running| running.cancel_requested) { RECHECK_SECONDS } else { RETRY_SECONDS };
        self.pend(turn, Action::Nothing(Why::UnderWay), self.pending_or_new(turn), again, "is under way")
    }

    fn wait(&self, turn: Turn, pending: Pending, until: Timestamp, words: &str) -> Decision {
        let mut decision = self.pend(turn, Action::Wait { until }, pending, RECHECK_SECONDS, words);
        decision.next_due = decision.next_due.map(|due| due.min(until));
        decision
    }

    fn pend(&self, turn: Turn, action: Action, pending: Pending, again_seconds: i64, words: &str) -> Decision {
        let progress = Progress { pending: Some(pending), ..self.facts.progress };
        let acts = matches!(action, Action::Pause | Action::Resume | Action::CancelPause);
        let tell = acts || self.pending_for(turn).is_none();
        Decision { action, reason: self.words(turn, words), tell, progress, next_due: Some(self.soon(again_seconds, progress)) }
    }

    fn settle(&self, turn: Turn, action: Action, words: &str) -> Decision {
        let progress = Progress { settled: Some(turn.at), pending: None };
        // That its own operation has reached its end is told by the operation.
        let own_end = action == Action::Nothing(Why::AlreadyThere) && self.pending_for(turn).is_some();
        Decision { action, reason: self.words(turn, words), tell: !own_end, progress, next_due: Some(self.next(progress)) }
    }

    fn pending_for(&self, turn: Turn) -> Option<Pending> {
        self.facts.progress.pending.filter(|pending| pending.boundary == turn.at)
    }
    fn pending_or_new(&self, turn: Turn) -> Pending {
        self.pending_for(turn).unwrap_or(Pending { boundary: turn.at, since: self.now, attempts: 0, tried_at: None, stopped_at: None })
    }
    /// When the next turn falls due that is not settled; the horizon when none is in sight. An early start is looked at once
    /// more when the longest lead begins: resumes until then may have changed the estimate.
    fn next(&self, progress: Progress) -> Timestamp {
        let end = horizon(self.now);
        let open = |turn: &Turn| progress.settled.is_none_or(|settled| turn.at > settled);
        let Some(turn) = self.spec.turns(self.lead, self.now, end).find(open) else { return end };
        let longest = moved(turn.at, -SignedDuration::from_secs(LEAD_SECONDS_MAX.into()));
        if self.spec.ready_by && turn.power == Power::On && longest > self.now { longest } else { turn.due }
    }
    fn soon(&self, seconds: i64, progress: Progress) -> Timestamp {
        moved(self.now, SignedDuration::from_secs(seconds)).min(self.next(progress))
    }
    fn words(&self, turn: Turn, words: &str) -> String {
        let what = match turn.power {
            Power::Off => "pause",
            Power::On => "resume",
        };
        let zone = &self.spec.time_zone;
        format!("scheduled {what} of {} {zone}: {words}", zone.civil(turn.at).strftime("%a %Y-%m-%d %H:%M"))
    }
}

impl Held {
    fn words(self) -> &'static str {
        match self {
            Self::Creation => "left out, the database was created after it",
            Self::Manual => "left out, power was set by hand after it",
            Self::Schedule => "left out, the schedule was changed after it",
        }
    }
}
