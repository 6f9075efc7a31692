//! What operations work on: a snapshot taken when they were accepted, so that replay sees the same forever.
use crate::placement;
use jiff::Timestamp;
use kiven_data_services::Generation;
use kiven_model::command::Consent;
use kiven_model::database::{Connection, Database, DatabaseSpec, Placement, Power};
use kiven_model::environment::{ConnectionSpec, EnvironmentSpec, EnvironmentStatus, Farewell};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::names::{GenerationNames, backup_bucket, node_group};
use kiven_model::sizing::sizing;
use kiven_model::upgrade::ComponentMove;
use kiven_model::{Code, EnvironmentId, OperationId, OrganizationId, Problem};
use kiven_ports::NameClaim;
use kiven_ports::account::{Access, AccountNeeds, BackupBucket, BackupRole, NodeGroup};
use serde::{Deserialize, Serialize};

/// Days that superseded versions in the archive are kept: more than the longest default retention.
const NONCURRENT_DAYS: u32 = 35;

/// The input of [`crate::Connect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectInput {
    /// The way in.
    pub access: Access,
    /// What was asked for.
    pub environment: EnvironmentSpec,
    /// The way in, as asked for.
    pub connection: ConnectionSpec,
    /// What a reconnect that fails goes back to.
    pub before: Option<Before>,
}

/// The input of [`crate::Disconnect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisconnectInput {
    /// Which environment.
    pub environment_id: EnvironmentId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What was asked for, once.
    pub environment: EnvironmentSpec,
    /// What becomes of its databases.
    pub farewell: Farewell,
    /// Who asked, and so consents to what is destroyed: an opaque actor.
    pub actor: String,
    /// What the environment was, and is again when it is not disconnected after all.
    pub before: EnvironmentStatus,
}

/// The input of [`crate::Upgrade`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeInput {
    /// Whose operator and plugin.
    pub environment_id: EnvironmentId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What moves, in this order.
    pub moves: Vec<ComponentMove>,
}

impl ConnectInput {
    /// What databases will need in the account.
    pub(crate) fn needs(&self, oidc_issuer: &str) -> AccountNeeds {
        AccountNeeds {
            cluster: self.environment.eks_cluster_name.clone(),
            oidc_issuer: oidc_issuer.to_owned(),
            node_role_arn: node_role_arn(&self.access),
            launch_template: self.connection.launch_template.clone(),
        }
    }
}

/// The nodes' role, which the onboarding module makes.
fn node_role_arn(access: &Access) -> String {
    format!("arn:aws:iam::{}:role/kiven-node", access.account_id)
}

/// What an environment was before a reconnect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The way in, as it was.
    pub connection: ConnectionSpec,
    /// Whether it worked.
    pub status: EnvironmentStatus,
}

/// An EKS cluster as the whole world knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EksCluster {
    account_id: String,
    region: String,
    name: String,
}

impl EksCluster {
    /// The cluster of an environment.
    #[must_use]
    pub fn of(environment: &EnvironmentSpec) -> Self {
        let EnvironmentSpec { name: _, aws_account_id, aws_region, eks_cluster_name, agent_enrolment: _ } = environment.clone();
        Self { account_id: aws_account_id, region: aws_region, name: eks_cluster_name }
    }
    /// Its claim: held from a connect that has proved it until the environment is disconnected.
    #[must_use]
    pub fn claim(&self) -> NameClaim {
        NameClaim::EksCluster(self.account_id.clone(), self.region.clone(), self.name.clone())
    }
    /// Another environment has it.
    #[must_use]
    pub fn taken(&self) -> Problem {
        Problem::new(Code::CLUSTER_TAKEN, format!("the EKS cluster `{}` is already an environment", self.name))
            .hint("One EKS cluster is one environment: two would fight over the operator and the names.")
    }
}

/// The input of every operation on a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInput {
    /// The way into its account.
    pub access: Access,
    /// The EKS cluster.
    pub eks_cluster: String,
    /// Zones, subnets, launch template.
    pub connection: ConnectionSpec,
    /// The cluster's token issuer.
    pub oidc_issuer: String,
    /// Its IAM provider.
    pub oidc_provider_arn: String,
    /// Which database, and what was asked for.
    pub generation: Generation,
    /// Grows with each operation on the database.
    pub fence: u64,
    /// What the database was when the operation was accepted.
    pub was: Was,
    /// Permission to destroy, for delete and purge.
    pub consent: Option<Consent>,
    /// When the grace ends, for delete and purge.
    pub delete_after: Option<Timestamp>,
    /// How a delete comes to its final backup; `None` when none is wanted, or none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_backup: Option<FinalBackup>,
}

/// Where a final backup is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalBackup {
    /// On the database as it runs. Until it is there, the delete can be taken back whole.
    Running,
    /// The same on a database that is stuck: a delete that is taken back leaves it stuck.
    Stuck,
    /// On a paused database whose last WAL nobody has proved archived: it is resumed for it, which only goes forward.
    Paused,
}

