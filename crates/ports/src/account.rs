//! A customer's AWS account: ensure-shaped, tagged, limited to what Kiven made.
use crate::PortError;
use kiven_model::{DatabaseId, EnvironmentId, OperationId, OrganizationId, Problem};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;

/// How to get into an account, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The role to assume.
    pub role_arn: String,
    /// What its trust policy demands.
    pub external_id: String,
    /// Twelve digits.
    pub account_id: String,
    /// The region.
    pub region: String,
    /// Session tag.
    pub organization_id: OrganizationId,
    /// Session tag.
    pub environment_id: EnvironmentId,
    /// In the session's name.
    pub operation_id: OperationId,
}

/// An EKS cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its ARN.
    pub arn: String,
    /// Kubernetes' version.
    pub version: String,
    /// The issuer of its ServiceAccount tokens.
    pub oidc_issuer: String,
}

/// A node group of one database in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGroup {
    /// `kiven-{id10}-{zone}-{node type}`.
    pub name: String,
    /// The EKS cluster.
    pub cluster: String,
    /// Whose: tag and node label `kiven.io/database`.
    pub database_id: DatabaseId,
    /// The class: node label `kiven.io/node-type`.
    pub node_type: String,
    /// Equal-sized types in order of preference.
    pub node_types: Vec<String>,
    /// The one subnet, in the one zone.
    pub subnet: String,
    /// The launch template, id or name.
    pub launch_template: String,
    /// The nodes' role.
    pub node_role_arn: String,
    /// Nodes while running.
    pub nodes: u32,
}

/// Where a node group is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeGroupState {
    /// As asked for.
    Active {
        /// Nodes wanted.
        nodes: u32,
    },
    /// On its way; look again.
    Changing,
    /// Something is wrong with it, in EKS' words.
    Degraded(String),
    /// EKS gave its creation up, in its words: it is being deleted, and whoever asks again with another token gets another.
    GivenUp(String),
    /// There is none.
    Absent,
}

/// Where an update of a node group is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// Under way.
    Running,
    /// Every node is a new one.
    Done,
    /// EKS gave up; its words.
    Failed(String),
}

/// The backup bucket of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupBucket {
    /// `kiven-backups-{account}-{region}-{hash}`.
    pub name: String,
    /// Days that superseded versions are kept.
    pub noncurrent_days: u32,
    /// The customer's key that objects are encrypted with; S3's own when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
}

/// The IAM role of one generation's backups (IRSA).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRole {
    /// Its name.
    pub name: String,
    /// Tag.
    pub database_id: DatabaseId,
    /// The environment's OIDC provider.
    pub oidc_provider_arn: String,
    /// Its issuer.
    pub oidc_issuer: String,
    /// The one ServiceAccount that may use it: `namespace:name`.
    pub service_account: String,
    /// The bucket.
    pub bucket: String,
    /// The one prefix.
    pub prefix: String,
    /// The customer's key that objects are encrypted with; S3's own when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
}

/// The kinds of things that Kiven makes or needs in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// A managed node group.
    NodeGroup,
    /// A generation's IAM role.
    BackupRole,
    /// An environment's bucket.
    BackupBucket,
    /// The IAM provider of the EKS cluster's issuer; not always Kiven's, so it is looked at and never listed.
    OidcProvider,
}

impl ResourceKind {
    /// The kinds that an inventory lists.
    pub const LISTED: [Self; 3] = [Self::NodeGroup, Self::BackupRole, Self::BackupBucket];
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeGroup => "node_group",
            Self::BackupRole => "backup_role",
            Self::BackupBucket => "backup_bucket",
            Self::OidcProvider => "oidc_provider",
        }
    }
}

/// One thing in the account that carries the organization's tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnedResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// The environment that it was made for, from its tag.
    pub environment_id: String,
    /// The database that it was made for, from its tag.
    pub database_id: Option<String>,
    /// Of a node group: how many nodes are wanted.
    pub nodes: u32,
    /// Of a node group: the types that its nodes may have.
    pub node_types: Vec<String>,
}

/// What is in an account of what Kiven makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What carries the organization's tags, whatever its environment, sorted.
    pub resources: Vec<OwnedResource>,
    /// The kinds that could not be listed, each with the reason: older roles of customers do not allow it.
    pub unseen: Vec<(ResourceKind, String)>,
}

/// What an account should hold of an environment, as Kiven would make it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The EKS cluster's token issuer.
    pub oidc_issuer: String,
    /// Its IAM provider.
    pub oidc_provider_arn: String,
    /// The bucket, once there is one.
    pub bucket: Option<BackupBucket>,
    /// The roles of generations.
    pub roles: Vec<BackupRole>,
    /// The node groups; how many nodes they have is not compared.
    pub node_groups: Vec<NodeGroup>,
}

/// One thing that is there and otherwise than Kiven would make it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name, or ARN.
    pub name: String,
    /// What is otherwise, in words.
    pub what: String,
}

/// How an account differs from what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Each difference. What is not there at all is none, but for the OIDC provider.
    pub found: Vec<Difference>,
    /// The kinds that could not be looked at, each with the reason: older roles of customers do not allow it.
    pub unseen: Vec<(ResourceKind, String)>,
}

/// Most things of one kind that an inventory reads.
pub const INVENTORY_MAX: usize = 500;

