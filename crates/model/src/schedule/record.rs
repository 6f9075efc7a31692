//! The records behind schedules: the schedule itself, what it remembers of each database, and what it decided.
use super::decide::{Action, Progress, Why};
use super::spec::ScheduleSpec;
use crate::database::{Database, Power};
use crate::{DatabaseId, OperationId, OrganizationId, ScheduleId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a decision can be read.
pub const POWER_EVENT_DAYS: i64 = 90;
/// Most decisions in one answer.
pub const POWER_EVENTS_MAX: usize = 100;
/// Who acts when a schedule does.
const ACTOR: &str = "schedule:";

/// The record of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id, for life.
    pub id: ScheduleId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What was asked for.
    pub spec: ScheduleSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Fences writes: each adds one.
    pub version: u64,
}

/// What a schedule remembers of one database. There is one for each database in a schedule and none for the others, so that
/// this record is also what keeps a database in one schedule at most. It is small and has a fence of its own: ten thousand
/// ticks in one minute write ten thousand of these, and a database's own record only where an operation starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledPower {
    /// Which database.
    pub database_id: DatabaseId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Which schedule it follows.
    pub schedule_id: ScheduleId,
    /// When the schedule was made, enabled, changed or given this database: the latest of them.
    pub scheduled_since: Timestamp,
    /// What the last decision recorded.
    pub progress: Progress,
    /// When to decide again; `None`: not before the schedule changes.
    pub next_due: Option<Timestamp>,
    /// Fences writes: each adds one.
    pub version: u64,
}

impl ScheduledPower {
    /// A database that has just been given to a schedule: decided about at once.
    #[must_use]
    pub fn joined(schedule: &Schedule, database_id: DatabaseId, at: Timestamp) -> Self {
        Self {
            database_id,
            organization_id: schedule.organization_id.clone(),
            schedule_id: schedule.id.clone(),
            scheduled_since: at,
            progress: Progress::default(),
            next_due: Some(at),
            version: 1,
        }
    }
    /// After a change of its schedule: what was pending followed another calendar.
    #[must_use]
    pub fn rescheduled(self, at: Timestamp) -> Self {
        Self { scheduled_since: at, progress: Progress::default(), next_due: Some(at), version: self.version + 1, ..self }
    }
}

/// What a schedule decided about a database, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PowerEvent {
    /// When.
    pub at: Timestamp,
    /// Which schedule.
    pub schedule_id: ScheduleId,
    /// What.
    pub kind: PowerEventKind,
    /// Why, in words for people.
    pub reason: String,
    /// The operation that was started, or asked to stop.
    pub operation_id: Option<OperationId>,
}

/// The kinds of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PowerEventKind {
    /// A pause was started.
    Pause,
    /// A resume was started.
    Resume,
    /// A running pause was asked to go back.
    CancelPause,
    /// Something else goes first, or nothing can be done.
    Wait,
    /// A boundary was given up.
    Skip,
    /// There was nothing to do: it is so already, or something later goes before it.
    Leave,
    /// The operation was refused when it should start; it is tried again.
    Refused,
}

impl PowerEventKind {
    /// The kind of a decision's action.
    #[must_use]
    pub fn of(action: Action) -> Self {
        match action {
            Action::Nothing(Why::Disabled | Why::Gone | Why::Held(_) | Why::Settled | Why::AlreadyThere | Why::UnderWay) => Self::Leave,
            Action::Nothing(Why::Stuck | Why::AccessLost) | Action::Wait { until: _ } => Self::Wait,
            Action::Pause => Self::Pause,
            Action::Resume => Self::Resume,
            Action::CancelPause => Self::CancelPause,
            Action::Skip(_) => Self::Skip,
        }
    }
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::CancelPause => "cancel_pause",
            Self::Wait => "wait",
            Self::Skip => "skip",
            Self::Leave => "leave",
            Self::Refused => "refused",
        }
    }
}

/// What a schedule will want next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NextSwitch {
    /// When; a resume of a schedule with `ready_by` begins earlier, to be ready then.
    pub at: Timestamp,
    /// What.
    pub power: Power,
}

impl ScheduleSpec {
    /// The next change of the wanted power; `None` while disabled, and when there is none in sight.
    #[must_use]
    pub fn next_switch(&self, at: Timestamp) -> Option<NextSwitch> {
        let next = |at: Option<Timestamp>, power| at.map(|at| NextSwitch { at, power });
        let both = [next(self.next_on(at), Power::On), next(self.next_off(at), Power::Off)];
        both.into_iter().flatten().min_by_key(|next| next.at)
    }
}

impl Database {
    /// Records how long a resume took; the latest [`super::LEAD_SAMPLES_MAX`] are kept.
    pub fn resumed_in(&mut self, seconds: u32) {
        self.resume_seconds.push(seconds);
        let surplus = self.resume_seconds.len().saturating_sub(super::LEAD_SAMPLES_MAX);
        self.resume_seconds.drain(..surplus);
    }
}

/// Who acts when a schedule does; never a person.
#[must_use]
pub fn schedule_actor(id: &ScheduleId) -> String {
    format!("{ACTOR}{id}")
}
/// Whether a schedule acts.
#[must_use]
pub fn is_schedule_actor(actor: &str) -> bool {
    actor.starts_with(ACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::calendar_tests::{schedule, time};
    use crate::schedule::{DATABASES_MAX, LEAD_SAMPLES_MAX};

    #[test]
    fn a_whole_exchange_of_databases_fits_one_transaction() {
        // The schedule, those that leave and those that join; DynamoDB takes a hundred items.
        const { assert!(2 * DATABASES_MAX < 100) }
    }

    #[test]
    fn the_sooner_of_on_and_off_is_next() {
        let spec = schedule("UTC", &["mon 08:00-18:00"]);
        let next = |at: &str| spec.next_switch(time(at)).map(|next| (next.at.to_string(), next.power));
        assert_eq!(next("2026-11-23T07:00:00Z"), Some(("2026-11-23T08:00:00Z".to_owned(), Power::On)));
        assert_eq!(next("2026-11-23T08:00:00Z"), Some(("2026-11-23T18:00:00Z".to_owned(), Power::Off)));
        let off = ScheduleSpec { enabled: false, ..spec.into_inner() };
        assert_eq!(off.next_switch(time("2026-11-23T07:00:00Z")), None);
    }

    #[test]
    fn only_the_latest_resumes_are_kept() {
        let asked = crate::api::DatabaseRequest {
            name: "shop".into(),
            plan: "startup".into(),
            environment_id: crate::EnvironmentId::from_random([1; 16]).to_string(),
            ..crate::api::DatabaseRequest::default()
        };
        let spec = crate::request::database(&asked, &[]).unwrap().into_inner();
        let mut database = Database::asked(DatabaseId::from_random([1; 16]), OrganizationId::from_random([2; 16]), spec, Timestamp::UNIX_EPOCH);
        (0..30).for_each(|seconds| database.resumed_in(seconds));
        assert_eq!((database.resume_seconds.len(), database.resume_seconds[0]), (LEAD_SAMPLES_MAX, 10));
    }

    #[test]
    fn schedules_are_told_from_people() {
        let id = ScheduleId::from_random([1; 16]);
        assert!(is_schedule_actor(&schedule_actor(&id)) && !is_schedule_actor("key_1") && !is_schedule_actor(id.as_str()));
    }
}
