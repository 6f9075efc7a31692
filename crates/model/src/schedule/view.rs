//! Schedules as the API answers them.
use super::record::Schedule;
use super::spec::{ScheduleSpec, moved};
use crate::ScheduleId;
use crate::api::DatabaseView;
use crate::database::{Database, Power};
use crate::maintenance::MaintenanceWindow;
use crate::price::compute_usd_per_hour;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::iter;

/// Days in which a maintenance window must meet a time of being on: two regular weeks, so that a week of holidays is no reason.
const MEETS_DAYS: i64 = 14;

/// A schedule as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScheduleView {
    /// Its id.
    pub id: ScheduleId,
    /// What was asked for, with every default filled in.
    #[serde(flatten)]
    pub spec: ScheduleSpec,
    /// The next time a window opens.
    pub next_on: Option<Timestamp>,
    /// The next time a window closes.
    pub next_off: Option<Timestamp>,
    /// Hours of being on in a regular week.
    pub hours_per_week: f64,
    /// How much of the compute cost a regular week saves.
    pub savings_percent: f64,
    /// The same in USD a month, all its databases together.
    pub savings_usd_per_month: f64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl ScheduleView {
    /// The view of a record, given its databases.
    #[must_use]
    pub fn of<'a>(schedule: &Schedule, databases: impl IntoIterator<Item = &'a Database>, now: Timestamp) -> Self {
        let Schedule { id, organization_id: _, spec, created_at, updated_at, version: _ } = schedule;
        let living = |database: &&Database| !database.status.name_free();
        let compute = databases.into_iter().filter(living).map(|database| compute_usd_per_hour(&database.spec)).sum();
        Self {
            id: id.clone(),
            next_on: spec.next_on(now),
            next_off: spec.next_off(now),
            hours_per_week: spec.hours_per_week(),
            savings_percent: spec.savings_percent(),
            savings_usd_per_month: spec.savings_usd_per_month(compute),
            created_at: *created_at,
            updated_at: *updated_at,
            spec: spec.clone(),
        }
    }
}

impl ScheduleSpec {
    /// Whether a maintenance window opens only while databases are off, in the [`MEETS_DAYS`] after an instant.
    #[must_use]
    pub fn never_meets(&self, window: &MaintenanceWindow, at: Timestamp) -> bool {
        let end = moved(at, SignedDuration::from_hours(24 * MEETS_DAYS));
        let mut openings = iter::successors(window.next_open(at), |(_, closes)| window.next_open(*closes)).take_while(|(opens, _)| *opens < end);
        let is_on = |(opens, closes): (Timestamp, Timestamp)| {
            let comes_on = || self.boundaries(opens, closes).any(|(on, power)| power == Power::On && on < closes);
            self.wanted_at(opens) == Power::On || comes_on()
        };
        self.enabled && !openings.any(is_on)
    }
}

impl DatabaseView {
    /// The view of a database that follows a schedule. Power is then what people have asked for: what a schedule does is no drift.
    #[must_use]
    pub fn scheduled(self, schedule: Option<&Schedule>, now: Timestamp) -> Self {
        let Some(Schedule { id, spec, .. }) = schedule else { return self };
        let maintenance_never = spec.never_meets(&self.spec.maintenance(), now);
        Self { schedule_id: Some(id.clone()), next_switch: spec.next_switch(now), power_state: self.spec.power, maintenance_never, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::calendar_tests::{schedule, time};

    #[test]
    fn a_maintenance_window_that_only_opens_while_power_is_off_is_told() {
        let at = time("2026-11-23T12:00:00Z");
        let sunday_night = MaintenanceWindow::default();
        let check = |windows: &[&str], never: bool| assert_eq!(schedule("UTC", windows).never_meets(&sunday_night, at), never, "{windows:?}");
        check(&["mon,tue,wed,thu,fri 08:00-18:00"], true);
        check(&["mon,tue,wed,thu,fri,sat,sun 08:00-02:00"], true); // closes as the window opens
        check(&["sun 04:00-20:00"], true); // opens as it closes
        check(&["sun 03:59-20:00"], false);
        check(&["sat 20:00-02:01"], false);
        let off = ScheduleSpec { enabled: false, ..schedule("UTC", &["mon 08:00-18:00"]).into_inner() };
        assert!(!off.never_meets(&sunday_night, at), "a disabled one switches nothing");
    }
}
