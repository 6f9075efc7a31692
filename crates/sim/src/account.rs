//! [`CustomerAccount`] over a simulated account: one EKS cluster, node groups, IAM and S3, each thing with its tags.
use crate::nodegroups::{
    Delays, GroupChange, GroupSpec, GroupStatus, LaunchTemplate, NodeGroup as Group, NodeGroups, Refusal, Scaling, UpdateKind, UpdateStatus,
};
use crate::world::{State, World};
use kiven_model::environment::{ConnectionSpec, Environment};
use kiven_model::{Code, Problem};
use kiven_ports::account::{
    Access, AccountNeeds, BackupBucket, BackupRole, ClusterFacts, DATABASE_TAG, Difference, Differences, ENVIRONMENT_TAG, Inventory, NodeGroup,
    NodeGroupState, ORGANIZATION_TAG, OwnedResource, ResourceKind, UpdateState, Wanted, ownership_tags,
};
use kiven_ports::{CustomerAccount, PortError};
use std::collections::{BTreeMap, BTreeSet};

/// How long nodes take.
const DELAYS: Delays = Delays { create_ms: 90_000, update_ms: 40_000, delete_ms: 60_000 };
/// The node label and tag that say whose a group is.
const DATABASE: &str = "kiven.io/database";

type Tags = BTreeMap<String, String>;

/// One account in one region.
pub(crate) struct Cloud {
    environment: Environment,
    pub(crate) connection: ConnectionSpec,
    /// The customer has taken the role's trust away.
    pub(crate) locked: bool,
    pub(crate) groups: NodeGroups,
    /// Nodes that run, by database.
    pub(crate) nodes: BTreeMap<String, u32>,
    pub(crate) roles: BTreeMap<String, (BackupRole, Tags)>,
    pub(crate) buckets: BTreeMap<String, Tags>,
    pub(crate) oidc_providers: BTreeSet<String>,
    /// Kinds of things whose settings somebody has changed by hand.
    pub(crate) meddled: BTreeSet<ResourceKind>,
    tokens: BTreeMap<String, String>,
}

fn refused(code: Code, why: impl Into<String>) -> PortError {
    PortError::Refused(Problem::new(code, why))
}

fn foreign(what: &str) -> PortError {
    refused(Code::FOREIGN_RESOURCE, format!("{what} exists and is not this environment's"))
}

impl From<Refusal> for PortError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InUse(why) => Self::retry("eks", why),
            Refusal::Limit(why) => refused(Code::AWS_QUOTA, why),
            Refusal::NotFound(why) | Refusal::Invalid(why) => refused(Code::AWS_REFUSED, why),
        }
    }
}

