//! Power schedules, the pure half: what a customer writes, when it means on and off, and what to do about it now.
//!
//! - A window says when databases are **on**, in the civil time of one IANA zone. It may cross midnight.
//! - An exception replaces the windows that begin on its date; what began the day before still runs to its end.
//! - The zone data is jiff's bundled copy, never the machine's, so a plan and a function compute the same.
//!
//! **Summer time.** The rule always favours being on. A window opens at the first instant at which the clock on the wall has
//! reached its start, and closes at the last instant at which that clock has not yet reached its end:
//! - a time that does not exist (clocks go forward) is the first instant after the gap, for starts and ends alike; a window
//!   wholly inside the gap does not happen;
//! - a time that exists twice (clocks go back) is its first occurrence for a start and its last for an end, so the window is
//!   longer by what the clocks went back.
//!
//! **Who wins**: running operation > manual > schedule. See [`decide`].
mod calendar;
mod decide;
mod lead;
mod record;
mod savings;
mod spec;
mod validate;
mod view;

pub use calendar::HORIZON_DAYS;
pub use decide::{
    ATTEMPTS_MAX, Action, Decision, Held, PAUSE_WAIT_MINUTES_MAX, Pending, PowerFacts, Progress, RECHECK_SECONDS, RETRY_SECONDS, Running, Skipped,
    Why, decide,
};
pub use lead::{LEAD_SAMPLES_MAX, LEAD_SECONDS_DEFAULT, LEAD_SECONDS_MAX, LEAD_SECONDS_MIN, lead_seconds};
pub use record::{
    NextSwitch, POWER_EVENT_DAYS, POWER_EVENTS_MAX, PowerEvent, PowerEventKind, Schedule, ScheduledPower, is_schedule_actor, schedule_actor,
};
pub use spec::{
    DATABASES_MAX, Day, EXCEPTIONS_MAX, Exception, ExceptionRequest, Hours, HoursRequest, ScheduleRequest, ScheduleSpec, TimeOfDay, WINDOWS_MAX,
    Window, WindowRequest, Zone,
};

pub use view::ScheduleView;

#[cfg(test)]
mod calendar_tests;
#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod validate_tests;
