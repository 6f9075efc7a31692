//! EKS managed node groups as a pure state machine: virtual time in milliseconds, no I/O.
//!
//! The local EKS endpoint and the simulated world share it. It is stricter than AWS where AWS is
//! vague: nothing but a describe is accepted while a group is changing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod words;

pub use words::{GroupChange, GroupSpec, GroupStatus, HealthIssue, LaunchTemplate, Scaling, Taint, UpdateKind, UpdateStatus};

/// Longest node group name EKS accepts.
pub const NODEGROUP_NAME_CHARS_MAX: usize = 63;
/// The default service quota of managed node groups in one cluster.
pub const NODEGROUPS_PER_CLUSTER_MAX: usize = 30;
/// Updates remembered for each group; older ones are forgotten.
pub const UPDATES_PER_GROUP_MAX: usize = 20;
/// Highest number of nodes one group may ask for.
pub const NODES_PER_GROUP_MAX: u32 = 450;

/// How long each change takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// Creating → active.
    pub create_ms: i64,
    /// Updating → active.
    pub update_ms: i64,
    /// Deleting → gone.
    pub delete_ms: i64,
}

impl Delays {
    /// The same delay for every change.
    pub const fn all(milliseconds: i64) -> Self {
        Self { create_ms: milliseconds, update_ms: milliseconds, delete_ms: milliseconds }
    }
}

/// One managed node group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGroup {
    /// The cluster it belongs to.
    pub cluster: String,
    /// What was asked for, kept up to date by updates.
    pub spec: GroupSpec,
    /// Where it is.
    pub status: GroupStatus,
    /// What is wrong with it.
    pub health: Vec<HealthIssue>,
    /// Position in the order of creation; makes the ARN unique.
    pub serial: u64,
    /// When it was created.
    pub created_ms: i64,
    /// When it last changed.
    pub modified_ms: i64,
    /// The release of the machine image that its nodes start from.
    #[serde(default)]
    pub release: String,
    token: Option<String>,
    asked: GroupSpec,
    settles_at_ms: Option<i64>,
}

impl NodeGroup {
    /// Nodes that run now: none before the group is active or without capacity.
    pub fn nodes_running(&self) -> u32 {
        match self.status {
            GroupStatus::Active | GroupStatus::Updating if self.health.is_empty() => self.spec.scaling_config.desired_size,
            GroupStatus::Active | GroupStatus::Updating | GroupStatus::Creating | GroupStatus::Deleting | GroupStatus::CreateFailed => 0,
        }
    }
}

/// One recorded configuration update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Update id.
    pub id: String,
    /// The group it changes.
    pub group: String,
    /// Where it is.
    pub status: UpdateStatus,
    /// When it was asked for.
    pub created_ms: i64,
    /// What it is about.
    #[serde(default)]
    pub kind: UpdateKind,
    token: Option<String>,
    change: GroupChange,
}

/// Why a call was refused, in the classes of EKS.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// `ResourceNotFoundException`.
    #[error("{0}")]
    NotFound(String),
    /// `ResourceInUseException`.
    #[error("{0}")]
    InUse(String),
    /// `InvalidParameterException`.
    #[error("{0}")]
    Invalid(String),
    /// `ResourceLimitExceededException`.
    #[error("{0}")]
    Limit(String),
}

/// Every node group of the clusters of one account and region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeGroups {
    delays: Delays,
    groups: BTreeMap<String, BTreeMap<String, NodeGroup>>,
    updates: BTreeMap<String, Vec<Update>>,
    subnets_without_capacity: BTreeSet<String>,
    serial: u64,
}

impl NodeGroups {
    /// No group yet.
    pub fn new(delays: Delays) -> Self {
        Self { delays, groups: BTreeMap::new(), updates: BTreeMap::new(), subnets_without_capacity: BTreeSet::new(), serial: 0 }
    }

    /// Changes the delays for what starts from now on.
    pub fn delays_set(&mut self, delays: Delays) {
        self.delays = delays;
    }

