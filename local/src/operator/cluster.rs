//! One pass over one Cluster: from what is there to what is asked, step by step, each of them safe to repeat.
use super::Operator;
use super::archive::Bucket;
use super::error::OperatorError;
use super::instance::Instance;
use super::process::is_occupied;
use super::sql::{self, Session};
use super::tls::Tls;
use super::view::{Spec, condition, is_true, text};
use kiven_fake_kube::{Selector, kinds};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(crate) const HEALTHY: &str = "Cluster in healthy state";
const SETTING_UP: &str = "Setting up primary";
const CREATING_REPLICA: &str = "Creating a new replica";
const FAILING_OVER: &str = "Failing over";
pub(crate) const APPLYING: &str = "Applying configuration";
const WAITING: &str = "Waiting for the instances to become active";
const UNRECOVERABLE: &str = "Cluster is unrecoverable and needs manual intervention";
const HIBERNATION: &str = "cnpg.io/hibernation";
const FENCE_SECONDS_MAX: u64 = 10;

/// How a pass ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The Cluster is gone.
    Gone,
    /// Nothing to do until something changes.
    Settled,
    /// A step was done and another follows.
    Again,
}

/// What a worker remembers between passes, only to spare work: a restart forgets it and loses nothing.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    declared: String,
}

/// What one pass has read.
pub(crate) struct Turn<'a> {
    pub(crate) op: &'a Operator,
    pub(crate) spec: &'a Spec,
    pub(crate) cluster: &'a Value,
    pub(crate) tls: Tls,
    pub(crate) bucket: Option<Bucket>,
}

impl Operator {
    /// One pass over a Cluster.
    pub(crate) async fn pass(&self, namespace: &str, name: &str, memory: &mut Memory) -> Result<Outcome, OperatorError> {
        let cluster = match self.kube.get(&kinds::CLUSTERS, namespace, name) {
            Err(error) if error.is_not_found() => return Ok(Outcome::Gone),
            other => other?,
        };
        if cluster["metadata"]["deletionTimestamp"].is_string() {
            return Ok(Outcome::Gone);
        }
        let spec = Spec::of(&cluster);
        let mut instances = self.instances(&spec);
        if spec.hibernate && cluster["status"]["phase"] == HEALTHY {
            self.hibernate(&cluster, &spec, &instances).await?;
            return Ok(Outcome::Settled);
        }
        let initialised = !text(&cluster, "/status/systemID").is_empty();
        if initialised && !instances.iter().any(Instance::has_data) {
            self.phase(&spec, UNRECOVERABLE, "no data directory is left")?;
            return Ok(Outcome::Settled);
        }
        let tls = super::tls::ensure(&self.kube, &spec, &spec.owner(), (self.clock)())?;
        let bucket = spec.bucket(&self.kube, &self.s3_endpoint)?;
        if instances.is_empty() {
            self.phase(&spec, SETTING_UP, "the first instance is made")?;
            instances.push(self.create_instance(&spec, 1, "primary")?);
        }
        let turn = Turn { op: self, spec: &spec, cluster: &cluster, tls, bucket };
        turn.run(instances, memory).await
    }

    /// Writes the phase of a Cluster.
    pub(crate) fn phase(&self, spec: &Spec, phase: &str, reason: &str) -> Result<(), OperatorError> {
        self.kube.patch_status(&kinds::CLUSTERS, &spec.namespace, &spec.name, &json!({ "phase": phase, "phaseReason": reason }))?;
        Ok(())
    }

    /// Stops every server and deletes every Pod; claims and data stay. The primary first, so that standbys have all of it.
    async fn hibernate(&self, cluster: &Value, spec: &Spec, instances: &[Instance]) -> Result<(), OperatorError> {
        let began = Instant::now();
        let tell = |status: &str, reason: &str, message: &str, ready: usize| {
            let conditions = condition(&cluster["status"]["conditions"], HIBERNATION, status, reason, message, &self.stamp());
            let conditions = if status == "True" { condition(&conditions, "Ready", "False", "ClusterIsNotReady", "Cluster is hibernated", &self.stamp()) } else { conditions };
            let patch = json!({ "conditions": conditions, "readyInstances": ready });
            self.kube.patch_status(&kinds::CLUSTERS, &spec.namespace, &spec.name, &patch)
        };
        let working = instances.iter().any(|instance| instance.server() != super::process::Server::Down);
        if working {
            tell("False", "DeletingPods", "Hibernation is in progress", instances.len())?;
        }
        let (primary, standbys): (Vec<_>, Vec<_>) = instances.iter().partition(|instance| instance.labelled_primary);
        for instance in &primary {
            if instance.server().is_up() {
                Session::open(instance, "postgres").await?.run("CHECKPOINT").await?;
            }
            self.put_away(spec, instance).await?;
        }
        let stops = standbys.iter().map(|instance| self.put_away(spec, instance));
        futures_util::future::join_all(stops).await.into_iter().collect::<Result<(), _>>()?;
        tell("True", "Hibernated", "Cluster has been hibernated", 0)?;
        if working {
            tracing::info!(cluster = spec.name, instances = instances.len(), elapsed_ms = began.elapsed().as_millis(), "hibernated");
        }
        Ok(())
    }

