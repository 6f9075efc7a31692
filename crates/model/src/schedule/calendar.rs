//! When a schedule means on and when off: civil windows laid onto the line of time, merged into stretches.
use super::spec::{Day, EXCEPTIONS_MAX, Hours, ScheduleSpec, moved};
use crate::database::Power;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use std::iter;

/// How far ahead a boundary is looked for: beyond this many days no chain of exceptions can hide a regular week's.
/// Only a schedule that is on all week can have a later one; it is found when it comes nearer.
pub const HORIZON_DAYS: i32 = 7 * (EXCEPTIONS_MAX as i32 + 2);
/// Days before an instant whose windows can still be open then: one begun yesterday, one more for a day a zone skipped.
const REACH_DAYS: i32 = 2;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A change of the wanted power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// The boundary as the calendar has it.
    pub(super) at: Timestamp,
    /// When it must be acted on: earlier than `at` by the lead when power comes on, else the same.
    pub(super) due: Timestamp,
    /// What is wanted from then on.
    pub(super) power: Power,
}

/// A time of being on, without a break.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    start: Timestamp,
    due: Timestamp,
    end: Timestamp,
}

impl ScheduleSpec {
    /// What the windows and exceptions want at an instant, whether or not the schedule is enabled.
    #[must_use]
    pub fn wanted_at(&self, at: Timestamp) -> Power {
        let on = self.stretches(SignedDuration::ZERO, at, at).any(|stretch| stretch.start <= at && at < stretch.end);
        if on { Power::On } else { Power::Off }
    }
    /// Every change of the wanted power after `from`, up to and including `to`, in order. On and off take turns.
    pub fn boundaries(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = (Timestamp, Power)> {
        self.turns(SignedDuration::ZERO, from, to).map(|turn| (turn.at, turn.power))
    }
    /// The next time a window opens after `at`; with `ready_by` the time to be ready by. `None` while disabled, and when there
    /// is none within [`HORIZON_DAYS`].
    #[must_use]
    pub fn next_on(&self, at: Timestamp) -> Option<Timestamp> {
        self.next(at, Power::On)
    }
    /// The next time a window closes after `at`. `None` while disabled, and when there is none within [`HORIZON_DAYS`].
    #[must_use]
    pub fn next_off(&self, at: Timestamp) -> Option<Timestamp> {
        self.next(at, Power::Off)
    }

    fn next(&self, at: Timestamp, wanted: Power) -> Option<Timestamp> {
        if !self.enabled {
            return None;
        }
        self.boundaries(at, horizon(at)).find(|(_, power)| *power == wanted).map(|(at, _)| at)
    }

    /// Every turn that falls due after `from`, up to and including `to`, when power comes on `lead` before its boundary.
    pub(super) fn turns(&self, lead: SignedDuration, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Turn> {
        let both = |Stretch { start, due, end }| [Turn { at: start, due, power: Power::On }, Turn { at: end, due: end, power: Power::Off }];
        self.stretches(lead, from, to).flat_map(both).skip_while(move |turn| turn.due <= from).take_while(move |turn| turn.due <= to)
    }

    /// The stretches that touch `from..=to`, in order; those at the edges may be cut off outside of it.
    fn stretches(&self, lead: SignedDuration, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Stretch> {
        let first = self.time_zone.civil(moved(from, -DAY.saturating_mul(REACH_DAYS))).date();
        let last = self.time_zone.civil(moved(moved(to, lead), DAY)).date();
        let days = iter::successors(Some(first), |day| day.tomorrow().ok()).take_while(move |day| *day <= last);
        let mut open = days.flat_map(move |day| self.stretches_of(day, lead)).peekable();
        iter::from_fn(move || {
            let mut stretch = open.next()?;
            while let Some(more) = open.next_if(|next| next.due <= stretch.end) {
                stretch.end = stretch.end.max(more.end);
            }
            Some(stretch)
        })
    }

    /// What begins on a date, in order. A window wholly inside a gap of the clocks has no instant and is left out.
    fn stretches_of(&self, date: Date, lead: SignedDuration) -> Vec<Stretch> {
        let mut hours = self.hours_of(date);
        hours.sort_by_key(|hours| hours.start);
        let zone = &self.time_zone;
        let lay = |hours: Hours| {
            let last = if hours.crosses_midnight() { date.tomorrow().ok()? } else { date };
            let (start, end) = (zone.reached(hours.start.on(date)?)?, zone.passed(hours.end.on(last)?)?);
            (start < end).then(|| Stretch { start, due: moved(start, -lead), end })
        };
        hours.into_iter().filter_map(lay).collect()
    }

    /// The hours that begin on a date.
    fn hours_of(&self, date: Date) -> Vec<Hours> {
        if let Some(exception) = self.exceptions.iter().find(|exception| exception.date == date) {
            return exception.on.into_iter().collect();
        }
        let day = Day::of(date);
        self.windows.iter().filter(|window| window.days.contains(&day)).map(|window| window.hours).collect()
    }
}

/// The last instant that is looked at from `at`.
pub(super) fn horizon(at: Timestamp) -> Timestamp {
    moved(at, DAY.saturating_mul(HORIZON_DAYS))
}
/// The first instant that is looked back to from `at`.
pub(super) fn lookback(at: Timestamp) -> Timestamp {
    moved(at, -DAY.saturating_mul(HORIZON_DAYS))
}
