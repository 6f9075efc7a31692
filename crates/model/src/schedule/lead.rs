//! How early a resume begins to be ready in time: from how long this database's own resumes took.

/// How many of the latest resumes count.
pub const LEAD_SAMPLES_MAX: usize = 20;
/// The lead of a database that has never been resumed: twice what a resume is promised to take.
pub const LEAD_SECONDS_DEFAULT: u32 = 600;
/// The shortest lead: nodes take this long even on a good day.
pub const LEAD_SECONDS_MIN: u32 = 120;
/// The longest lead: one resume that waited for capacity must not buy an hour every morning.
pub const LEAD_SECONDS_MAX: u32 = 1800;
/// What is added to the estimate, in percent of it.
const MARGIN_PERCENT: u32 = 25;
/// Which resume of a hundred is still in time.
const PERCENTILE: usize = 95;

/// The lead in seconds, a whole number of minutes: the 95th percentile of the latest [`LEAD_SAMPLES_MAX`] resumes and a quarter
/// more, not under [`LEAD_SECONDS_MIN`], not over [`LEAD_SECONDS_MAX`]; [`LEAD_SECONDS_DEFAULT`] without any. Oldest first.
#[must_use]
pub fn lead_seconds(resumes: &[u32]) -> u32 {
    let mut latest = resumes[resumes.len().saturating_sub(LEAD_SAMPLES_MAX)..].to_vec();
    latest.sort_unstable();
    // Nearest rank: the smallest sample that so many of a hundred do not exceed.
    let rank = (latest.len() * PERCENTILE).div_ceil(100);
    let Some(estimate) = rank.checked_sub(1).and_then(|index| latest.get(index)) else { return LEAD_SECONDS_DEFAULT };
    let seconds = estimate.saturating_add(estimate / 100 * MARGIN_PERCENT + estimate % 100 * MARGIN_PERCENT / 100);
    seconds.clamp(LEAD_SECONDS_MIN, LEAD_SECONDS_MAX).next_multiple_of(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_follows_the_databases_own_resumes() {
        let check = |resumes: &[u32], expected: u32| assert_eq!(lead_seconds(resumes), expected, "{resumes:?}");
        check(&[], LEAD_SECONDS_DEFAULT);
        check(&[12], LEAD_SECONDS_MIN);
        check(&[200], 300); // 250, in whole minutes
        check(&[u32::MAX], LEAD_SECONDS_MAX);
        // One bad resume of twenty is the five of a hundred that may be late; two are not.
        let mut twenty = [240; 20];
        twenty[3] = 1500;
        check(&twenty, 300);
        twenty[4] = 1200;
        check(&twenty, 1500);
        // Only the latest twenty count.
        check(&[&[1500, 1500][..], &[240; 20][..]].concat(), 300);
    }
}