/// What the databases of an environment will need in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountNeeds {
    /// The EKS cluster.
    pub cluster: String,
    /// The issuer of its ServiceAccount tokens.
    pub oidc_issuer: String,
    /// The nodes' role.
    pub node_role_arn: String,
    /// The launch template, id or name.
    pub launch_template: String,
}

/// A customer's account. Every method adopts what Kiven made before and refuses what it did not make.
pub trait CustomerAccount: Send + Sync {
    /// Assumes the role with the external id, and shows that it cannot be assumed without.
    fn access_prove(&self, access: &Access) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Looks for everything that databases will need, and names all that is missing in one go. Changes nothing.
    fn preflight(&self, access: &Access, needs: &AccountNeeds) -> impl Future<Output = Result<Vec<Problem>, PortError>> + Send;
    /// Reads an EKS cluster.
    fn cluster_get(&self, access: &Access, cluster: &str) -> impl Future<Output = Result<ClusterFacts, PortError>> + Send;
    /// The IAM OIDC provider of an issuer: used when it is there, made when not, never deleted. Answers its ARN.
    fn oidc_provider_ensure(&self, access: &Access, issuer: &str) -> impl Future<Output = Result<String, PortError>> + Send;
    /// Makes a node group or finds it, with min = desired = max = nodes. Answers where it is. One whose creation was given up is
    /// deleted first.
    fn node_group_ensure(&self, access: &Access, group: &NodeGroup, token: &str) -> impl Future<Output = Result<NodeGroupState, PortError>> + Send;
    /// Sets the number of nodes: n > 0: min = desired = max = n; 0: min 0, desired 0, max 1.
    fn node_group_scale(
        &self,
        access: &Access,
        cluster: &str,
        name: &str,
        nodes: u32,
        token: &str,
    ) -> impl Future<Output = Result<NodeGroupState, PortError>> + Send;
    /// Deletes a node group; `Absent` when it is gone.
    fn node_group_delete(&self, access: &Access, cluster: &str, name: &str) -> impl Future<Output = Result<NodeGroupState, PortError>> + Send;
    /// The names of every node group of the EKS cluster, whoever made it: all of them count against AWS' quota. Changes nothing.
    fn node_group_list(&self, access: &Access, cluster: &str) -> impl Future<Output = Result<Vec<String>, PortError>> + Send;
    /// Where a node group is.
    fn node_group_get(&self, access: &Access, cluster: &str, name: &str) -> impl Future<Output = Result<NodeGroupState, PortError>> + Send;
    /// The release of the machine image that a group's nodes start from, such as `1.34.1-20260301`; `None` when there is no group.
    fn node_group_release(&self, access: &Access, cluster: &str, name: &str) -> impl Future<Output = Result<Option<String>, PortError>> + Send;
    /// Begins to replace a group's nodes, one by one, by nodes of the newest release for the cluster's Kubernetes. Answers the
    /// update's id, the same for the same token and for an update that runs already; `None` when there is nothing newer.
    fn node_group_patch(
        &self,
        access: &Access,
        cluster: &str,
        name: &str,
        token: &str,
    ) -> impl Future<Output = Result<Option<String>, PortError>> + Send;
    /// Where an update is.
    fn node_group_update(
        &self,
        access: &Access,
        cluster: &str,
        name: &str,
        update: &str,
    ) -> impl Future<Output = Result<UpdateState, PortError>> + Send;
    /// Makes the bucket or finds it: encrypted, versioned, closed to the public, TLS only, tagged.
    fn backup_bucket_ensure(&self, access: &Access, bucket: &BackupBucket) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Makes the role or finds it, limited to its ServiceAccount and prefix. Answers its ARN.
    fn backup_role_ensure(&self, access: &Access, role: &BackupRole) -> impl Future<Output = Result<String, PortError>> + Send;
    /// Deletes a role that Kiven made; nothing happens when there is none.
    fn backup_role_delete(&self, access: &Access, name: &str) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Lists what carries the organization's tags: node groups of the cluster, roles and buckets. Changes nothing; takes seconds.
    fn inventory(&self, access: &Access, cluster: &str) -> impl Future<Output = Result<Inventory, PortError>> + Send;
    /// Compares what is there with what is wanted: taints, labels, places and types of node groups, trust, boundary and policy of
    /// roles, every setting of the bucket, the OIDC provider. Changes nothing; takes seconds.
    fn differences(&self, access: &Access, wanted: &Wanted) -> impl Future<Output = Result<Differences, PortError>> + Send;
}

/// The tag that names the organization.
pub const ORGANIZATION_TAG: &str = "kiven:organization";
/// The tag that names the environment.
pub const ENVIRONMENT_TAG: &str = "kiven:environment";
/// The tag that names the database.
pub const DATABASE_TAG: &str = "kiven:database";

/// The tags that say a resource is Kiven's.
#[must_use]
pub fn ownership_tags(access: &Access, database: Option<&DatabaseId>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::from([
        (ORGANIZATION_TAG.to_owned(), access.organization_id.to_string()),
        (ENVIRONMENT_TAG.to_owned(), access.environment_id.to_string()),
    ]);
    if let Some(database) = database {
        tags.insert(DATABASE_TAG.to_owned(), database.to_string());
    }
    tags
}
