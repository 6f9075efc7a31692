//! What a look at a customer's account gives, as answered: drift of what Kiven made, and what nothing explains any more.
use crate::environment::EnvironmentStatus;
use crate::preflight::{Finding, Isolation};
use crate::{DatabaseId, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What Kiven made in an account and nothing explains any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrphansView {
    /// When the account was looked at.
    pub checked_at: Timestamp,
    /// Each orphan; none is good.
    pub orphans: Vec<OrphanView>,
    /// What those whose price is known cost a month, in USD.
    pub usd_per_month: f64,
    /// Kinds that could not be listed, with the reason: orphans of these would not be seen.
    pub unseen: Vec<String>,
}

/// One thing that nothing explains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrphanView {
    /// `node_group`, `backup_role`, `backup_bucket` or `volume`.
    pub kind: String,
    /// Its name in the account, or of a volume in the cluster.
    pub name: String,
    /// The environment that its tag names.
    pub environment_id: String,
    /// The database that its tag names.
    pub database_id: Option<String>,
    /// Why it is an orphan, in words.
    pub why: String,
    /// What it costs a month at most, in USD; `None` where it depends on its content.
    pub usd_per_month: Option<f64>,
}

/// An environment as it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckView {
    /// When it was looked at.
    pub checked_at: Timestamp,
    /// The environment's status now: `access_lost` is set when the role does not open, and taken back when it does.
    pub status: EnvironmentStatus,
    /// Why the role does not open.
    pub problem: Option<Problem>,
    /// When its agent was last heard.
    pub agent_seen_at: Option<Timestamp>,
    /// What is otherwise than Kiven made it; none is good. Empty as well while the role does not open.
    pub drift: Vec<DriftView>,
    /// Kinds that could not be listed, with the reason: drift of these would not be seen.
    pub unseen: Vec<String>,
    /// What the preflight in the cluster means, the gravest first; none is good.
    #[serde(default)]
    pub cluster: Vec<Finding>,
    /// When the cluster was looked at: at each upgrade of the agent's chart. `None` where it never was.
    #[serde(default)]
    pub cluster_checked_at: Option<Timestamp>,
    /// `enforced`, `not_enforced` or `unknown`: whether network policies keep other pods from databases.
    #[serde(default = "unknown")]
    pub network_isolation: String,
}

fn unknown() -> String {
    Isolation::Unknown.as_str().to_owned()
}

/// One thing that is otherwise than Kiven made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DriftView {
    /// `node_group`, `backup_role`, `backup_bucket` or `oidc_provider`.
    pub kind: String,
    /// The database that it is for; `None` for what is the environment's.
    pub database_id: Option<DatabaseId>,
    /// What is otherwise, in words.
    pub what: String,
}
