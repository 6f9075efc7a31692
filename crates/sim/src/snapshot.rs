//! Everything that exists in the customer's account and cluster at one moment, so that worlds can be compared.
use crate::world::World;
use kiven_model::report::Volume;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A node group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupSeen {
    /// In the words of EKS.
    pub status: &'static str,
    /// Nodes asked for.
    pub nodes: u32,
    /// The release of the machine image that its nodes start from.
    pub release: String,
}

/// A database's cluster in life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterSeen {
    /// Instances asked for.
    pub instances: u32,
    /// Instances that answer.
    pub ready: u32,
    /// Pods, the pooler's too.
    pub pods: u32,
    /// PostgreSQL's own.
    pub system_identifier: Option<String>,
    /// Whether it is hibernated.
    pub hibernated: bool,
    /// Whether it is its owner's.
    pub handed_over: bool,
    /// When its grace ends.
    pub delete_after: Option<String>,
    /// The volumes its data is on.
    pub volumes: Vec<Volume>,
    /// Which making of the server certificate this is, from 1.
    pub certificate: u64,
}

/// Everything that exists.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Node groups by name.
    pub node_groups: BTreeMap<String, GroupSeen>,
    /// Backup roles.
    pub roles: BTreeSet<String>,
    /// Backup buckets: they outlive databases.
    pub buckets: BTreeSet<String>,
    /// IAM providers of token issuers: they outlive databases.
    pub oidc_providers: BTreeSet<String>,
    /// Secrets by name, with the number of their making.
    pub secrets: BTreeMap<String, u64>,
    /// Objects by `Kind/name`.
    pub objects: BTreeMap<String, Value>,
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterSeen>,
    /// How many WAL switches the archive has of each cluster: it outlives databases.
    pub archive: BTreeMap<String, u64>,
    /// Complete backups that were asked for by name: they outlive databases.
    pub backups: BTreeSet<String>,
    /// The operator's version.
    pub operator: String,
    /// Commands that may still have an effect.
    pub open_commands: Vec<String>,
}

impl Snapshot {
    /// Without what outlives a database: bucket, archive and IAM provider.
    #[must_use]
    pub fn without_remains(mut self) -> Self {
        self.buckets.clear();
        self.oidc_providers.clear();
        self.archive.clear();
        self.backups.clear();
        self
    }
    /// Identifier and volumes by cluster: what must never change by itself.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, (Option<String>, Vec<Volume>)> {
        self.clusters.iter().map(|(name, seen)| (name.clone(), (seen.system_identifier.clone(), seen.volumes.clone()))).collect()
    }
    /// How many objects there are of a kind.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.objects.keys().filter(|key| key.split('/').next() == Some(kind)).count()
    }
}

impl World {
    /// Everything that exists now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let groups = state.cloud.list().into_iter();
        let cluster = |running: &crate::kube::Running| ClusterSeen {
            instances: running.instances,
            ready: running.ready,
            pods: state.kube.pods_of(&running.database),
            system_identifier: running.system_identifier.clone(),
            hibernated: running.hibernated,
            handed_over: running.handed_over,
            delete_after: running.delete_after.map(|at| at.to_string()),
            volumes: running.volumes.clone(),
            certificate: running.certificate,
        };
        Snapshot {
            node_groups: groups
                .map(|g| {
                    (g.spec.name.clone(), GroupSeen { status: g.status.as_str(), nodes: g.spec.scaling_config.desired_size, release: g.release })
                })
                .collect(),
            roles: state.cloud.roles.keys().cloned().collect(),
            buckets: state.cloud.buckets.keys().cloned().collect(),
            oidc_providers: state.cloud.oidc_providers.clone(),
            secrets: state.kube.secrets.iter().map(|(name, secret)| (name.clone(), secret.serial)).collect(),
            objects: state.kube.objects.clone(),
            clusters: state.kube.clusters.iter().map(|(name, running)| (name.clone(), cluster(running))).collect(),
            archive: state.kube.archive.clone(),
            backups: state.kube.backups.iter().filter(|(_, complete)| **complete <= state.now).map(|(name, _)| name.clone()).collect(),
            operator: state.kube.operator.0.clone(),
            open_commands: state.inbox.open(),
        }
    }
}
