//! When the operator or its plugin in a cluster moves to another listed release: a pure decision.
//!
//! Releases go out in rings: a few environments first, then more, then all, so that what is wrong with one is seen while few have it.
//! A stop holds everybody. One operator serves all databases of a cluster, so it moves only while every one of their windows is open.
use crate::maintenance::MaintenanceWindow;
use crate::operators::{Component, RELEASES, Release, Standing, order, standing};
use crate::{EnvironmentId, OperationId};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// One component from a version to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ComponentMove {
    /// Which of the two.
    pub component: Component,
    /// What runs.
    pub from: String,
    /// What will.
    pub version: String,
}

/// What was last begun by a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UpgradeDecision {
    /// When.
    pub at: Timestamp,
    /// What moves.
    pub moves: Vec<ComponentMove>,
    /// Why, in words for people.
    pub reason: String,
}

/// What an environment's record knows of its operator and plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Upgrades {
    /// Nothing moves by itself while this is set; by hand it does.
    #[serde(default)]
    pub paused: bool,
    /// The operation that moves them now.
    #[serde(default)]
    pub running: Option<OperationId>,
    /// What was last begun by a decision.
    #[serde(default)]
    pub decision: Option<UpgradeDecision>,
}

impl Upgrades {
    /// Whether nothing has been said or done: nothing stands in a record then.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether an environment's operator and plugin move by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpgradesRequest {
    /// True: they stay until somebody moves them by hand.
    pub paused: bool,
}

/// So many days after a release was listed each ring may have it.
pub const RING_DAYS: [i64; 3] = [0, 3, 7];
/// Of a hundred environments so many are in the first ring, and so many in the first two.
const RING_SHARES: [u64; 2] = [10, 40];

/// What the decision looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Whose cluster.
    pub environment: &'a EnvironmentId,
    /// Which of the two.
    pub component: Component,
    /// The version that is ready.
    pub running: Option<&'a str>,
    /// Whether releases are stopped for everybody.
    pub stopped: bool,
    /// The maintenance windows of its databases.
    pub windows: &'a [MaintenanceWindow],
    /// Whether an operation runs on any of them.
    pub moving: bool,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It moves to this release.
    Move(&'static Release),
    /// It stays; the reason for people.
    Stay(String),
}

/// The ring of an environment: the same for life.
#[must_use]
pub fn ring(environment: &EnvironmentId) -> usize {
    // FNV-1a: ids are random already, and this is the same on every machine and in every release.
    let hash = environment.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    RING_SHARES.iter().filter(|share| hash % 100 >= **share).count()
}

/// The next release above a version: releases are taken one after the other, as the project asks for.
#[must_use]
pub fn next(component: Component, running: &str) -> Option<&'static Release> {
    let running = order(running)?;
    let good = |release: &&Release| {
        release.component == component
            && matches!(standing(component, release.version), Standing::Listed(_))
            && order(release.version) > Some(running)
    };
    RELEASES.iter().filter(good).min_by_key(|release| order(release.version))
}

/// From when a ring may have a release.
fn open_from(release: &Release, ring: usize) -> Option<Timestamp> {
    let listed = release.listed_on.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(listed + SignedDuration::from_hours(24 * RING_DAYS.get(ring)?))
}

/// Decides for one component of one cluster.
#[must_use]
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let stay = |why: &str| Decision::Stay(why.to_owned());
    let Some(running) = facts.running else { return stay("no version is ready: what does not run is not moved") };
    let Some(release) = next(facts.component, running) else { return stay("there is no newer release") };
    if facts.stopped {
        return stay("releases are stopped");
    }
    match open_from(release, ring(facts.environment)) {
        Some(from) if from <= now => {}
        Some(from) => return Decision::Stay(format!("{} {} comes to this environment from {from} on", facts.component, release.version)),
        None => return stay("the release has no date"),
    }
    if facts.moving {
        return stay("an operation runs on one of its databases");
    }
    if !facts.windows.iter().all(|window| window.open_at(now)) {
        return stay("not all of its databases' maintenance windows are open");
    }
    Decision::Move(release)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment(number: u8) -> EnvironmentId {
        EnvironmentId::from_random([number; 16])
    }

    /// Long after everything was listed, on a Sunday at 03:00.
    fn sunday() -> Timestamp {
        "2027-06-06T03:00:00Z".parse().unwrap()
    }

    fn facts(environment: &EnvironmentId) -> Facts<'_> {
        Facts { environment, component: Component::Operator, running: Some("1.29.1"), stopped: false, windows: &[], moving: false }
    }

    fn check(facts: &Facts<'_>, now: Timestamp, expected: &str) {
        let said = match decide(facts, now) {
            Decision::Move(release) => format!("move to {}", release.version),
            Decision::Stay(why) => why,
        };
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn each_reason_to_stay_stands_by_itself() {
        let (id, window) = (environment(1), MaintenanceWindow::default());
        let windows = [window];
        check(&facts(&id), sunday(), "move to 1.29.2");
        check(&Facts { windows: &windows, ..facts(&id) }, sunday(), "move to 1.29.2");
        check(&Facts { windows: &windows, ..facts(&id) }, sunday() + SignedDuration::from_hours(2), "windows");
        check(&Facts { stopped: true, ..facts(&id) }, sunday(), "stopped");
        check(&Facts { moving: true, ..facts(&id) }, sunday(), "operation");
        check(&Facts { running: None, ..facts(&id) }, sunday(), "no version");
        for newest_or_beyond in ["1.29.2", "1.30.0", "1.31.0", "unknown"] {
            check(&Facts { running: Some(newest_or_beyond), ..facts(&id) }, sunday(), "no newer");
        }
        check(&Facts { component: Component::Plugin, running: Some("0.14.0"), ..facts(&id) }, sunday(), "no newer");
    }

    #[test]
    fn rings_are_of_their_size_and_open_one_after_the_other() {
        let mut sizes = [0; RING_DAYS.len()];
        for number in 0..2000_u16 {
            let mut bits = [7; 16];
            bits[14..].copy_from_slice(&number.to_be_bytes());
            sizes[ring(&EnvironmentId::from_random(bits))] += 1;
        }
        assert!((100..300).contains(&sizes[0]) && (450..750).contains(&sizes[1]) && (1000..1400).contains(&sizes[2]), "{sizes:?}");
        let release = next(Component::Operator, "1.29.1").unwrap();
        let opens: Vec<_> = (0..RING_DAYS.len()).map(|ring| open_from(release, ring).unwrap()).collect();
        assert!(opens.is_sorted());
        let last = (0..=255).map(environment).find(|id| ring(id) == 2).unwrap();
        check(&facts(&last), opens[2] - SignedDuration::from_secs(1), "comes to this environment");
        check(&facts(&last), opens[2], "move to");
    }

    proptest! {
        #[test]
        fn nothing_moves_back_to_a_bad_release_or_past_a_stop(bits: [u8; 16], minor in 20u32..40, patch in 0u32..12, stopped: bool, moving: bool, hours in 0i64..20_000) {
            let (id, version) = (EnvironmentId::from_random(bits), format!("1.{minor}.{patch}"));
            let windows = [MaintenanceWindow::default()];
            let now = sunday() + SignedDuration::from_hours(hours);
            let facts = Facts { environment: &id, component: Component::Operator, running: Some(&version), stopped, windows: &windows, moving };
            if let Decision::Move(release) = decide(&facts, now) {
                prop_assert!(!stopped && !moving && windows[0].open_at(now));
                prop_assert!(order(release.version) > order(&version));
                prop_assert!(matches!(standing(Component::Operator, release.version), Standing::Listed(_)));
            }
        }
    }
}