impl Cloud {
    pub(crate) fn new(environment: &Environment, connection: &ConnectionSpec) -> Self {
        Self {
            environment: environment.clone(),
            connection: connection.clone(),
            locked: false,
            groups: NodeGroups::new(DELAYS),
            nodes: BTreeMap::new(),
            roles: BTreeMap::new(),
            buckets: BTreeMap::new(),
            oidc_providers: BTreeSet::new(),
            meddled: BTreeSet::new(),
            tokens: BTreeMap::new(),
        }
    }
    pub(crate) fn list(&self) -> Vec<Group> {
        self.groups.clone().list(i64::MIN, &self.environment.spec.eks_cluster_name)
    }
    /// Counts again what runs; to be called whenever a group may have changed.
    pub(crate) fn count_nodes(&mut self) {
        let mut nodes = BTreeMap::new();
        for group in self.list() {
            if let Some(database) = group.spec.labels.get(DATABASE) {
                *nodes.entry(database.clone()).or_insert(0) += group.nodes_running();
            }
        }
        self.nodes = nodes;
    }
    /// The zone of each node of a database, in order: instances stand on them one by one.
    pub(crate) fn zones_of(&self, database: &str) -> Vec<String> {
        let of = |group: &Group| group.spec.labels.get(DATABASE).is_some_and(|label| label == database);
        let running = self.list().into_iter().filter(of);
        let mut zones: Vec<String> = running.flat_map(|group| std::iter::repeat_n(self.zone_of(&group), group.nodes_running() as usize)).collect();
        zones.sort();
        zones
    }
    fn zone_of(&self, group: &Group) -> String {
        let known = self.connection.subnets.iter().find(|(_, subnet)| group.spec.subnets.contains(subnet));
        known.map(|(zone, _)| zone.clone()).unwrap_or_default()
    }
    fn issuer(&self) -> String {
        format!("https://oidc.eks.{}.amazonaws.com/id/0123456789ABCDEF", self.environment.spec.aws_region)
    }
    /// The door: role, external id and every tag of the session.
    fn enter(&self, access: &Access) -> Result<(), PortError> {
        let spec = &self.environment.spec;
        if self.locked {
            return Err(refused(Code::ACCESS_DENIED, "the customer has taken the role's trust away"));
        }
        if access.role_arn != self.connection.role_arn || access.external_id != self.environment.external_id {
            return Err(refused(Code::ACCESS_DENIED, "not authorised to perform sts:AssumeRole"));
        }
        if access.account_id != spec.aws_account_id || access.region != spec.aws_region {
            return Err(refused(Code::ACCESS_DENIED, "the role is of another account or region"));
        }
        if access.organization_id != self.environment.organization_id || access.environment_id != self.environment.id {
            return Err(refused(Code::ACCESS_DENIED, "the session's tags are another environment's"));
        }
        Ok(())
    }
    fn cluster(&self, access: &Access, name: &str) -> Result<(), PortError> {
        self.enter(access)?;
        if name == self.environment.spec.eks_cluster_name { Ok(()) } else { Err(refused(Code::NOT_FOUND, format!("there is no EKS cluster {name}"))) }
    }
    /// A token stands for one input; what real services forget after a while is never forgotten here.
    fn token(&mut self, token: &str, input: &str) -> Result<(), PortError> {
        let known = self.tokens.entry(token.to_owned()).or_insert_with(|| input.to_owned());
        if known == input { Ok(()) } else { Err(refused(Code::AWS_REFUSED, format!("the token {token} was used with other parameters"))) }
    }
    /// A group that must be Kiven's: exactly its tags, none unknown.
    fn owned(&mut self, now: i64, access: &Access, name: &str) -> Result<Option<Group>, PortError> {
        let group = match self.groups.describe(now, &self.environment.spec.eks_cluster_name, name) {
            Ok(group) => group,
            Err(Refusal::NotFound(_)) => return Ok(None),
            Err(refusal) => return Err(refusal.into()),
        };
        let mut tags = group.spec.tags.clone();
        let database = tags.remove("kiven:database");
        let whole = database.is_some() && database.as_ref() == group.spec.labels.get(DATABASE);
        if whole && tags == ownership_tags(access, None) { Ok(Some(group)) } else { Err(foreign(name)) }
    }
    fn resize(&mut self, now: i64, group: &Group, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
        let wanted = scaling(nodes);
        if group.spec.scaling_config == wanted || group.status != GroupStatus::Active {
            return Ok(state(group));
        }
        let change = GroupChange { scaling: Some(wanted), ..GroupChange::default() };
        self.groups.update(now, &group.cluster, &group.spec.name, change, Some(format!("{token}/{nodes}")))?;
        Ok(NodeGroupState::Changing)
    }
    /// Node groups of somebody else; as many as still fit.
    pub(crate) fn strangers_add(&mut self, now: i64, groups: usize) {
        let cluster = self.environment.spec.eks_cluster_name.clone();
        for number in 0..groups {
            let spec = GroupSpec {
                name: format!("theirs-{number}"),
                scaling_config: scaling(1),
                subnets: self.connection.subnets.values().cloned().collect(),
                node_role: format!("arn:aws:iam::{}:role/theirs", self.environment.spec.aws_account_id),
                instance_types: vec!["m6g.large".to_owned()],
                ami_type: None,
                capacity_type: None,
                launch_template: None,
                labels: BTreeMap::new(),
                taints: Vec::new(),
                tags: BTreeMap::new(),
            };
            if self.groups.create(now, &cluster, spec, None).is_err() {
                return;
            }
        }
    }
    fn spec(&self, access: &Access, group: &NodeGroup) -> Result<GroupSpec, PortError> {
        let known =
            self.connection.subnets.values().any(|subnet| *subnet == group.subnet) && group.launch_template == self.connection.launch_template;
        if !known || group.node_types.is_empty() || group.nodes == 0 {
            return Err(refused(Code::AWS_REFUSED, "an unknown subnet or launch template, no node type or no node"));
        }
        if !group.node_role_arn.starts_with(&format!("arn:aws:iam::{}:role/", access.account_id)) {
            return Err(refused(Code::AWS_REFUSED, "a node role of another account"));
        }
        Ok(GroupSpec {
            name: group.name.clone(),
            scaling_config: scaling(group.nodes),
            subnets: vec![group.subnet.clone()],
            node_role: group.node_role_arn.clone(),
            instance_types: group.node_types.clone(),
            ami_type: None,
            capacity_type: None,
            launch_template: Some(LaunchTemplate { id: Some(group.launch_template.clone()), name: None, version: None }),
            labels: [(DATABASE.to_owned(), group.database_id.to_string())].into(),
            taints: Vec::new(),
            tags: ownership_tags(access, Some(&group.database_id)),
        })
    }
}

