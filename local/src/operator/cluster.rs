//! One pass over one Cluster: from what is there to what is asked, step by step, each of them safe to repeat.
use super::Operator;
use super::archive::Bucket;
use super::error::OperatorError;
use super::instance::Instance;
use super::sql::{self, Session};
use super::tls::Tls;
use super::view::{Spec, condition, text};
use kiven_fake_kube::{Selector, kinds};
use serde_json::{Value, json};
use std::fmt::Write as _;
use tokio::time::Instant;

pub(crate) const HEALTHY: &str = "Cluster in healthy state";
const SETTING_UP: &str = "Setting up primary";
const CREATING_REPLICA: &str = "Creating a new replica";
pub(crate) const APPLYING: &str = "Applying configuration";
pub(crate) const WAITING: &str = "Waiting for the instances to become active";
const UNRECOVERABLE: &str = "Cluster is unrecoverable and needs manual intervention";
pub(crate) const HIBERNATION: &str = "cnpg.io/hibernation";

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
        let tell = |status, reason, message, ready| self.tell_hibernation(cluster, spec, (status, reason, message), ready);
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

    fn tell_hibernation(
        &self,
        cluster: &Value,
        spec: &Spec,
        (status, reason, message): (&str, &str, &str),
        ready: usize,
    ) -> Result<(), OperatorError> {
        let (list, now) = (&cluster["status"]["conditions"], self.stamp());
        let mut conditions = condition(list, HIBERNATION, status, reason, message, &now);
        if status == "True" {
            let why = "Cluster is hibernated";
            conditions = condition(&conditions, "Ready", "False", "ClusterIsNotReady", why, &now);
        }
        let patch = json!({ "conditions": conditions, "readyInstances": ready });
        self.kube.patch_status(&kinds::CLUSTERS, &spec.namespace, &spec.name, &patch)?;
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
        for drained in instances.iter().filter(|instance| self.op.is_drained(self.spec, instance)) {
            tracing::info!(cluster = self.spec.name, instance = drained.name, "its node is gone: it starts on another");
            // The Pod first: nobody takes the instance for one that answers while its server stops.
            self.op.remove(&kinds::PODS, &self.spec.namespace, &drained.name)?;
            self.op.put_away(self.spec, drained).await?;
        }
        let was_healthy = self.cluster["status"]["phase"] == HEALTHY;
        if was_healthy && instances.iter().any(|instance| !instance.server().is_up()) {
            self.op.phase(self.spec, WAITING, "an instance is not ready")?;
        }
        let primary = self.settle_primary(&instances).await?;
        self.op.show_pod(self.spec, &primary, "primary")?;
        self.declare(&primary, memory).await?;
        let session = Session::open(&primary, "postgres").await?;
        let wished = self.wished(&instances, &primary).cloned();
        if wished.is_none() {
            let named = json!({ "currentPrimary": primary.name, "targetPrimary": primary.name });
            self.op.kube.patch_status(&kinds::CLUSTERS, &self.spec.namespace, &self.spec.name, &named)?;
        }
        if let Some(surplus) = self.surplus(&instances, &primary) {
            self.drop_instance(&surplus).await?;
            return Ok(Outcome::Again);
        }
        let standbys: Vec<&Instance> = instances.iter().filter(|instance| instance.name != primary.name).collect();
        sql::slots(&session, &standbys).await?;
        // New ones copy side by side; those that run take what was changed one after the other.
        let (running, new): (Vec<&Instance>, Vec<&Instance>) = standbys.iter().copied().partition(|standby| standby.has_data());
        let copied = new.iter().map(|standby| self.settle_standby(standby, &primary));
        futures_util::future::join_all(copied).await.into_iter().collect::<Result<(), _>>()?;
        for standby in running {
            self.settle_standby(standby, &primary).await?;
        }
        for standby in &standbys {
            self.op.show_pod(self.spec, standby, "replica")?;
        }
        // Synchronous names depend on the standbys, so the primary's settings are written once more now that they are known.
        let outdated = self.configure(&primary, &primary, &self.standby_names(&instances, &primary)).await?;
        if outdated && instances.len() >= self.spec.instances {
            drop(session);
            self.switch_over(&primary, &standbys).await?;
            return Ok(Outcome::Again);
        }
        if let Some(wished) = wished {
            drop(session);
            self.switch_over(&primary, &[&wished]).await?;
            return Ok(Outcome::Again);
        }
        if instances.len() < self.spec.instances {
            let serial = instances.last().map_or(1, |last| last.serial + 1);
            self.op.phase(self.spec, CREATING_REPLICA, &format!("{}-{serial}", self.spec.name))?;
            instances.push(self.op.create_instance(self.spec, serial, "replica")?);
            return Ok(Outcome::Again);
        }
        self.report(&instances, &primary, &session).await
    }

    /// The standby that is asked for as primary, as CNPG's `promote` does it in the status: one that is there and answers.
    fn wished<'a>(&self, instances: &'a [Instance], primary: &Instance) -> Option<&'a Instance> {
        let target = text(self.cluster, "/status/targetPrimary");
        // What was asked for before the primary was another is an old wish.
        let standby = |one: &&Instance| one.name == target && one.name != primary.name && one.is_standby() && one.server().is_up();
        (text(self.cluster, "/status/currentPrimary") == primary.name).then(|| instances.iter().find(standby)).flatten()
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
        let outdated = self.configure(&primary, &primary, &self.standby_names(instances, &primary)).await?;
        self.op.processes.start(&self.op.postgres, &primary.data(), &primary.log()).await?;
        if outdated && (instances.len() == 1 || self.lowers_limits(&primary).await?) {
            self.restart(&primary).await?;
        }
        if primary.is_standby() {
            self.promote(&primary).await?;
        }
        Ok(primary)
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
}