    /// Makes a zone run short (or have capacity again).
    pub fn capacity_set(&mut self, subnet: &str, available: bool) {
        if available {
            self.subnets_without_capacity.remove(subnet);
        } else {
            self.subnets_without_capacity.insert(subnet.to_owned());
        }
    }

    /// Moves every group to where it is at `now_ms`; true when something moved.
    pub fn settle(&mut self, now_ms: i64) -> bool {
        let mut moved = false;
        let mut gone = Vec::new();
        for (cluster, groups) in &mut self.groups {
            for (name, group) in groups.iter_mut() {
                let due = group.settles_at_ms.is_some_and(|at| at <= now_ms);
                let short = is_short(&self.subnets_without_capacity, &group.spec);
                if due {
                    moved = true;
                    group.settles_at_ms = None;
                    group.modified_ms = now_ms;
                    match group.status {
                        GroupStatus::Creating if short => group.status = GroupStatus::CreateFailed,
                        GroupStatus::Creating | GroupStatus::Updating => group.status = GroupStatus::Active,
                        GroupStatus::Deleting => gone.push((cluster.clone(), name.clone())),
                        GroupStatus::Active | GroupStatus::CreateFailed => {}
                    }
                }
                let settled = matches!(group.status, GroupStatus::Active | GroupStatus::CreateFailed);
                let health = if settled && short { vec![shortage(&group.spec)] } else { Vec::new() };
                if settled && group.status == GroupStatus::Active && group.health != health {
                    moved = true;
                    group.health = health;
                } else if due && group.status == GroupStatus::CreateFailed {
                    group.health = health;
                }
                if due && settled {
                    let list = self.updates.entry(update_key(cluster, name)).or_default();
                    for update in list.iter_mut() {
                        update.status = UpdateStatus::Successful;
                    }
                }
            }
        }
        for (cluster, name) in gone {
            self.updates.remove(&update_key(&cluster, &name));
            if let Some(groups) = self.groups.get_mut(&cluster) {
                groups.remove(&name);
            }
        }
        moved
    }

    /// When the next group settles, so that a driver knows how far to move time.
    pub fn next_change_ms(&self) -> Option<i64> {
        self.groups.values().flat_map(BTreeMap::values).filter_map(|group| group.settles_at_ms).min()
    }

    /// `CreateNodegroup`.
    pub fn create(&mut self, now_ms: i64, cluster: &str, spec: GroupSpec, token: Option<String>) -> Result<NodeGroup, Refusal> {
        self.settle(now_ms);
        check_spec(&spec)?;
        let groups = self.groups.entry(cluster.to_owned()).or_default();
        if let Some(existing) = groups.get(&spec.name) {
            if token.is_some() && existing.token == token {
                if existing.asked == spec {
                    return Ok(existing.clone());
                }
                return Err(Refusal::Invalid("the token was used with other parameters".into()));
            }
            return Err(Refusal::InUse(format!("NodeGroup already exists with name {} and cluster name {cluster}", spec.name)));
        }
        if groups.len() >= NODEGROUPS_PER_CLUSTER_MAX {
            return Err(Refusal::Limit(format!("a cluster has at most {NODEGROUPS_PER_CLUSTER_MAX} node groups")));
        }
        self.serial += 1;
        let group = NodeGroup {
            cluster: cluster.to_owned(),
            asked: spec.clone(),
            spec,
            status: GroupStatus::Creating,
            health: Vec::new(),
            serial: self.serial,
            created_ms: now_ms,
            modified_ms: now_ms,
            release: newest_release(now_ms),
            token,
            settles_at_ms: Some(now_ms + self.delays.create_ms),
        };
        groups.insert(group.spec.name.clone(), group.clone());
        Ok(group)
    }

    /// `DescribeNodegroup`.
    pub fn describe(&mut self, now_ms: i64, cluster: &str, name: &str) -> Result<NodeGroup, Refusal> {
        self.settle(now_ms);
        self.group(cluster, name).cloned()
    }