    /// Stops one instance's server in order and deletes its Pod.
    async fn put_away(&self, spec: &Spec, instance: &Instance) -> Result<(), OperatorError> {
        self.processes.stop(&self.postgres, &instance.data(), "fast").await?;
        self.remove(&kinds::PODS, &spec.namespace, &instance.name)
    }
}

impl Turn<'_> {
    async fn run(&self, mut instances: Vec<Instance>, memory: &mut Memory) -> Result<Outcome, OperatorError> {
        self.resize(&instances)?;
        let was_healthy = self.cluster["status"]["phase"] == HEALTHY;
        if was_healthy && instances.iter().any(|instance| !instance.server().is_up()) {
            self.op.phase(self.spec, WAITING, "an instance is not ready")?;
        }
        let primary = self.settle_primary(&instances).await?;
        self.op.show_pod(self.spec, &primary, "primary")?;
        self.declare(&primary, memory).await?;
        let session = Session::open(&primary, "postgres").await?;
        self.op.kube.patch_status(&kinds::CLUSTERS, &self.spec.namespace, &self.spec.name, &json!({
            "currentPrimary": primary.name, "targetPrimary": primary.name }))?;
        if let Some(surplus) = self.surplus(&instances, &primary) {
            self.drop_instance(&surplus).await?;
            return Ok(Outcome::Again);
        }
        let standbys: Vec<&Instance> = instances.iter().filter(|instance| instance.name != primary.name).collect();
        sql::slots(&session, &standbys).await?;
        let settled = standbys.iter().map(|standby| self.settle_standby(standby, &primary));
        futures_util::future::join_all(settled).await.into_iter().collect::<Result<(), _>>()?;
        for standby in &standbys {
            self.op.show_pod(self.spec, standby, "replica")?;
        }
        // Synchronous names depend on the standbys, so the primary's settings are written once more now that they are known.
        self.configure(&primary, &primary, &self.standby_names(&instances, &primary)).await?;
        if instances.len() < self.spec.instances {
            let serial = instances.last().map_or(1, |last| last.serial + 1);
            self.op.phase(self.spec, CREATING_REPLICA, &format!("{}-{serial}", self.spec.name))?;
            instances.push(self.op.create_instance(self.spec, serial, "replica")?);
            return Ok(Outcome::Again);
        }
        self.report(&instances, &primary, &session).await
    }

    /// The Cluster's own word first, then the claim's label, then the newest instance.
    fn choose<'a>(&self, instances: &'a [Instance]) -> Option<&'a Instance> {
        let current = text(self.cluster, "/status/currentPrimary");
        let named = instances.iter().find(|instance| instance.name == current);
        named.or_else(|| instances.iter().find(|instance| instance.labelled_primary)).or_else(|| instances.last())
    }

    async fn settle_primary(&self, instances: &[Instance]) -> Result<Instance, OperatorError> {
        let mut primary = self.choose(instances).cloned().ok_or_else(|| OperatorError::Missing("an instance".into()))?;
        self.op.folders(&primary)?;
        if !primary.has_data() {
            self.initdb(&primary).await?;
        }
        if primary.server() == super::process::Server::Down {
            // Standbys that still answer mean that the primary died alone; when all are down they sleep, and it starts again.
            let heirs: Vec<&Instance> = instances.iter().filter(|i| i.name != primary.name && i.is_standby() && i.server().is_up()).collect();
            if !heirs.is_empty() {
                primary = self.fail_over(&primary, &heirs).await?;
            }
        }
        self.configure(&primary, &primary, &self.standby_names(instances, &primary)).await?;
        self.op.processes.start(&self.op.postgres, &primary.data(), &primary.log()).await?;
        if primary.is_standby() {
            self.promote(&primary).await?;
        }
        Ok(primary)
    }

    async fn promote(&self, heir: &Instance) -> Result<(), OperatorError> {
        let began = Instant::now();
        let session = Session::open(heir, "postgres").await?;
        let answer = session.row("SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(true, 60) ELSE true END").await?;
        if answer.first().cloned().flatten().as_deref() != Some("t") {
            return Err(OperatorError::Timeout(format!("the promotion of {}", heir.name)));
        }
        tracing::info!(cluster = self.spec.name, instance = heir.name, elapsed_ms = began.elapsed().as_millis(), "promoted");
        Ok(())
    }

    /// Fences the dead primary, promotes the standby that has most of its WAL, and moves the labels.
    async fn fail_over(&self, old: &Instance, heirs: &[&Instance]) -> Result<Instance, OperatorError> {
        tracing::warn!(cluster = self.spec.name, old = old.name, heirs = heirs.len(), "the primary is gone, failing over");
        self.op.phase(self.spec, FAILING_OVER, &format!("the primary {} is gone", old.name))?;
        self.op.show_pod(self.spec, old, "replica")?;
        let end = Instant::now() + Duration::from_secs(FENCE_SECONDS_MAX);
        while is_occupied(&old.data()) {
            if Instant::now() > end {
                return Err(OperatorError::Timeout("the old primary's processes to end".into()));
            }
            sleep(Duration::from_millis(100)).await;
        }
        let mut best: Option<(u64, &Instance)> = None;
        for heir in heirs {
            let session = Session::open(heir, "postgres").await?;
            let position = session.row("SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')").await?;
            let position = position.first().cloned().flatten().and_then(|text| text.parse().ok()).unwrap_or(0);
            if best.is_none_or(|(most, _)| position > most) {
                best = Some((position, heir));
            }
        }
        let (position, heir) = best.ok_or_else(|| OperatorError::Missing("a standby to promote".into()))?;
        tracing::info!(cluster = self.spec.name, heir = heir.name, position, "the most advanced standby was chosen");
        let status = |patch: Value| self.op.kube.patch_status(&kinds::CLUSTERS, &self.spec.namespace, &self.spec.name, &patch);
        status(json!({ "targetPrimary": heir.name, "targetPrimaryTimestamp": self.op.stamp() }))?;
        self.promote(heir).await?;
        status(json!({ "currentPrimary": heir.name, "currentPrimaryTimestamp": self.op.stamp() }))?;
        self.op.show_pod(self.spec, heir, "primary")?;
        Ok(heir.clone())
    }

    async fn declare(&self, primary: &Instance, memory: &mut Memory) -> Result<(), OperatorError> {
        let (kube, namespace) = (&self.op.kube, Some(self.spec.namespace.as_str()));
        let mut seen = format!("{} {:?} {:?}", primary.name, self.spec.bootstrap, self.spec.roles);
        for secret in kube.list(&kinds::SECRETS, namespace, &Selector::all()) {
            write!(seen, " {}", text(&secret, "/metadata/resourceVersion")).ok();
        }
        for database in kube.list(&kinds::DATABASES, namespace, &Selector::all()) {
            write!(seen, " {}/{}", text(&database, "/metadata/uid"), database["metadata"]["generation"]).ok();
        }
        if memory.declared != seen {
            sql::declare(kube, self.spec, primary).await?;
            memory.declared = seen;
        }
        Ok(())
    }

    /// Standbys that synchronous replication may count on: all when data must never be lost, else those that answer.
    fn standby_names(&self, instances: &[Instance], primary: &Instance) -> Vec<String> {
        let required = self.spec.synchronous.as_ref().is_some_and(|wanted| wanted.required);
        let counts = |i: &&Instance| i.name != primary.name && i.has_data() && (required || i.server().is_up());
        instances.iter().filter(counts).map(|instance| instance.name.clone()).collect()
    }

    fn surplus(&self, instances: &[Instance], primary: &Instance) -> Option<Instance> {
        let standbys = instances.iter().rev().filter(|instance| instance.name != primary.name);
        (instances.len() > self.spec.instances.max(1)).then(|| standbys.take(1).next().cloned()).flatten()
    }

    async fn drop_instance(&self, instance: &Instance) -> Result<(), OperatorError> {
        tracing::info!(cluster = self.spec.name, instance = instance.name, "one instance fewer");
        self.op.processes.stop(&self.op.postgres, &instance.data(), "fast").await?;
        self.op.remove(&kinds::PODS, &self.spec.namespace, &instance.name)?;
        self.op.remove(&kinds::VOLUME_CLAIMS, &self.spec.namespace, &instance.name)
    }

    /// Grows claims to the size that is asked for; a folder needs nothing done.
    fn resize(&self, instances: &[Instance]) -> Result<(), OperatorError> {
        let namespace = &self.spec.namespace;
        for instance in instances {
            let claim = self.op.kube.get(&kinds::VOLUME_CLAIMS, namespace, &instance.name)?;
            if text(&claim, "/spec/resources/requests/storage") != self.spec.storage {
                let size = json!({ "storage": self.spec.storage });
                self.op.kube.patch(&kinds::VOLUME_CLAIMS, namespace, &instance.name, &json!({ "spec": { "resources": { "requests": size } } }))?;
                self.op.kube.patch_status(&kinds::VOLUME_CLAIMS, namespace, &instance.name, &json!({ "capacity": size }))?;
                self.op.kube.patch(&kinds::VOLUMES, "", text(&claim, "/spec/volumeName"), &json!({ "spec": { "capacity": size } }))?;
            }
        }
        Ok(())
    }

    /// Tells the Cluster's state as CNPG does.
    async fn report(&self, instances: &[Instance], primary: &Instance, session: &Session) -> Result<Outcome, OperatorError> {
        let facts = session
            .row("SELECT (SELECT system_identifier FROM pg_control_system()), ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
                archived_count, last_failed_time > coalesce(last_archived_time, '-infinity'), failed_count FROM pg_stat_archiver")
            .await?;
        let fact = |at: usize| facts.get(at).cloned().flatten().unwrap_or_default();
        let ready = instances.iter().filter(|instance| instance.server().is_up()).count();
        let names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
        let healthy = ready == instances.len() && ready == self.spec.instances;
        let now = self.op.stamp();
        let mut conditions = self.cluster["status"]["conditions"].clone();
        if let Some(list) = conditions.as_array_mut() {
            list.retain(|c| c["type"] != HIBERNATION);
        }
        conditions = match healthy {
            true => condition(&conditions, "Ready", "True", "ClusterIsReady", "Cluster is Ready", &now),
            false => condition(&conditions, "Ready", "False", "ClusterIsNotReady", "Cluster Is Not Ready", &now),
        };
        if self.bucket.is_some() {
            conditions = self.archiving(conditions, &[fact(2), fact(3), fact(4)], session, &now).await?;
        }
        if healthy && self.cluster["status"]["phase"] != HEALTHY {
            tracing::info!(cluster = self.spec.name, instances = ready, primary = primary.name, "the cluster is healthy");
        }
        self.op.kube.patch_status(&kinds::CLUSTERS, &self.spec.namespace, &self.spec.name, &json!({
            "phase": if healthy { HEALTHY } else { WAITING }, "phaseReason": null,
            "instances": instances.len(), "readyInstances": ready, "instanceNames": names, "healthyPVC": names,
            "systemID": fact(0), "timelineID": fact(1).parse::<u32>().unwrap_or(1), "conditions": conditions,
            "writeService": format!("{}-rw", self.spec.name), "readService": format!("{}-r", self.spec.name),
            "pgDataImageInfo": { "image": format!("postgresql:{}", self.op.postgres.major), "majorVersion": self.op.postgres.major },
            "certificates": { "serverCASecret": self.tls.ca_secret, "serverTLSSecret": format!("{}-server", self.spec.name), "serverAltDNSNames": self.spec.server_names } }))?;
        Ok(Outcome::Settled)
    }

    /// Archiving is proved by the first stored file, which is asked for here instead of waiting for archive_timeout.
    async fn archiving(&self, conditions: Value, archiver: &[String; 3], session: &Session, now: &str) -> Result<Value, OperatorError> {
        let [archived, failing, failed] = archiver;
        if failing == "t" {
            return Ok(condition(&conditions, "ContinuousArchiving", "False", "ContinuousArchivingFailing", "the last WAL file was not archived", now));
        }
        if archived == "0" {
            if failed == "0" {
                session.run("SELECT pg_switch_wal() WHERE NOT EXISTS (SELECT 1 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')").await?;
            }
            return Ok(match is_true(self.cluster, "ContinuousArchiving") {
                true => conditions,
                false => condition(&conditions, "ContinuousArchiving", "False", "ContinuousArchivingPending", "no WAL file was archived yet", now),
            });
        }
        Ok(condition(&conditions, "ContinuousArchiving", "True", "ContinuousArchivingSuccess", "Continuous archiving is working", now))
    }
}
