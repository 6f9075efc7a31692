//! Schedules as the API answers them.
use super::record::Schedule;
use super::spec::ScheduleSpec;
use crate::ScheduleId;
use crate::api::DatabaseView;
use crate::database::Database;
use crate::price::compute_usd_per_hour;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

impl DatabaseView {
    /// The view of a database that follows a schedule. Power is then what people have asked for: what a schedule does is no drift.
    #[must_use]
    pub fn scheduled(self, schedule: Option<&Schedule>, now: Timestamp) -> Self {
        let Some(Schedule { id, spec, .. }) = schedule else { return self };
        Self { schedule_id: Some(id.clone()), next_switch: spec.next_switch(now), power_state: self.spec.power, ..self }
    }
}