    /// `ListNodegroups`, whole groups.
    pub fn list(&mut self, now_ms: i64, cluster: &str) -> Vec<NodeGroup> {
        self.settle(now_ms);
        self.groups.get(cluster).map(|groups| groups.values().cloned().collect()).unwrap_or_default()
    }

    /// `UpdateNodegroupConfig`.
    pub fn update(&mut self, now_ms: i64, cluster: &str, name: &str, change: GroupChange, token: Option<String>) -> Result<Update, Refusal> {
        self.settle(now_ms);
        if let Some(scaling) = change.scaling {
            check_scaling(scaling)?;
        }
        self.begin(now_ms, (cluster, name), change, UpdateKind::ConfigUpdate, token)
    }

    /// `UpdateNodegroupVersion` to the newest release of the cluster's Kubernetes.
    pub fn patch(&mut self, now_ms: i64, cluster: &str, name: &str, token: Option<String>) -> Result<Update, Refusal> {
        self.settle(now_ms);
        self.begin(now_ms, (cluster, name), GroupChange::default(), UpdateKind::VersionUpdate, token)
    }

    /// `ListUpdates` of a group, whole updates, oldest first.
    pub fn updates(&mut self, now_ms: i64, cluster: &str, name: &str) -> Result<Vec<Update>, Refusal> {
        self.settle(now_ms);
        self.group(cluster, name)?;
        Ok(self.updates.get(&update_key(cluster, name)).cloned().unwrap_or_default())
    }

    fn begin(
        &mut self,
        now_ms: i64,
        (cluster, name): (&str, &str),
        change: GroupChange,
        kind: UpdateKind,
        token: Option<String>,
    ) -> Result<Update, Refusal> {
        self.group(cluster, name)?;
        let key = update_key(cluster, name);
        let seen = self.updates.get(&key).and_then(|list| list.iter().find(|u| token.is_some() && u.token == token));
        if let Some(seen) = seen {
            if seen.change == change && seen.kind == kind {
                return Ok(seen.clone());
            }
            return Err(Refusal::Invalid("the token was used with other parameters".into()));
        }
        self.serial += 1;
        let (serial, settles) = (self.serial, now_ms + self.delays.update_ms);
        let group = self.group_mut(cluster, name)?;
        only_when_settled(group, &[GroupStatus::Active])?;
        if kind == UpdateKind::VersionUpdate {
            if group.release == newest_release(now_ms) {
                return Err(Refusal::Invalid(format!("there is no newer release than {}", group.release)));
            }
            group.release = newest_release(now_ms);
        }
        apply(&mut group.spec, &change);
        group.status = GroupStatus::Updating;
        group.modified_ms = now_ms;
        group.settles_at_ms = Some(settles);
        let update = Update {
            id: format!("00000000-0000-4000-8000-{serial:012x}"),
            group: name.to_owned(),
            status: UpdateStatus::InProgress,
            created_ms: now_ms,
            kind,
            token,
            change,
        };
        let list = self.updates.entry(key).or_default();
        list.push(update.clone());
        if list.len() > UPDATES_PER_GROUP_MAX {
            list.remove(0);
        }
        Ok(update)
    }

    /// `DescribeUpdate`.
    pub fn update_describe(&mut self, now_ms: i64, cluster: &str, name: &str, id: &str) -> Result<Update, Refusal> {
        self.settle(now_ms);
        self.updates
            .get(&update_key(cluster, name))
            .and_then(|list| list.iter().find(|update| update.id == id))
            .cloned()
            .ok_or_else(|| Refusal::NotFound(format!("No update found for ID: {id}.")))
    }

    /// `DeleteNodegroup`.
    pub fn delete(&mut self, now_ms: i64, cluster: &str, name: &str) -> Result<NodeGroup, Refusal> {
        self.settle(now_ms);
        let settles = now_ms + self.delays.delete_ms;
        let group = self.group_mut(cluster, name)?;
        only_when_settled(group, &[GroupStatus::Active, GroupStatus::CreateFailed])?;
        group.status = GroupStatus::Deleting;
        group.modified_ms = now_ms;
        group.settles_at_ms = Some(settles);
        Ok(group.clone())
    }

