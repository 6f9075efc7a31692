//! An environment: one connected EKS cluster.
use crate::enrolment::AgentEnrolment;
use crate::report::AgentFacts;
use crate::upgrade::Upgrades;
use crate::{EnvironmentId, OperationId, OrganizationId, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentSpec {
    /// Unique in the organization.
    pub name: String,
    /// Twelve digits.
    pub aws_account_id: String,
    /// As AWS writes it: `eu-west-1`.
    pub aws_region: String,
    /// The EKS cluster's name.
    pub eks_cluster_name: String,
    /// What its agent proves itself with; nothing stands here in records where it is the cluster's issuer.
    #[serde(default, skip_serializing_if = "AgentEnrolment::is_default")]
    pub agent_enrolment: AgentEnrolment,
}

/// How Kiven gets into the customer's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionSpec {
    /// The role that Kiven assumes.
    pub role_arn: String,
    /// Subnet by availability zone: databases get a node group in each.
    pub subnets: BTreeMap<String, String>,
    /// The launch template of the node groups (id or name).
    pub launch_template: String,
    /// The customer's KMS key for backups, by its ARN; S3's own key when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_kms_key_arn: Option<String>,
    /// Managed node groups that AWS allows the EKS cluster, where that is not 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_group_quota: Option<u32>,
}

/// Managed node groups that AWS allows an EKS cluster as long as nobody has asked for more
/// (Service Quotas, Amazon EKS: "Managed node groups per cluster").
pub const NODE_GROUP_QUOTA: u32 = 30;
/// Highest quota that is believed.
pub const NODE_GROUP_QUOTA_MAX: u32 = 1_000;

/// Where an environment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentStatus {
    /// Known, not connected.
    Created,
    /// A connect operation runs.
    Connecting,
    /// The role works and the agent has reported.
    Connected,
    /// The role no longer works.
    AccessLost,
    /// The last connect failed and was unwound.
    Failed,
    /// A disconnect operation runs.
    Disconnecting,
}

/// What becomes of an environment's databases when it is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Farewell {
    /// They run on as the customer's own: Kiven ends its records of them and changes nothing else.
    Release,
    /// Each is deleted with its own deletion settings; the environment is disconnected when the last grace is over.
    Destroy,
}

impl Farewell {
    /// The word as customers write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Destroy => "destroy",
        }
    }
}

impl EnvironmentStatus {
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::AccessLost => "access_lost",
            Self::Failed => "failed",
            Self::Disconnecting => "disconnecting",
        }
    }
}

/// What connecting found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The EKS cluster's ARN.
    pub cluster_arn: String,
    /// The issuer of its ServiceAccount tokens.
    pub oidc_issuer: String,
    /// The IAM OIDC provider of that issuer.
    pub oidc_provider_arn: String,
    /// What the agent said of itself.
    pub agent: AgentFacts,
}

/// The record of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Its id, for life.
    pub id: EnvironmentId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What was asked for.
    pub spec: EnvironmentSpec,
    /// What the customer's role must demand; random, not secret towards the customer.
    pub external_id: String,
    /// How Kiven gets in, once said.
    pub connection: Option<ConnectionSpec>,
    /// What connecting found out.
    pub connected: Option<Connected>,
    /// Where it is in its life.
    pub status: EnvironmentStatus,
    /// The operation that runs or ran last.
    pub operation_id: Option<OperationId>,
    /// What went wrong, while it needs attention.
    pub problem: Option<Problem>,
    /// When it was last tried whether an access that was lost has come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_tried_at: Option<Timestamp>,
    /// Operator and plugin: nothing stands here in records where nothing was said or done.
    #[serde(default, skip_serializing_if = "Upgrades::is_default")]
    pub upgrades: Upgrades,
    /// When it was made.
    pub created_at: Timestamp,
    /// Fences writes: each adds one.
    pub version: u64,
}

impl Environment {
    /// The PostgreSQL majors on offer here, newest first; empty before the agent has reported.
    #[must_use]
    pub fn postgres_versions(&self) -> &[u32] {
        self.connected.as_ref().map_or(&[], |connected| &connected.agent.postgres_versions)
    }
}
