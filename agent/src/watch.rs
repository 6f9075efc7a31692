//! What the agent sees: watches into small stores, and an observation of each database whenever it has changed.
use crate::installer::{PREFLIGHT_KEY, PREFLIGHT_MAP};
use crate::objects::{api, resource};
use crate::outbox::Outbox;
use crate::runbook::Runbook;
use crate::statistics::{Target, targets};
use crate::volumes;
use crate::watched::Watched;
use kiven_data_services::cnpg::{Cnpg, DATABASE_LABEL, STORAGE_CLASS, whole};
use kiven_data_services::events::{Known, follow};
use kiven_data_services::{DataService, Seen};
use kiven_model::DatabaseId;
use kiven_model::event::{DatabaseEvent, Happening};
use kiven_model::names::{DATABASE_NAMESPACE, SYSTEM_NAMESPACE};
use kiven_model::operators::{Component, version_of_image};
use kiven_model::preflight::ClusterFacts;
use kiven_model::report::{AgentFacts, Observation, ReportBody};
use kiven_model::statistics::VolumeUse;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(15);
/// The label CNPG puts on pods and claims.
const CLUSTER_LABEL: &str = "cnpg.io/cluster";
/// The label CNPG puts on poolers' pods.
const POOLER_LABEL: &str = "cnpg.io/poolerName";

/// Everything watched.
pub(crate) struct World {
    client: Client,
    clusters: Watched,
    poolers: Watched,
    backups: Watched,
    pods: Watched,
    claims: Watched,
    services: Watched,
    nodes: Watched,
    /// Where the operator runs.
    operator_namespace: String,
    /// Whether Kiven's installer brought operator and plugin.
    upgradable: bool,
    changed: Arc<Notify>,
    /// What was last said of each Cluster.
    said: Mutex<BTreeMap<String, Observation>>,
    /// From what events are told, by Cluster.
    known: Mutex<BTreeMap<String, Option<Known>>>,
    /// Instances that can be asked for their statistics.
    targets: watch::Sender<Vec<Target>>,
    /// How full volumes are, in per cent, by claim, as far as PostgreSQL has said.
    filled: Mutex<BTreeMap<String, u8>>,
    outbox: Arc<Outbox>,
}

impl World {
    /// The way to the API server.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
    /// Starts the watches and the task that reports changes.
    pub(crate) fn start(client: Client, outbox: Arc<Outbox>, operator_namespace: String, upgradable: bool) -> Arc<Self> {
        let changed = Arc::new(Notify::new());
        let cnpg = |kind, plural| Watched::kind(&client, &resource("postgresql.cnpg.io", "v1", kind, plural), &changed);
        let core = |kind, plural| Watched::kind(&client, &resource("", "v1", kind, plural), &changed);
        let world = Arc::new(Self {
            clusters: cnpg("Cluster", "clusters"),
            poolers: cnpg("Pooler", "poolers"),
            backups: cnpg("Backup", "backups"),
            pods: core("Pod", "pods"),
            claims: core("PersistentVolumeClaim", "persistentvolumeclaims"),
            services: core("Service", "services"),
            nodes: Watched::nodes(&client, &changed),
            client: client.clone(),
            operator_namespace,
            upgradable,
            changed,
            said: Mutex::default(),
            known: Mutex::default(),
            targets: watch::Sender::new(Vec::new()),
            filled: Mutex::default(),
            outbox: Arc::clone(&outbox),
        });
        let watching = Arc::clone(&world);
        tokio::spawn(async move {
            loop {
                watching.changed.notified().await;
                tokio::time::sleep(SETTLE).await;
                watching.say(&outbox, false);
            }
        });
        world
    }

