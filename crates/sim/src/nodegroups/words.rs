//! The values of node groups, in the words of the EKS API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a node group is in its life, in the words of EKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupStatus {
    /// Nodes are being started for the first time.
    Creating,
    /// Usable; what it asks for may still be short, see its health.
    Active,
    /// A configuration change is under way.
    Updating,
    /// Nodes are being drained and removed.
    Deleting,
    /// The first nodes never came.
    CreateFailed,
}

impl GroupStatus {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
            Self::CreateFailed => "CREATE_FAILED",
        }
    }
}

/// The size a node group asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Fewest nodes.
    pub min_size: u32,
    /// Most nodes; EKS wants at least one even for an empty group.
    pub max_size: u32,
    /// Nodes wanted now.
    pub desired_size: u32,
}

/// A Kubernetes taint in the words of the EKS API (`NO_SCHEDULE`, …).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Taint key.
    pub key: String,
    /// Taint value.
    #[serde(default)]
    pub value: String,
    /// `NO_SCHEDULE`, `NO_EXECUTE` or `PREFER_NO_SCHEDULE`.
    pub effect: String,
}

/// A launch template reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// Template id (`lt-…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Template name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Template version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a create call asks for; also the part of a group that a token replay must repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSpec {
    /// Name, unique within the cluster.
    #[serde(rename = "nodegroupName")]
    pub name: String,
    /// The requested size; EKS defaults to 2/1/2, we ask for it explicitly.
    pub scaling_config: Scaling,
    /// Subnets the nodes live in.
    pub subnets: Vec<String>,
    /// The nodes' IAM role.
    pub node_role: String,
    /// Instance types, in order of preference.
    #[serde(default)]
    pub instance_types: Vec<String>,
    /// AMI family.
    #[serde(default)]
    pub ami_type: Option<String>,
    /// `ON_DEMAND` or `SPOT`.
    #[serde(default)]
    pub capacity_type: Option<String>,
    /// Launch template.
    #[serde(default)]
    pub launch_template: Option<LaunchTemplate>,
    /// Kubernetes labels of the nodes.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints of the nodes.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// AWS tags of the group.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A change of an existing group; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange {
    /// New size.
    pub scaling: Option<Scaling>,
    /// Labels to set.
    pub labels_set: BTreeMap<String, String>,
    /// Label keys to remove.
    pub labels_removed: Vec<String>,
    /// Taints to set (by key and effect).
    pub taints_set: Vec<Taint>,
    /// Taints to remove.
    pub taints_removed: Vec<Taint>,
}

/// What an update is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateKind {
    /// Size, labels, taints.
    #[default]
    ConfigUpdate,
    /// Another release of the machine image.
    VersionUpdate,
}

impl UpdateKind {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigUpdate => "ConfigUpdate",
            Self::VersionUpdate => "VersionUpdate",
        }
    }
}

/// Why a group is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthIssue {
    /// EKS issue code.
    pub code: String,
    /// For people.
    pub message: String,
}

/// The state of one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateStatus {
    /// Under way.
    InProgress,
    /// Done.
    Successful,
}

impl UpdateStatus {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Successful => "Successful",
        }
    }
}