impl FinalBackup {
    /// How the delete of a database as it is comes to its backup.
    pub(crate) fn of(database: &Database) -> Option<Self> {
        // What was never handed over has nothing in it.
        if !database.spec.deletion.final_backup || database.connection.is_none() {
            return None;
        }
        match database.status {
            // Base backups and every WAL up to the last are in the archive: that is the backup.
            DatabaseStatus::Paused if database.archived_wal.is_some() => None,
            DatabaseStatus::Paused => Some(Self::Paused),
            DatabaseStatus::Stuck => Some(Self::Stuck),
            _ => Some(Self::Running),
        }
    }
    /// Whether nothing is changed before the backup is there.
    pub(crate) fn can_go_back(self) -> bool {
        matches!(self, Self::Running | Self::Stuck)
    }
}

/// What a database was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// Whether its compute was on.
    pub power: Power,
    /// Its identity, once provisioned.
    pub connection: Option<Connection>,
    /// What the cluster was last brought to, once provisioned.
    pub spec: Option<DatabaseSpec>,
    /// Nodes by zone, where they are not as they were first dealt out.
    pub placement: Option<Placement>,
}

impl DatabaseInput {
    /// The generation's names.
    #[must_use]
    pub fn names(&self) -> GenerationNames {
        self.generation.names()
    }
    /// The environment's bucket.
    #[must_use]
    pub fn bucket(&self) -> BackupBucket {
        BackupBucket {
            name: self.generation.bucket.clone(),
            noncurrent_days: NONCURRENT_DAYS,
            kms_key_arn: self.connection.backup_kms_key_arn.clone(),
        }
    }
    /// The generation's IAM role.
    #[must_use]
    pub fn backup_role(&self) -> BackupRole {
        let names = self.names();
        BackupRole {
            name: names.backup_role,
            database_id: self.generation.id.clone(),
            oidc_provider_arn: self.oidc_provider_arn.clone(),
            oidc_issuer: self.oidc_issuer.clone(),
            service_account: format!("{}:{}", kiven_model::names::DATABASE_NAMESPACE, names.cluster),
            bucket: self.generation.bucket.clone(),
            prefix: names.backup_prefix,
            kms_key_arn: self.connection.backup_kms_key_arn.clone(),
        }
    }
    /// Whether it brings settings that PostgreSQL does not run with yet.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.generation.revision == self.access.operation_id && self.was.spec.is_some()
    }
    /// One node group per zone, of the class that is wanted.
    #[must_use]
    pub fn node_groups(&self) -> Vec<NodeGroup> {
        self.groups_of(&self.generation.spec, &self.placement())
    }
    /// The node groups as they were when the operation was accepted.
    #[must_use]
    pub fn node_groups_before(&self) -> Vec<NodeGroup> {
        match &self.was.spec {
            Some(spec) => self.groups_of(spec, &self.placement_of(spec)),
            None => Vec::new(),
        }
    }
    /// The zone of a group.
    #[must_use]
    pub fn zone_of(&self, group: &NodeGroup) -> Option<&str> {
        self.connection.subnets.iter().find(|(_, subnet)| **subnet == group.subnet).map(|(zone, _)| zone.as_str())
    }
    /// Nodes by zone as they will be.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let before = self.was.spec.as_ref().map(|spec| self.placement_of(spec)).unwrap_or_default();
        placement::dealt(before, self.connection.subnets.keys(), u32::from(self.generation.spec.instances))
    }
    fn placement_of(&self, spec: &DatabaseSpec) -> Placement {
        let dealt = || placement::dealt(Placement::new(), self.connection.subnets.keys(), u32::from(spec.instances));
        self.was.placement.clone().unwrap_or_else(dealt)
    }
    /// The groups of a size in these zones.
    pub(crate) fn groups_of(&self, spec: &DatabaseSpec, placement: &Placement) -> Vec<NodeGroup> {
        let Some(node) = sizing(spec).map(|sizing| sizing.node) else { return Vec::new() };
        let group = |(zone, subnet): (&String, &String)| NodeGroup {
            name: node_group(&self.generation.id, zone, node.node_type),
            cluster: self.eks_cluster.clone(),
            database_id: self.generation.id.clone(),
            node_type: node.node_type.to_owned(),
            node_types: node.node_types.iter().map(|&one| one.to_owned()).collect(),
            subnet: subnet.clone(),
            launch_template: self.connection.launch_template.clone(),
            node_role_arn: node_role_arn(&self.access),
            nodes: placement.get(zone).copied().unwrap_or(0),
        };
        self.connection.subnets.iter().map(group).filter(|group| group.nodes > 0).collect()
    }
}

/// The generation of a database as builders need it: of this size, with the settings that this operation gave.
#[must_use]
pub(crate) fn generation_of(database: &Database, spec: DatabaseSpec, access: &Access, made_by: OperationId, revision: OperationId) -> Generation {
    let names = database.names();
    Generation {
        id: database.id.clone(),
        spec,
        number: database.generation,
        bucket: backup_bucket(&access.account_id, &access.region, &access.environment_id),
        backup_role_arn: format!("arn:aws:iam::{}:role/{}", access.account_id, names.backup_role),
        made_by,
        revision,
    }
}