    /// Reports databases that have changed, or all of them.
    pub(crate) fn say(&self, outbox: &Outbox, all: bool) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen: BTreeMap<String, Observation> = BTreeMap::new();
        let mut answering = Vec::new();
        for cluster in self.clusters.state() {
            let Some(id) = cluster.labels().get(DATABASE_LABEL).and_then(|id| DatabaseId::parse(id).ok()) else { continue };
            let name = cluster.name_any();
            let found = self.look(&id, &name, Some(&cluster));
            self.tell(&id, &name, &found);
            answering.extend(targets::of(&id, &name, &found));
            seen.insert(name.clone(), Cnpg.observe(&id, &name, &found));
        }
        self.targets.send_if_modified(|known| {
            let changed = *known != answering;
            *known = answering;
            changed
        });
        for (name, known) in said.iter() {
            if !seen.contains_key(name) {
                let found = self.look(&known.database_id, name, None);
                seen.insert(name.clone(), Cnpg.observe(&known.database_id, name, &found));
            }
        }
        let claims: BTreeSet<String> = self.claims.state().iter().map(|claim| claim.name_any()).collect();
        self.filled().retain(|claim, _| claims.contains(claim));
        self.known().retain(|name, _| seen.get(name).is_some_and(|one| one.exists));
        for (name, observation) in &seen {
            if all || said.get(name) != Some(observation) {
                outbox.push(ReportBody::Observed(observation.clone()));
            }
        }
        // What is gone for good has been said and is forgotten.
        seen.retain(|_, observation| observation.exists || observation.pods > 0 || !observation.volumes.is_empty());
        *said = seen;
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Option<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what has happened to a database since the last look.
    fn tell(&self, database: &DatabaseId, name: &str, found: &Seen) {
        if !self.is_listed() {
            return;
        }
        let now = crate::now();
        let happened = follow(self.known().entry(name.to_owned()).or_default(), Cnpg.sight(name, found), now);
        for what in happened {
            tracing::info!(database_id = %database, kind = what.kind(), "{what}");
            self.outbox.push(ReportBody::Event(DatabaseEvent { database_id: database.clone(), at: now, what }));
        }
    }

    /// Instances that can be asked for their statistics, from now on.
    pub(crate) fn targets(&self) -> watch::Receiver<Vec<Target>> {
        self.targets.subscribe()
    }

    /// Notes what PostgreSQL's files take of a volume: its size, and an event where it fills.
    pub(crate) fn fill(&self, claim: &str, used: &mut VolumeUse) {
        let named = self.claims.state().into_iter().find(|known| known.name_any() == claim);
        used.capacity_bytes = named.and_then(|claim| whole(&claim.data["status"]["capacity"]["storage"]));
        let Some(percent) = used.percent() else { return };
        let before = self.filled().insert(claim.to_owned(), percent);
        if before != Some(percent) {
            self.changed.notify_one();
        }
    }

