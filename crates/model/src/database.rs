//! A database: what was asked for, and the record of what is.
use crate::change::{Change, change};
use crate::lifecycle::DatabaseStatus;
use crate::maintenance::{MaintenanceDecision, MaintenanceWindow};
use crate::names::{DatabaseName, GenerationNames};
use crate::plan::PlanName;
use crate::report::Volume;
use crate::{DatabaseId, EnvironmentId, OperationId, OrganizationId, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether PostgreSQL runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// PostgreSQL answers.
    On,
    /// No PostgreSQL process, no node; volumes, address and credentials stay.
    Off,
}

/// How PgBouncer hands out server connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PoolMode {
    /// For one transaction.
    Transaction,
    /// For the client's whole session.
    Session,
}

/// PgBouncer in front of the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PoolerSpec {
    /// Whether there is one.
    pub enabled: bool,
    /// How server connections are handed out.
    pub mode: PoolMode,
    /// Server connections per database and user (`default_pool_size`); from the plan when not given.
    pub pool_size: Option<u32>,
}

/// Backups of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupSpec {
    /// The recovery window in days.
    pub backup_retention_days: u32,
    /// The most that may be lost when everything is lost, in minutes; half of it is `archive_timeout`.
    pub rpo_minutes: u32,
}

/// What happens when the database is destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeletionSpec {
    /// Whether a last backup is taken first.
    pub final_backup: bool,
    /// Days during which the volumes stay and the deletion can be taken back; 0 is a consent to lose them at once.
    pub grace_days: u32,
}

/// The customer's own size, for plan `custom`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CustomSize {
    /// CPU limit in cores.
    pub vcpu: u32,
    /// PostgreSQL's memory in GiB.
    pub memory_gib: u32,
}

/// What was asked for, with every default filled in. Only [`crate::request`] makes a [`crate::Valid`] one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DatabaseSpec {
    /// Unique in the environment.
    pub name: DatabaseName,
    /// Where it lives.
    pub environment_id: EnvironmentId,
    /// The plan.
    pub plan: PlanName,
    /// The size, for plan `custom` only.
    pub custom: Option<CustomSize>,
    /// PostgreSQL's major version.
    pub postgres_version: u32,
    /// Volume size of each instance in GB.
    pub storage_gb: u32,
    /// Instances, the primary included.
    pub instances: u8,
    /// PostgreSQL settings on top of the plan's.
    pub parameters: BTreeMap<String, String>,
    /// PgBouncer.
    pub pooler: PoolerSpec,
    /// Backups.
    pub backup: BackupSpec,
    /// Namespaces whose pods may connect.
    pub allowed_namespaces: Vec<String>,
    /// Extensions made in the initial database.
    pub extensions: Vec<String>,
    /// Wanted power.
    pub power: Power,
    /// While on, every deletion is refused.
    pub deletion_protection: bool,
    /// What a deletion does.
    pub deletion: DeletionSpec,
    /// When Kiven may start maintenance by itself; nothing stands here in records that are older than maintenance windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<MaintenanceWindow>,
}

impl DatabaseSpec {
    /// When Kiven may start maintenance by itself.
    #[must_use]
    pub fn maintenance(&self) -> MaintenanceWindow {
        self.maintenance_window.clone().unwrap_or_default()
    }
}

/// What is known of a running database's addresses and identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The certificate authority that clients verify, PEM.
    pub ca_certificate: String,
    /// PostgreSQL's system identifier: the same for as long as it is the same data.
    pub system_identifier: String,
    /// Volumes that hold the data.
    pub volumes: Vec<Volume>,
    /// Where the Services are published outside of the cluster, by Service name, if they are.
    #[serde(default)]
    pub published: BTreeMap<String, Published>,
}

/// An address outside of the cluster that leads to a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Published {
    /// IP address.
    pub address: String,
    /// TCP port.
    pub port: u16,
}

/// Nodes, and so instances, by zone.
pub type Placement = BTreeMap<String, u32>;