    /// `TagResource` on a group.
    pub fn tag(&mut self, cluster: &str, name: &str, tags: BTreeMap<String, String>) -> Result<(), Refusal> {
        self.group_mut(cluster, name)?.spec.tags.extend(tags);
        Ok(())
    }

    fn group(&self, cluster: &str, name: &str) -> Result<&NodeGroup, Refusal> {
        self.groups.get(cluster).and_then(|groups| groups.get(name)).ok_or_else(|| no_group(cluster, name))
    }

    fn group_mut(&mut self, cluster: &str, name: &str) -> Result<&mut NodeGroup, Refusal> {
        self.groups.get_mut(cluster).and_then(|groups| groups.get_mut(name)).ok_or_else(|| no_group(cluster, name))
    }
}

/// The newest release of the machine image: here one is published on the first of each month.
pub fn newest_release(now_ms: i64) -> String {
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("1.34.1-{}01", now.strftime("%Y%m"))
}

fn no_group(cluster: &str, name: &str) -> Refusal {
    Refusal::NotFound(format!("No node group found for name: {name} in cluster {cluster}."))
}

fn update_key(cluster: &str, name: &str) -> String {
    format!("{cluster}/{name}")
}

fn is_short(without_capacity: &BTreeSet<String>, spec: &GroupSpec) -> bool {
    spec.scaling_config.desired_size > 0 && spec.subnets.iter().all(|subnet| without_capacity.contains(subnet))
}

fn shortage(spec: &GroupSpec) -> HealthIssue {
    HealthIssue { code: "AsgInstanceLaunchFailures".into(), message: format!("InsufficientInstanceCapacity for {}", spec.instance_types.join(", ")) }
}

fn only_when_settled(group: &NodeGroup, allowed: &[GroupStatus]) -> Result<(), Refusal> {
    if allowed.contains(&group.status) {
        return Ok(());
    }
    Err(Refusal::InUse(format!("Nodegroup cannot be changed as it is currently in {} status", group.status.as_str())))
}

fn check_spec(spec: &GroupSpec) -> Result<(), Refusal> {
    let name_ok = !spec.name.is_empty()
        && spec.name.len() <= NODEGROUP_NAME_CHARS_MAX
        && spec.name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && spec.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !name_ok {
        return Err(Refusal::Invalid(format!("nodegroupName is invalid or longer than {NODEGROUP_NAME_CHARS_MAX}")));
    }
    if spec.subnets.is_empty() {
        return Err(Refusal::Invalid("subnets cannot be empty".into()));
    }
    if spec.node_role.is_empty() {
        return Err(Refusal::Invalid("nodeRole cannot be empty".into()));
    }
    check_scaling(spec.scaling_config)
}

fn check_scaling(scaling: Scaling) -> Result<(), Refusal> {
    let Scaling { min_size, max_size, desired_size } = scaling;
    if max_size < 1 {
        return Err(Refusal::Invalid("maxSize must be at least 1".into()));
    }
    if min_size > desired_size || desired_size > max_size {
        return Err(Refusal::Invalid("minSize ≤ desiredSize ≤ maxSize does not hold".into()));
    }
    if max_size > NODES_PER_GROUP_MAX {
        return Err(Refusal::Limit(format!("a node group has at most {NODES_PER_GROUP_MAX} nodes")));
    }
    Ok(())
}

fn apply(spec: &mut GroupSpec, change: &GroupChange) {
    if let Some(scaling) = change.scaling {
        spec.scaling_config = scaling;
    }
    for key in &change.labels_removed {
        spec.labels.remove(key);
    }
    spec.labels.extend(change.labels_set.clone());
    let replaced = |taint: &Taint| {
        let same = |other: &Taint| other.key == taint.key && other.effect == taint.effect;
        change.taints_removed.iter().any(same) || change.taints_set.iter().any(same)
    };
    spec.taints.retain(|taint| !replaced(taint));
    spec.taints.extend(change.taints_set.clone());
}

#[cfg(test)]
mod tests;