fn as_wanted(there: &GroupSpec, group: &NodeGroup) -> bool {
    let template = there.launch_template.as_ref().and_then(|template| template.id.as_ref());
    there.subnets == [group.subnet.clone()]
        && there.instance_types == group.node_types
        && template == Some(&group.launch_template)
        && there.labels.get(DATABASE).is_some_and(|label| label == group.database_id.as_str())
}

fn scaling(nodes: u32) -> Scaling {
    Scaling { min_size: nodes, desired_size: nodes, max_size: nodes.max(1) }
}

fn state(group: &Group) -> NodeGroupState {
    match group.status {
        GroupStatus::Active if group.health.is_empty() => NodeGroupState::Active { nodes: group.spec.scaling_config.desired_size },
        GroupStatus::Creating | GroupStatus::Updating | GroupStatus::Deleting => NodeGroupState::Changing,
        GroupStatus::Active | GroupStatus::CreateFailed => {
            // The only thing that is ever wrong with a group here.
            let words: Vec<String> = group.health.iter().map(|issue| format!("{}: {}", Code::NO_CAPACITY, issue.message)).collect();
            NodeGroupState::Degraded(words.join("; "))
        }
    }
}

impl State {
    /// Nodes are taken only from where nothing runs: so many of a group leave enough for every instance.
    fn nodes_taken(&mut self, group: &Group, nodes: u32) {
        let left = |database: &String| self.cloud.nodes.get(database).copied().unwrap_or(0).saturating_sub(nodes);
        // What cannot hibernate and has been retired stops with its nodes.
        let taken = |database: &&String| left(database) < self.kube.ready_of(database) && !self.kube.broken_and_retired(database);
        if let Some(database) = group.spec.labels.get(DATABASE).filter(taken) {
            self.violations.push(format!("nodes of {database} were taken while its pods ran"));
        }
    }
}

impl State {
    /// The nodes of a group are replaced: one group at a time, under a whole database, and never under a primary that could
    /// be elsewhere. What ran on them starts again.
    fn nodes_replaced(&mut self, group: &Group) {
        let Some(database) = group.spec.labels.get(DATABASE).cloned() else { return };
        let (zone, zones) = (self.cloud.zone_of(group), self.cloud.zones_of(&database));
        let other = |other: &Group| other.spec.name != group.spec.name && other.spec.labels.get(DATABASE) == Some(&database);
        if self.cloud.list().iter().any(|known| other(known) && known.status == GroupStatus::Updating) {
            self.violations.push(format!("two node groups of {database} were replaced at once"));
        }
        if !self.kube.is_whole(&database) {
            self.violations.push(format!("nodes of {database} were replaced while an instance was missing"));
        }
        if self.kube.primary_zone(&database, &zones).is_some_and(|primary| primary == zone) && zones.iter().any(|known| *known != zone) {
            self.violations.push(format!("nodes of {database} were replaced under its primary"));
        }
        self.kube.restart(self.now, &database, group.nodes_running());
    }
}

