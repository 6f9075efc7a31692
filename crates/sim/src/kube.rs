//! The cluster: objects, Secrets, and a CloudNativePG that brings instances up and down one by one.
use crate::bases::Bases;
use crate::objects::{DATABASE, HIBERNATION, MADE_BY, annotation, key, label, text};
use jiff::Timestamp;
use kiven_model::DatabaseId;
use kiven_model::report::{Observation, PHASE_HEALTHY, Volume};
use serde_json::Value;
use std::collections::BTreeMap;

/// How long one instance takes to come up, go down, or leave with its volume.
const UP_MS: i64 = 12_000;
const DOWN_MS: i64 = 4_000;
const GONE_MS: i64 = 3_000;
/// How long a backup takes.
const BACKUP_MS: i64 = 40_000;

/// A Secret as far as it may be known: whose it is, and which making of it this is.
#[derive(Debug, Clone)]
pub(crate) struct Secret {
    pub(crate) database: String,
    pub(crate) serial: u64,
}

/// One CloudNativePG Cluster in life.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) database: String,
    pub(crate) made_by: String,
    pub(crate) instances: u32,
    pub(crate) ready: u32,
    pub(crate) system_identifier: Option<String>,
    pub(crate) hibernated: bool,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) handed_over: bool,
    pub(crate) delete_after: Option<Timestamp>,
    pub(crate) wal: u64,
    /// Instances that have not yet taken what was last applied.
    rolling: u32,
    /// An instance is down and will not come back.
    pub(crate) broken: bool,
    /// Which of the instances is the primary, from 0.
    primary: usize,
    /// Which making of the server certificate this is, from 1.
    pub(crate) certificate: u64,
    authority: String,
    stopping: bool,
    going: bool,
    moves_at: i64,
}

/// What moves next.
enum Move {
    Up,
    Down,
    Hibernated,
    Awake,
    /// One instance takes what was applied; the primary is the last, after a switchover.
    Rolled,
    /// One instance fewer, with its volume.
    Dropped,
    Gone,
}

/// The databases' namespace.
#[derive(Debug, Clone)]
pub(crate) struct Kube {
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) objects: BTreeMap<String, Value>,
    pub(crate) clusters: BTreeMap<String, Running>,
    pub(crate) archive: BTreeMap<String, u64>,
    /// Backups that were asked for by name, and when they are complete.
    pub(crate) backups: BTreeMap<String, i64>,
    /// Those that are scheduled.
    pub(crate) bases: Bases,
    /// Whether every backup comes to a bad end.
    pub(crate) backups_fail: bool,
    /// The operator's version, and from when it is ready.
    pub(crate) operator: (String, i64),
    serial: u64,
    seed: u64,
}

impl Running {
    fn next(&self, wanted_off: bool, nodes: u32, authority: bool) -> Option<Move> {
        if self.going {
            return Some(Move::Gone);
        }
        if self.stopping || (wanted_off && !self.hibernated) {
            // CloudNativePG hibernates a healthy cluster only; once begun it goes on.
            return match self.ready {
                0 if self.stopping => Some(Move::Hibernated),
                ready if self.stopping || ready == self.instances => Some(Move::Down),
                _ => self.rising(nodes, authority),
            };
        }
        if !wanted_off && self.hibernated {
            return Some(Move::Awake);
        }
        if wanted_off {
            return None;
        }
        if self.ready > self.instances {
            return Some(Move::Dropped);
        }
        let rolled = (self.rolling > 0 && self.ready == self.instances).then_some(Move::Rolled);
        rolled.or_else(|| self.rising(nodes, authority))
    }
    /// Whether every instance answers and is to.
    pub(crate) fn answers(&self) -> bool {
        self.ready > 0 && self.ready == self.instances && !self.stopping && !self.going
    }
    /// Whether nothing of it is being removed.
    pub(crate) fn is_whole(&self) -> bool {
        !self.going
    }
    fn rising(&self, nodes: u32, authority: bool) -> Option<Move> {
        (self.ready < self.instances && nodes > self.ready && authority && !self.broken).then_some(Move::Up)
    }
}

