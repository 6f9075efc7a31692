//! What an agent says: facts about itself, observations of databases, answers to commands.
use crate::command::CommandOutcome;
use crate::database::Published;
use crate::event::DatabaseEvent;
use crate::logs::SealedBatch;
use crate::statistics::InstanceStatistics;
use crate::{DatabaseId, EnvironmentId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume that holds a database's data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Volume {
    /// PersistentVolumeClaim.
    pub claim: String,
    /// UID of the claim: a claim of the same name with another UID is another claim.
    pub claim_uid: String,
    /// PersistentVolume.
    pub volume: String,
}

/// What an agent says of itself and its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// The agent's version.
    pub agent_version: String,
    /// Kubernetes' version.
    pub kubernetes_version: String,
    /// The operator's version; `None` when there is none ready.
    pub operator_version: Option<String>,
    /// The backup plugin's version; `None` when there is none ready in the agent's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_version: Option<String>,
    /// Whether Kiven's installer brought operator and plugin, so that they are Kiven's to move.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub upgradable: bool,
    /// Whether the StorageClass for databases is there.
    pub storage_class: bool,
    /// The PostgreSQL majors whose images it may use, newest first.
    pub postgres_versions: Vec<u32>,
    /// Volumes of the databases' namespace whose claim or Cluster is gone, at most [`LOOSE_VOLUMES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loose_volumes: Vec<LooseVolume>,
    /// What the chart's preflight found in the cluster, if it has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Box<crate::preflight::ClusterFacts>>,
}

/// Most volumes without claim or Cluster that an agent names.
pub const LOOSE_VOLUMES_MAX: usize = 100;

/// A volume of the databases' namespace that nothing in the cluster uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LooseVolume {
    /// The PersistentVolume.
    pub volume: String,
    /// The claim that it was made for.
    pub claim: String,
    /// Its size, in GB as its capacity says.
    pub gb: u32,
}

/// What an agent sees of one database's generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Which database, from the label `kiven.io/database`.
    pub database_id: DatabaseId,
    /// The CNPG Cluster's name.
    pub cluster: String,
    /// Whether the Cluster object exists.
    pub exists: bool,
    /// CNPG's phase, as it says it.
    pub phase: String,
    /// Instances asked for.
    pub instances: u32,
    /// Instances that answer.
    pub ready_instances: u32,
    /// The primary's pod.
    pub primary: Option<String>,
    /// PostgreSQL's system identifier.
    pub system_identifier: Option<String>,
    /// The condition `cnpg.io/hibernation`.
    pub hibernated: bool,
    /// The condition `ContinuousArchiving`.
    pub archiving: bool,
    /// Pooler instances that are ready.
    pub pooler_ready: u32,
    /// Pods of the database that exist, pooler included.
    pub pods: u32,
    /// Volumes that exist.
    pub volumes: Vec<Volume>,
    /// Services that lead to something published outside of the cluster.
    pub published: BTreeMap<String, Published>,
    /// Whether every instance has the resources, the node class and at least the volume that the Cluster asks for.
    #[serde(default)]
    pub current: bool,
    /// Instances by zone, as far as their nodes are known.
    #[serde(default)]
    pub zones: BTreeMap<String, u32>,
    /// Whether a base backup is under way.
    #[serde(default)]
    pub backup_running: bool,
    /// The primary's zone, as far as its node is known.
    #[serde(default)]
    pub primary_zone: Option<String>,
    /// When the server certificate ends, as far as the operator says.
    #[serde(default)]
    pub certificate_ends_at: Option<Timestamp>,
    /// The base backup of the provisioning: whether one is completed.
    pub backup_completed: bool,
}

/// CNPG's phase for a cluster that is as it should be. It stays so while hibernated.
pub const PHASE_HEALTHY: &str = "Cluster in healthy state";

impl Observation {
    /// Whether every instance answers.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.exists && !self.hibernated && self.phase == PHASE_HEALTHY && self.instances > 0 && self.ready_instances == self.instances
    }
    /// Whether so many instances answer, each of them as the Cluster asks for.
    #[must_use]
    pub fn whole(&self, instances: u32) -> bool {
        self.healthy() && self.current && self.instances == instances
    }
}

/// Largest report, in bytes of its JSON: what a queue's message can carry, with room for its envelope.
pub const REPORT_BYTES_MAX: usize = 192 * 1024;

/// Most kinds of lines in one report of logs.
pub const LOG_KINDS_MAX: usize = 100;

/// What PostgreSQL logged in about a minute, on all instances of a database's generation. No text of a customer's is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCounts {
    /// Which database.
    pub database_id: DatabaseId,
    /// The CNPG Cluster's name.
    pub cluster: String,
    /// At most [`LOG_KINDS_MAX`], the first of the minute.
    pub kinds: Vec<LogCount>,
    /// Lines that were not read or counted by kind, because there were too many.
    pub uncounted: u64,
}

/// Lines of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCount {
    /// PostgreSQL's severity.
    pub severity: String,
    /// The SQLSTATE; `00000` for none.
    pub sqlstate: String,
    /// The message in words of PostgreSQL's own; `?` for whatever else stood there.
    pub template: String,
    /// How many.
    pub count: u64,
}

/// One report: numbered per agent session, acknowledged by number, repeated until it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whose agent.
    pub environment_id: EnvironmentId,
    /// The agent's session; a later one is greater.
    pub session: u64,
    /// From 1 in each session.
    pub sequence: u64,
    /// When the agent saw it.
    pub at: Timestamp,
    /// What.
    pub body: ReportBody,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportBody {
    /// Itself, at the start of a session and every 30 s.
    Facts(AgentFacts),
    /// A database, whenever it has changed and every 30 s.
    Observed(Observation),
    /// The end of a command.
    Answered {
        /// The command's id.
        command_id: String,
        /// How it ended.
        outcome: CommandOutcome,
    },
    /// Something happened to a database, at the moment it was seen.
    Event(DatabaseEvent),
    /// What PostgreSQL logged; the first to be dropped when the buffer is full.
    Logged(LogCounts),
    /// Lines of a log, sealed to the reader of a session; dropped as [`ReportBody::Logged`] is.
    Sealed(SealedBatch),
    /// What one instance counts; likewise, and an older one that has not left yet gives way to a newer one. It goes to the archive of
    /// statistics and into no queue.
    Statistics(Box<InstanceStatistics>),
    /// Reports that were dropped because the buffer was full.
    Dropped {
        /// How many.
        count: u64,
        /// How many of them were events: those go after everything that is said again anyway.
        #[serde(default)]
        events: u64,
    },
}

/// The last word of an agent, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Whose agent.
    pub environment_id: EnvironmentId,
    /// Its session.
    pub session: u64,
    /// When it was last heard.
    pub seen_at: Timestamp,
    /// What it said of itself.
    pub facts: AgentFacts,
}