/// The record of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its id, for life.
    pub id: DatabaseId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What was asked for.
    pub spec: DatabaseSpec,
    /// What the cluster was last brought to, once provisioned; while paused `spec` may be ahead of it.
    #[serde(default)]
    pub applied: Option<DatabaseSpec>,
    /// The operation that brought it there.
    #[serde(default)]
    pub revision: Option<OperationId>,
    /// Nodes by zone while running, where they are not as they were first dealt out.
    #[serde(default)]
    pub placement: Option<Placement>,
    /// When the volumes last grew.
    #[serde(default)]
    pub storage_grown_at: Option<Timestamp>,
    /// The generation that stands behind the address, from 1.
    pub generation: u32,
    /// The operation that provisioned it.
    pub made_by: Option<OperationId>,
    /// Where it is in its life.
    pub status: DatabaseStatus,
    /// The operation that runs or ran last.
    pub operation_id: Option<OperationId>,
    /// What went wrong, while it needs attention.
    pub problem: Option<Problem>,
    /// Set once it has been provisioned.
    pub connection: Option<Connection>,
    /// Whether a client has read it by id since its creation; an unclaimed one may be adopted by a create.
    pub claimed: bool,
    /// When the grace ends, while there is one.
    pub delete_after: Option<Timestamp>,
    /// The last WAL segment, proved to be in the archive, while nothing has been written after it: from a pause to the next start.
    #[serde(default)]
    pub archived_wal: Option<String>,
    /// When a person last asked for power on or off; holds against a schedule until its next boundary.
    #[serde(default)]
    pub last_manual_at: Option<Timestamp>,
    /// Whether a schedule was the last to switch it: then power is as people have declared it, whatever the schedule did, and
    /// stays so when the schedule is gone.
    #[serde(default)]
    pub switched_by_schedule: bool,
    /// How long its latest resumes took, in seconds, oldest first.
    #[serde(default)]
    pub resume_seconds: Vec<u32>,
    /// When it is next looked at whether it needs maintenance.
    #[serde(default)]
    pub maintenance_due: Option<Timestamp>,
    /// What was last decided about its maintenance.
    #[serde(default)]
    pub maintenance: Option<MaintenanceDecision>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When this record last changed.
    pub updated_at: Timestamp,
    /// Fences writes: each adds one.
    pub version: u64,
}

impl Database {
    /// A database as it is when it has just been asked for: its first generation, unclaimed, with nothing provisioned yet.
    #[must_use]
    pub fn asked(id: DatabaseId, organization_id: OrganizationId, spec: DatabaseSpec, at: Timestamp) -> Self {
        Self {
            id,
            organization_id,
            spec,
            applied: None,
            revision: None,
            placement: None,
            storage_grown_at: None,
            generation: 1,
            made_by: None,
            status: DatabaseStatus::Provisioning,
            operation_id: None,
            problem: None,
            connection: None,
            claimed: false,
            delete_after: None,
            archived_wal: None,
            last_manual_at: None,
            switched_by_schedule: false,
            resume_seconds: Vec::new(),
            maintenance_due: None,
            maintenance: None,
            created_at: at,
            updated_at: at,
            version: 1,
        }
    }
    /// What is wanted beyond what the cluster was last brought to, while nothing brings it there.
    #[must_use]
    pub fn pending_change(&self) -> Option<Change> {
        let applied = self.applied.as_ref().filter(|_| matches!(self.status, DatabaseStatus::Paused | DatabaseStatus::Stuck))?;
        change(applied, &self.spec, None, self.updated_at).ok().flatten()
    }
    /// After a change of its window or its state: looked at when the window opens next, as long as there is something to keep up.
    pub fn maintenance_planned(&mut self, now: Timestamp) {
        use DatabaseStatus::{Available, Changing, Paused, Pausing, Resuming, Stuck};
        let lives = matches!(self.status, Available | Changing | Paused | Pausing | Resuming | Stuck);
        let next = || self.spec.maintenance().next_open(now).map(|(from, _)| from);
        self.maintenance_due = if lives { next() } else { None };
    }
    /// The names of the current generation.
    #[must_use]
    pub fn names(&self) -> GenerationNames {
        GenerationNames::of(&self.spec.name, &self.id, self.generation)
    }
}