impl CustomerAccount for World {
    async fn access_prove(&self, access: &Access) -> Result<(), PortError> {
        self.effect("sts:AssumeRole", |state| state.cloud.enter(access))
    }
    async fn preflight(&self, access: &Access, needs: &AccountNeeds) -> Result<Vec<Problem>, PortError> {
        self.effect("preflight", |state| {
            state.cloud.cluster(access, &needs.cluster)?;
            let known = needs.launch_template == state.cloud.connection.launch_template && needs.oidc_issuer == state.cloud.issuer();
            let missing = Problem::new(Code::ACCOUNT_INCOMPLETE, "the launch template or the issuer is not there");
            Ok(if known { Vec::new() } else { vec![missing] })
        })
    }
    async fn cluster_get(&self, access: &Access, cluster: &str) -> Result<ClusterFacts, PortError> {
        self.effect("eks:DescribeCluster", |state| {
            state.cloud.cluster(access, cluster)?;
            let arn = format!("arn:aws:eks:{}:{}:cluster/{cluster}", access.region, access.account_id);
            Ok(ClusterFacts { arn, version: "1.34".to_owned(), oidc_issuer: state.cloud.issuer() })
        })
    }
    async fn oidc_provider_ensure(&self, access: &Access, issuer: &str) -> Result<String, PortError> {
        self.effect("iam:CreateOpenIDConnectProvider", |state| {
            state.cloud.enter(access)?;
            if issuer != state.cloud.issuer() {
                return Err(refused(Code::AWS_REFUSED, "an issuer of no cluster"));
            }
            let arn = format!("arn:aws:iam::{}:oidc-provider/{}", access.account_id, issuer.trim_start_matches("https://"));
            state.cloud.oidc_providers.insert(arn.clone());
            Ok(arn)
        })
    }
    async fn node_group_ensure(&self, access: &Access, group: &NodeGroup, token: &str) -> Result<NodeGroupState, PortError> {
        self.effect("eks:CreateNodegroup", |state| {
            let now = state.now;
            state.cloud.cluster(access, &group.cluster)?;
            state.cloud.token(token, &format!("{group:?}"))?;
            let spec = state.cloud.spec(access, group)?;
            if let Some(found) = state.cloud.owned(now, access, &group.name)? {
                if found.spec.labels != spec.labels {
                    return Err(foreign(&group.name));
                }
                if found.status == GroupStatus::CreateFailed {
                    state.cloud.groups.delete(now, &group.cluster, &group.name)?;
                    let words = if let NodeGroupState::Degraded(words) = self::state(&found) { words } else { String::new() };
                    return Ok(NodeGroupState::GivenUp(words));
                }
                return state.cloud.resize(now, &found, group.nodes, token);
            }
            state.cloud.groups.create(now, &group.cluster, spec, Some(token.to_owned()))?;
            Ok(NodeGroupState::Changing)
        })
    }
    async fn node_group_scale(&self, access: &Access, cluster: &str, name: &str, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
        self.effect("eks:UpdateNodegroupConfig", |state| {
            let now = state.now;
            state.cloud.cluster(access, cluster)?;
            state.cloud.token(token, &format!("{cluster}/{name}={nodes}"))?;
            let Some(found) = state.cloud.owned(now, access, name)? else { return Ok(NodeGroupState::Absent) };
            if nodes < found.nodes_running() {
                state.nodes_taken(&found, found.nodes_running() - nodes);
            }
            state.cloud.resize(now, &found, nodes, token)
        })
    }
    async fn node_group_delete(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        self.effect("eks:DeleteNodegroup", |state| {
            let now = state.now;
            state.cloud.cluster(access, cluster)?;
            let Some(found) = state.cloud.owned(now, access, name)? else { return Ok(NodeGroupState::Absent) };
            match found.status {
                GroupStatus::Creating | GroupStatus::Updating | GroupStatus::Deleting => {}
                GroupStatus::Active | GroupStatus::CreateFailed => {
                    state.nodes_taken(&found, found.nodes_running());
                    state.cloud.groups.delete(now, cluster, name)?;
                }
            }
            Ok(NodeGroupState::Changing)
        })
    }
    async fn node_group_list(&self, access: &Access, cluster: &str) -> Result<Vec<String>, PortError> {
        self.effect("eks:ListNodegroups", |state| {
            state.cloud.cluster(access, cluster)?;
            Ok(state.cloud.list().into_iter().map(|group| group.spec.name).collect())
        })
    }
    async fn node_group_get(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        self.effect("eks:DescribeNodegroup", |state| {
            state.cloud.cluster(access, cluster)?;
            let now = state.now;
            Ok(state.cloud.owned(now, access, name)?.map_or(NodeGroupState::Absent, |group| self::state(&group)))
        })
    }
    async fn node_group_release(&self, access: &Access, cluster: &str, name: &str) -> Result<Option<String>, PortError> {
        self.effect("eks:DescribeNodegroup", |state| {
            state.cloud.cluster(access, cluster)?;
            let now = state.now;
            Ok(state.cloud.owned(now, access, name)?.map(|group| group.release))
        })
    }
    async fn node_group_patch(&self, access: &Access, cluster: &str, name: &str, token: &str) -> Result<Option<String>, PortError> {
        self.effect("eks:UpdateNodegroupVersion", |state| {
            state.cloud.cluster(access, cluster)?;
            let now = state.now;
            let Some(found) = state.cloud.owned(now, access, name)? else { return Ok(None) };
            if found.status == GroupStatus::Updating {
                let updates = state.cloud.groups.updates(now, cluster, name)?;
                let running = updates.into_iter().find(|u| u.kind == UpdateKind::VersionUpdate && u.status == UpdateStatus::InProgress);
                return running.map(|update| Some(update.id)).ok_or_else(|| PortError::retry("eks", "another update runs"));
            }
            match state.cloud.groups.patch(now, cluster, name, Some(token.to_owned())) {
                Ok(update) => {
                    if update.status == UpdateStatus::InProgress {
                        state.nodes_replaced(&found);
                    }
                    Ok(Some(update.id))
                }
                Err(Refusal::Invalid(_)) => Ok(None),
                Err(refusal) => Err(refusal.into()),
            }
        })
    }
    async fn node_group_update(&self, access: &Access, cluster: &str, name: &str, update: &str) -> Result<UpdateState, PortError> {
        self.effect("eks:DescribeUpdate", |state| {
            state.cloud.cluster(access, cluster)?;
            let now = state.now;
            match state.cloud.groups.update_describe(now, cluster, name, update)?.status {
                UpdateStatus::InProgress => Ok(UpdateState::Running),
                UpdateStatus::Successful => Ok(UpdateState::Done),
            }
        })
    }
    async fn backup_bucket_ensure(&self, access: &Access, bucket: &BackupBucket) -> Result<(), PortError> {
        self.effect("s3:CreateBucket", |state| {
            state.cloud.enter(access)?;
            if !bucket.name.starts_with(&format!("kiven-backups-{}-{}-", access.account_id, access.region)) || bucket.noncurrent_days == 0 {
                return Err(refused(Code::AWS_REFUSED, "not the name of a backup bucket, or nothing would be kept"));
            }
            let tags = ownership_tags(access, None);
            if *state.cloud.buckets.entry(bucket.name.clone()).or_insert_with(|| tags.clone()) == tags { Ok(()) } else { Err(foreign(&bucket.name)) }
        })
    }
    async fn backup_role_ensure(&self, access: &Access, role: &BackupRole) -> Result<String, PortError> {
        self.effect("iam:CreateRole", |state| {
            state.cloud.enter(access)?;
            let limited = role.prefix.starts_with(role.database_id.as_str()) && role.service_account.contains(':');
            if !limited || !state.cloud.oidc_providers.contains(&role.oidc_provider_arn) || role.oidc_issuer != state.cloud.issuer() {
                return Err(refused(Code::AWS_REFUSED, "a role that is not limited to its database, or of an unknown provider"));
            }
            let made = (role.clone(), ownership_tags(access, Some(&role.database_id)));
            if *state.cloud.roles.entry(role.name.clone()).or_insert_with(|| made.clone()) != made {
                return Err(foreign(&role.name));
            }
            Ok(format!("arn:aws:iam::{}:role/{}", access.account_id, role.name))
        })
    }
    async fn inventory(&self, access: &Access, cluster: &str) -> Result<Inventory, PortError> {
        self.effect("inventory", |state| {
            state.cloud.cluster(access, cluster)?;
            let ours = |tags: &Tags| tags.get(ORGANIZATION_TAG).is_some_and(|organization| organization == access.organization_id.as_str());
            let one = |kind, name: &str, tags: &Tags| OwnedResource {
                kind,
                name: name.to_owned(),
                environment_id: tags.get(ENVIRONMENT_TAG).cloned().unwrap_or_default(),
                database_id: tags.get(DATABASE_TAG).cloned(),
                nodes: 0,
                node_types: Vec::new(),
            };
            let groups = state.cloud.list().into_iter().filter(|group| ours(&group.spec.tags)).map(|group| OwnedResource {
                nodes: group.spec.scaling_config.desired_size,
                node_types: group.spec.instance_types.clone(),
                ..one(ResourceKind::NodeGroup, &group.spec.name, &group.spec.tags)
            });
            let roles =
                state.cloud.roles.iter().filter(|(_, (_, tags))| ours(tags)).map(|(name, (_, tags))| one(ResourceKind::BackupRole, name, tags));
            let buckets = state.cloud.buckets.iter().filter(|(_, tags)| ours(tags)).map(|(name, tags)| one(ResourceKind::BackupBucket, name, tags));
            let mut resources: Vec<OwnedResource> = groups.chain(roles).chain(buckets).collect();
            resources.sort();
            Ok(Inventory { resources, unseen: Vec::new() })
        })
    }
    async fn differences(&self, access: &Access, wanted: &Wanted) -> Result<Differences, PortError> {
        self.effect("differences", |state| {
            state.cloud.enter(access)?;
            let groups = state.cloud.list();
            let mut found = Vec::new();
            let mut look = |kind, name: &str, same: bool| {
                if !same || state.cloud.meddled.contains(&kind) {
                    found.push(Difference { kind, name: name.to_owned(), what: "it is otherwise".to_owned() });
                }
            };
            for group in &wanted.node_groups {
                if let Some(there) = groups.iter().find(|there| there.spec.name == group.name) {
                    look(ResourceKind::NodeGroup, &group.name, as_wanted(&there.spec, group));
                }
            }
            for role in &wanted.roles {
                if let Some((there, _)) = state.cloud.roles.get(&role.name) {
                    look(ResourceKind::BackupRole, &role.name, there == role);
                }
            }
            if let Some(bucket) = wanted.bucket.as_ref().filter(|bucket| state.cloud.buckets.contains_key(&bucket.name)) {
                look(ResourceKind::BackupBucket, &bucket.name, true);
            }
            let provider = state.cloud.oidc_providers.contains(&wanted.oidc_provider_arn) && wanted.oidc_issuer == state.cloud.issuer();
            look(ResourceKind::OidcProvider, &wanted.oidc_provider_arn, provider);
            Ok(Differences { found, unseen: Vec::new() })
        })
    }
    async fn backup_role_delete(&self, access: &Access, name: &str) -> Result<(), PortError> {
        self.effect("iam:DeleteRole", |state| {
            state.cloud.enter(access)?;
            let Some((role, tags)) = state.cloud.roles.get(name) else { return Ok(()) };
            if *tags != ownership_tags(access, Some(&role.database_id)) {
                return Err(foreign(name));
            }
            state.cloud.roles.remove(name);
            Ok(())
        })
    }
}