impl Kube {
    pub(crate) fn new(seed: u64) -> Self {
        let (secrets, objects, clusters) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            secrets,
            objects,
            clusters,
            archive: BTreeMap::new(),
            backups: BTreeMap::new(),
            bases: Bases::default(),
            backups_fail: false,
            operator: ("1.30.0".to_owned(), 0),
            serial: 0,
            seed,
        }
    }
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn move_of(&self, name: &str, cluster: &Running, nodes: &BTreeMap<String, u32>) -> Option<Move> {
        let off = self.objects.get(&format!("Cluster/{name}")).is_some_and(|object| annotation(object, HIBERNATION) == "on");
        let nodes = nodes.get(&cluster.database).copied().unwrap_or(0);
        cluster.next(off, nodes, self.secrets.contains_key(&cluster.authority))
    }
    pub(crate) fn next_change(&self, nodes: &BTreeMap<String, u32>) -> Option<i64> {
        let moves = self.clusters.iter().filter(|(name, cluster)| self.move_of(name, cluster, nodes).is_some()).map(|(_, cluster)| cluster.moves_at);
        moves.chain(self.bases.next(&self.objects, &self.clusters)).min()
    }
    /// Moves every cluster whose time has come by one.
    pub(crate) fn settle(&mut self, now: i64, nodes: &BTreeMap<String, u32>) {
        self.bases.settle(now, &self.objects, &self.clusters);
        let due: Vec<(String, Move)> = self
            .clusters
            .iter()
            .filter(|(_, cluster)| cluster.moves_at <= now)
            .filter_map(|(name, cluster)| self.move_of(name, cluster, nodes).map(|next| (name.clone(), next)))
            .collect();
        for (name, next) in due {
            self.step(now, &name, &next);
        }
    }
    fn step(&mut self, now: i64, name: &str, next: &Move) {
        let (serial, seed) = (self.serial(), self.seed);
        let Some(cluster) = self.clusters.get_mut(name) else { return };
        match next {
            // A deletion does not wait for a backup that may never end.
            Move::Down if cluster.delete_after.is_none() => self.bases.cut_off(name, "its hibernation"),
            Move::Rolled | Move::Dropped => self.bases.cut_off(name, "a change"),
            Move::Up | Move::Down | Move::Hibernated | Move::Awake | Move::Gone => {}
        }
        match next {
            Move::Up => {
                cluster.ready += 1;
                cluster.moves_at = now + UP_MS;
                cluster.system_identifier.get_or_insert_with(|| format!("{}", 7_500_000_000_000_000_000 + (seed % 1000) * 1000 + serial));
                if cluster.volumes.len() < cluster.ready as usize {
                    let claim = format!("{name}-{}", cluster.ready);
                    cluster.volumes.push(Volume { claim_uid: format!("uid-{serial}"), volume: format!("pv-{serial}"), claim });
                }
            }
            Move::Down => (cluster.ready, cluster.stopping, cluster.moves_at) = (cluster.ready.saturating_sub(1), true, now + DOWN_MS),
            Move::Hibernated => (cluster.hibernated, cluster.stopping, cluster.moves_at) = (true, false, now + DOWN_MS),
            Move::Awake => (cluster.hibernated, cluster.moves_at) = (false, now + UP_MS),
            Move::Rolled => (cluster.rolling, cluster.moves_at) = (cluster.rolling - 1, now + UP_MS),
            Move::Dropped => {
                (cluster.ready, cluster.moves_at) = (cluster.ready - 1, now + DOWN_MS);
                cluster.volumes.truncate(cluster.ready as usize);
            }
            Move::Gone => drop(self.clusters.remove(name)),
        }
    }

    /// Server-side apply of an object that has been judged.
    pub(crate) fn apply(&mut self, now: i64, object: &Value) {
        if object["kind"] == "Cluster" {
            let instances = object["spec"]["instances"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            let fresh = || Running {
                database: label(object),
                made_by: annotation(object, MADE_BY),
                instances,
                ready: 0,
                system_identifier: None,
                hibernated: false,
                volumes: Vec::new(),
                handed_over: false,
                delete_after: None,
                wal: 0,
                rolling: 0,
                broken: false,
                primary: 0,
                certificate: 1,
                authority: text(&object["spec"]["certificates"]["serverCASecret"]),
                stopping: false,
                going: false,
                moves_at: now + UP_MS,
            };
            let before = self.objects.get(&key(object)).map(|known| known["spec"].clone());
            let hibernates = annotation(object, HIBERNATION) == "on";
            let cluster = self.clusters.entry(text(&object["metadata"]["name"])).or_insert_with(fresh);
            cluster.instances = instances;
            // Whatever else has changed, the revision has: each instance takes it in its turn.
            if before.is_some_and(|before| before["postgresql"] != object["spec"]["postgresql"]) && !cluster.hibernated {
                cluster.rolling = instances;
            }
            if hibernates && cluster.rolling > 0 && cluster.delete_after.is_none() {
                self.bases.cut.push(format!("a change of {} was cut off by its hibernation", cluster.database));
            }
            cluster.moves_at = cluster.moves_at.max(now);
        }
        self.objects.insert(key(object), object.clone());
    }
    /// Deletes what a test of key and object chooses among a database's objects.
    pub(crate) fn delete(&mut self, database: &str, chosen: impl Fn(&str) -> bool) {
        self.objects.retain(|key, object| label(object) != database || !chosen(key));
    }
    /// Begins to remove a Cluster; true once it and its volumes are gone.
    pub(crate) fn remove(&mut self, now: i64, name: &str) -> bool {
        let Some(cluster) = self.clusters.get_mut(name) else { return true };
        if !cluster.going {
            (cluster.going, cluster.ready, cluster.moves_at) = (true, 0, now + GONE_MS);
        }
        false
    }

    /// Begins a backup of a Cluster that answers, or looks at it; true once it is complete.
    pub(crate) fn backup(&mut self, now: i64, cluster: &str, name: &str) -> bool {
        let answers = self.clusters.get(cluster).is_some_and(|cluster| cluster.ready > 0);
        if let Some(complete) = self.backups.get(name) {
            return *complete <= now;
        }
        if answers {
            self.backups.insert(name.to_owned(), now + BACKUP_MS);
        }
        false
    }

    /// Whether a backup of a Cluster runs.
    pub(crate) fn backup_running(&self, now: i64, cluster: &str) -> bool {
        let own = format!("{cluster}-");
        self.bases.runs(cluster) || self.backups.iter().any(|(name, complete)| name.starts_with(&own) && *complete > now)
    }

    /// Lets an instance fail for good.
    pub(crate) fn break_instance(&mut self) {
        for cluster in self.clusters.values_mut() {
            (cluster.broken, cluster.ready) = (true, cluster.ready.saturating_sub(1));
        }
    }
    pub(crate) fn broken_and_retired(&self, database: &str) -> bool {
        self.clusters.values().any(|cluster| cluster.database == database && cluster.broken && cluster.delete_after.is_some())
    }

    fn of(&self, database: &str) -> Option<&Running> {
        self.clusters.values().find(|cluster| cluster.database == database)
    }
    /// Whether every instance of a database answers.
    pub(crate) fn is_whole(&self, database: &str) -> bool {
        self.of(database).is_some_and(|cluster| cluster.ready == cluster.instances && !cluster.stopping)
    }
    /// Where the primary stands, given the zones of the database's nodes.
    pub(crate) fn primary_zone(&self, database: &str, zones: &[String]) -> Option<String> {
        self.of(database).filter(|cluster| cluster.ready > 0).and_then(|cluster| zones.get(cluster.primary).cloned())
    }
    /// So many instances of a database start again, on other nodes.
    pub(crate) fn restart(&mut self, now: i64, database: &str, instances: u32) {
        for (name, cluster) in self.clusters.iter_mut().filter(|(_, cluster)| cluster.database == database) {
            self.bases.cut_off(name, "a restart");
            (cluster.ready, cluster.moves_at) = (cluster.ready.saturating_sub(instances), now + UP_MS);
        }
    }
    /// Lets an instance outside of a zone take over; false when there is none.
    pub(crate) fn switch_over(&mut self, name: &str, zones: &[String], away: &str) -> bool {
        let Some(cluster) = self.clusters.get_mut(name).filter(|cluster| cluster.ready == cluster.instances) else { return false };
        if zones.get(cluster.primary).is_some_and(|zone| zone != away) {
            return true;
        }
        let heir = zones.iter().take(cluster.instances as usize).position(|zone| zone != away);
        cluster.primary = heir.unwrap_or(cluster.primary);
        heir.is_some()
    }

    /// Whether every instance runs with these settings.
    pub(crate) fn runs_with(&self, name: &str, revision: &str) -> bool {
        let asked = self.objects.get(&format!("Cluster/{name}")).map(|object| text(&object["spec"]["postgresql"]["parameters"]["kiven.revision"]));
        asked.as_deref() == Some(revision) && self.clusters.get(name).is_some_and(|cluster| cluster.ready > 0 && cluster.rolling == 0)
    }
    /// Instances of a database that run: each stands on a node.
    pub(crate) fn ready_of(&self, database: &str) -> u32 {
        self.clusters.values().filter(|cluster| cluster.database == database).map(|cluster| cluster.ready).sum()
    }

    fn pooler_pods(&self, database: &str) -> u32 {
        let poolers = self.objects.iter().filter(|(key, object)| key.starts_with("Pooler/") && label(object) == database);
        poolers.filter_map(|(_, pooler)| pooler["spec"]["instances"].as_u64()).sum::<u64>().try_into().unwrap_or(u32::MAX)
    }
    /// Pods of a database: a pooler's run only beside instances.
    pub(crate) fn pods_of(&self, database: &str) -> u32 {
        let ready = self.ready_of(database);
        if ready == 0 { 0 } else { ready + self.pooler_pods(database) }
    }
    /// What the agent sees of a cluster.
    pub(crate) fn observe(&self, now: i64, database: &DatabaseId, name: &str) -> Observation {
        let running = self.clusters.get(name);
        let pooler = if self.pods_of(database.as_str()) > 0 { self.pooler_pods(database.as_str()) } else { 0 };
        let (instances, ready) = running.map_or((0, 0), |r| (r.instances, r.ready));
        let healthy = running.is_some_and(|r| r.hibernated || (ready == instances && !r.stopping && r.rolling == 0));
        Observation {
            database_id: database.clone(),
            cluster: name.to_owned(),
            exists: running.is_some(),
            phase: if healthy { PHASE_HEALTHY.to_owned() } else { "Setting up primary".to_owned() },
            instances,
            ready_instances: ready,
            primary: (ready > 0).then(|| format!("{name}-{}", running.map_or(1, |r| r.primary + 1))),
            system_identifier: running.and_then(|r| r.system_identifier.clone()),
            hibernated: running.is_some_and(|r| r.hibernated),
            archiving: ready > 0,
            pooler_ready: pooler,
            pods: if running.is_some() { self.pods_of(database.as_str()) } else { 0 },
            volumes: running.map(|r| r.volumes.clone()).unwrap_or_default(),
            published: BTreeMap::new(),
            current: running.is_some_and(|r| ready == instances && r.rolling == 0),
            zones: BTreeMap::new(),
            backup_running: self.backup_running(now, name),
            primary_zone: None,
            certificate_ends_at: None,
            backup_completed: false,
        }
    }
    /// Whether labels name this database.
    pub(crate) fn labelled(labels: &BTreeMap<String, String>, database: &str) -> bool {
        labels.get(DATABASE).is_some_and(|label| label == database)
    }
}