    fn filled(&self) -> MutexGuard<'_, BTreeMap<String, u8>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells something of the database whose object has this name: its Cluster's, with something after it.
    pub(crate) fn tell_of(&self, object: &str, what: Happening) {
        let of_object =
            |cluster: &Arc<DynamicObject>| object.strip_prefix(&cluster.name_any()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let Some(cluster) = self.clusters.state().into_iter().find(of_object) else { return };
        let Some(database_id) = cluster.labels().get(DATABASE_LABEL).and_then(|id| DatabaseId::parse(id).ok()) else { return };
        self.outbox.push(ReportBody::Event(DatabaseEvent { database_id, at: crate::now(), what }));
    }

    /// Whether everything has been listed once: before that, much would seem to have happened.
    fn is_listed(&self) -> bool {
        let kinds = [&self.clusters, &self.poolers, &self.backups, &self.pods, &self.claims, &self.services, &self.nodes];
        kinds.into_iter().all(Watched::is_listed)
    }

    fn look(&self, database: &DatabaseId, name: &str, cluster: Option<&DynamicObject>) -> Seen {
        let of_cluster = |object: &DynamicObject| object.labels().get(CLUSTER_LABEL).is_some_and(|label| label == name);
        let names_it = |object: &DynamicObject| object.data["spec"]["cluster"]["name"] == name;
        let labelled = |object: &DynamicObject| object.labels().get(DATABASE_LABEL).is_some_and(|label| label == database.as_str());
        let poolers = matching(&self.poolers, names_it);
        let pooler_names: Vec<&str> = poolers.iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
        let claims = matching(&self.claims, of_cluster);
        let named: Vec<&str> = claims.iter().filter_map(|claim| claim["metadata"]["name"].as_str()).collect();
        let filled =
            self.filled().iter().filter(|(claim, _)| named.contains(&claim.as_str())).map(|(claim, percent)| (claim.clone(), *percent)).collect();
        let of_pooler = |object: &DynamicObject| object.labels().get(POOLER_LABEL).is_some_and(|label| pooler_names.contains(&label.as_str()));
        Seen {
            cluster: cluster.and_then(|object| serde_json::to_value(object).ok()),
            pods: matching(&self.pods, |pod| of_cluster(pod) || of_pooler(pod)),
            claims,
            services: matching(&self.services, labelled),
            backups: matching(&self.backups, names_it),
            nodes: matching(&self.nodes, labelled),
            poolers,
            filled,
        }
    }

    /// The zone of one of the databases' nodes.
    pub(crate) fn zone_of(&self, node: &str) -> Option<String> {
        let found = self.nodes.state().into_iter().find(|known| known.name_any() == node)?;
        found.labels().get("topology.kubernetes.io/zone").cloned()
    }

    /// Whether every database is well or paused, as far as everything has been listed.
    pub(crate) fn settled(&self) -> bool {
        let rests = |cluster: &Arc<DynamicObject>| {
            let seen = Seen { cluster: serde_json::to_value(cluster.as_ref()).ok(), ..Seen::default() };
            let id = cluster.labels().get(DATABASE_LABEL).and_then(|id| DatabaseId::parse(id).ok());
            id.is_none_or(|id| {
                let found = Cnpg.observe(&id, &cluster.name_any(), &seen);
                found.hibernated || found.healthy()
            })
        };
        self.is_listed() && self.clusters.state().iter().all(rests)
    }

    /// Brings the runbook to what is there, once the Clusters have been listed.
    pub(crate) async fn keep(&self, runbook: &Runbook) {
        self.clusters.listed().await;
        runbook.keep(&self.client, &self.clusters.state()).await;
    }

    /// What the agent says of itself and its cluster.
    pub(crate) async fn facts(&self) -> AgentFacts {
        let version = self.client.apiserver_version().await.map(|v| v.git_version).unwrap_or_default();
        let classes = Api::<DynamicObject>::all_with(self.client.clone(), &resource("storage.k8s.io", "v1", "StorageClass", "storageclasses"));
        AgentFacts {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: version,
            operator_version: self.operator_version().await,
            plugin_version: self.plugin_version().await,
            upgradable: self.upgradable,
            storage_class: matches!(classes.get_opt(STORAGE_CLASS).await, Ok(Some(_))),
            postgres_versions: self.postgres_versions().await,
            loose_volumes: volumes::loose(&self.client, &self.claims, &self.clusters).await,
            cluster: self.preflight().await,
        }
    }

    /// What the chart's preflight has written down.
    async fn preflight(&self) -> Option<Box<ClusterFacts>> {
        let maps = api(&self.client, SYSTEM_NAMESPACE, &resource("", "v1", "ConfigMap", "configmaps"));
        let map = maps.get_opt(PREFLIGHT_MAP).await.ok()??;
        serde_json::from_str(map.data["data"][PREFLIGHT_KEY].as_str()?).ok()
    }

    /// The version in the image of a ready CloudNativePG Deployment.
    async fn operator_version(&self) -> Option<String> {
        let deployments = api(&self.client, &self.operator_namespace, &resource("apps", "v1", "Deployment", "deployments"));
        let selector = ListParams::default().labels("app.kubernetes.io/name=cloudnative-pg");
        let found = deployments.list(&selector).await.ok()?.items;
        let ready = found.into_iter().find(|d| d.data["status"]["readyReplicas"].as_u64().unwrap_or(0) > 0)?;
        let image = ready.data["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?.to_owned();
        version_of_image(Component::Operator, &image)
    }

    /// The version in the image of the ready plugin in the agent's own namespace.
    async fn plugin_version(&self) -> Option<String> {
        let deployments = api(&self.client, SYSTEM_NAMESPACE, &resource("apps", "v1", "Deployment", "deployments"));
        let named = ListParams::default().fields(&format!("metadata.name={}", Component::Plugin.deployment()));
        let found = deployments.list(&named).await.ok()?.items.into_iter().next()?;
        let ready = found.data["status"]["readyReplicas"].as_u64().unwrap_or(0) > 0;
        let image = found.data["spec"]["template"]["spec"]["containers"][0]["image"].as_str().filter(|_| ready)?;
        version_of_image(Component::Plugin, image)
    }

    /// The majors in the ImageCatalog that the chart brings, newest first.
    async fn postgres_versions(&self) -> Vec<u32> {
        let catalogs = api(&self.client, DATABASE_NAMESPACE, &resource("postgresql.cnpg.io", "v1", "ImageCatalog", "imagecatalogs"));
        let Ok(Some(catalog)) = catalogs.get_opt(kiven_data_services::cnpg::IMAGE_CATALOG).await else { return Vec::new() };
        let images = catalog.data["spec"]["images"].as_array().cloned().unwrap_or_default();
        let mut majors: Vec<u32> = images.iter().filter_map(|image| image["major"].as_u64()).filter_map(|m| u32::try_from(m).ok()).collect();
        majors.sort_unstable_by(|a, b| b.cmp(a));
        majors
    }
}

fn matching(kind: &Watched, keep: impl Fn(&DynamicObject) -> bool) -> Vec<Value> {
    kind.state().iter().filter(|object| keep(object)).filter_map(|object| serde_json::to_value(object.as_ref()).ok()).collect()
}
