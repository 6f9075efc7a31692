//! What a schedule saves. Compute only: storage and backups cost the same on and off.
use super::spec::ScheduleSpec;
use crate::price::{HOURS_PER_MONTH, HOURS_PER_WEEK};

impl ScheduleSpec {
    /// Hours of being on in a regular week: without exceptions and without a change of clocks.
    #[must_use]
    pub fn hours_per_week(&self) -> f64 {
        // Windows do not overlap, so their lengths add up; days are seven at most.
        let minutes = |window: &super::Window| f64::from(window.hours.minutes()) * window.days.len() as f64;
        self.windows.iter().map(minutes).sum::<f64>() / 60.0
    }
    /// How much of the compute cost a regular week saves, in percent with one decimal.
    #[must_use]
    pub fn savings_percent(&self) -> f64 {
        (self.saved() * 1000.0).round() / 10.0
    }
    /// USD a month that this saves at a compute cost of so many USD an hour, all databases of the schedule together:
    /// the sum of [`crate::price::compute_usd_per_hour`] over them.
    #[must_use]
    pub fn savings_usd_per_month(&self, compute_usd_per_hour: f64) -> f64 {
        (compute_usd_per_hour * HOURS_PER_MONTH * self.saved() * 100.0).round() / 100.0
    }
    fn saved(&self) -> f64 {
        1.0 - self.hours_per_week() / HOURS_PER_WEEK
    }
}
