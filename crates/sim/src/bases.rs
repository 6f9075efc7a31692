//! Base backups, where a test wants them: they begin as their schedule says, run for so long, and whatever cuts one off is noted.
use crate::kube::Running;
use crate::objects::text;
use serde_json::Value;
use std::collections::BTreeMap;

const MINUTE_MS: i64 = 60_000;
/// How often they begin.
const PERIOD_MS: i64 = 6 * 60 * MINUTE_MS;

/// The base backups of every Cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bases {
    /// From when on they are taken, and how long each runs; never, where no test has asked for them.
    taken: Option<(i64, i64)>,
    /// When each Cluster's schedule was last acted on: what fell due while it was suspended is made up for.
    checked: BTreeMap<String, i64>,
    /// Until when each Cluster's runs.
    running: BTreeMap<String, i64>,
    /// What was cut off, and by what.
    pub(crate) cut: Vec<String>,
}

impl Bases {
    /// Begins to take them, each so long.
    pub(crate) fn take(&mut self, now: i64, length_ms: i64) {
        self.taken = Some((self.taken.map_or(now, |(since, _)| since), length_ms));
    }
    pub(crate) fn runs(&self, cluster: &str) -> bool {
        self.running.contains_key(cluster)
    }
    pub(crate) fn any(&self) -> bool {
        !self.running.is_empty()
    }
    /// Something happens to instances of a Cluster.
    pub(crate) fn cut_off(&mut self, cluster: &str, by: &str) {
        if self.running.remove(cluster).is_some() {
            self.cut.push(format!("a backup of {cluster} was cut off by {by}"));
        }
    }

    /// When each schedule that is not suspended next begins one, by Cluster.
    fn due(&self, objects: &BTreeMap<String, Value>, clusters: &BTreeMap<String, Running>) -> Vec<(String, i64)> {
        let Some((since, _)) = self.taken else { return Vec::new() };
        let schedules = objects.iter().filter(|(key, object)| key.starts_with("ScheduledBackup/") && object["spec"]["suspend"] != true);
        let one = |(_, object): (&String, &Value)| {
            let cluster = text(&object["spec"]["cluster"]["name"]);
            let minute: i64 = text(&object["spec"]["schedule"]).split(' ').nth(1)?.parse().ok()?;
            let ready = clusters.get(&cluster).is_some_and(Running::answers) && !self.runs(&cluster);
            let from = self.checked.get(&cluster).copied().unwrap_or(since) - minute * MINUTE_MS;
            ready.then_some((cluster, (from.div_euclid(PERIOD_MS) + 1) * PERIOD_MS + minute * MINUTE_MS))
        };
        schedules.filter_map(one).collect()
    }
    pub(crate) fn next(&self, objects: &BTreeMap<String, Value>, clusters: &BTreeMap<String, Running>) -> Option<i64> {
        let begins = self.due(objects, clusters).into_iter().map(|(_, at)| at).min();
        begins.into_iter().chain(self.running.values().copied()).min()
    }
    /// Ends and begins what is due.
    pub(crate) fn settle(&mut self, now: i64, objects: &BTreeMap<String, Value>, clusters: &BTreeMap<String, Running>) {
        self.running.retain(|_, until| *until > now);
        let length = self.taken.map_or(0, |(_, length)| length);
        for (cluster, _) in self.due(objects, clusters).into_iter().filter(|(_, at)| *at <= now) {
            self.checked.insert(cluster.clone(), now);
            self.running.insert(cluster, now + length);
        }
    }
}
