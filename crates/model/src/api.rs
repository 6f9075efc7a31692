//! What goes over `/v1`: requests as sent, resources as answered. Shared by API, client, provider and CLI.
//!
//! Routes, roles and answers are in `crates/api/src/routes.rs` and in the OpenAPI document made from it. One route more,
//! `POST /v1/agents/enrol` ([`EnrolRequest`] → [`EnrolResponse`]), is the function `enrol`'s and for agents only.
//!
//! Every error is a [`crate::Problem`] as JSON. Authentication: `Authorization: Bearer kiven_…`.
use crate::Problem;
use crate::change::Change;
use crate::command::Consent;
use crate::database::{Connection, Database, Power, Published};
use crate::enrolment::AgentEnrolment;
pub use crate::enrolment::{EnrolRequest, EnrolResponse};
use crate::environment::{ConnectionSpec, Environment, EnvironmentStatus};
use crate::ids::{DatabaseId, EnvironmentId, OperationId, OrganizationId, ScheduleId};
pub use crate::inspection::{CheckView, DriftView, OrphanView, OrphansView};
use crate::lifecycle::DatabaseStatus;
use crate::maintenance::{MaintenanceDecision, MaintenanceWindowRequest};
use crate::names::{DatabaseName, POSTGRES_PORT};
use crate::operation::{Operation, OperationEvent, OperationKind, OperationStatus, Subject};
use crate::organization::Role;
use crate::plan::PlanName;
use crate::price::monthly_usd;
use crate::schedule::NextSwitch;
pub use crate::schedule::ScheduleView;
use crate::sizing::sizing;
use crate::upgrade::Upgrades;
use crate::uri;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The header that makes a retried request the same request.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// The largest body that the API reads, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Me {
    /// The organization.
    pub organization_id: OrganizationId,
    /// Its name.
    pub organization_name: String,
    /// What the key may do.
    pub role: Role,
}

/// An environment as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EnvironmentRequest {
    /// Unique in the organization: 1 to 40 of a-z, 0-9 and -.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"), length(max = 40)))]
    pub name: String,
    /// Twelve digits.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[0-9]{12}$")))]
    pub aws_account_id: String,
    /// As AWS writes it: `eu-west-1`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = crate::request::EU_REGIONS)))]
    pub aws_region: String,
    /// The EKS cluster's name.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}$")))]
    pub eks_cluster_name: String,
    /// What its agent proves itself with: `issuer` (default) or `token`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["issuer", "token", null])))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_enrolment: Option<String>,
}

/// The way into an account as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConnectionRequest {
    /// The role Kiven assumes.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^arn:aws:iam::[0-9]{12}:role/.+$"), length(max = 2048)))]
    pub role_arn: String,
    /// Subnet by zone.
    #[cfg_attr(feature = "schema", schemars(extend("minProperties" = 1, "maxProperties" = 6, "propertyNames" = { "pattern": "^[a-z]+(-[a-z]+)+-[0-9][a-z]$" }, "additionalProperties" = { "type": "string", "pattern": "^subnet-", "maxLength": 64 })))]
    pub subnets: BTreeMap<String, String>,
    /// The launch template of node groups.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128)))]
    pub launch_template: String,
    /// The KMS key of yours that backups are encrypted with; S3's own key when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^arn:aws:kms:[a-z0-9-]+:[0-9]{12}:key/.+$"), length(max = 2048)))]
    pub backup_kms_key_arn: Option<String>,
    /// The quota of managed node groups of the EKS cluster, where AWS has raised it; 30 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
    pub node_group_quota: Option<u32>,
}

/// An environment as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvironmentView {
    /// Its id.
    pub id: EnvironmentId,
    /// Unique in the organization.
    pub name: String,
    /// Twelve digits.
    pub aws_account_id: String,
    /// As AWS writes it: `eu-west-1`.
    pub aws_region: String,
    /// The EKS cluster's name.
    pub eks_cluster_name: String,
    /// What its agent proves itself with.
    #[serde(default)]
    pub agent_enrolment: AgentEnrolment,
    /// Where it is in its life.
    pub status: EnvironmentStatus,
    /// What the customer's role must demand.
    pub external_id: String,
    /// Kiven's principal, which the customer's role trusts.
    pub principal_arn: String,
    /// Values for the agent's chart.
    pub agent_values: BTreeMap<String, String>,
    /// The way in, once said.
    pub connection: Option<ConnectionSpec>,
    /// The PostgreSQL majors on offer, newest first; empty before it is connected.
    pub postgres_versions: Vec<u32>,
    /// The operation that runs or ran last.
    pub operation_id: Option<OperationId>,
    /// What went wrong, while it needs attention.
    pub problem: Option<Problem>,
    /// Whether operator and plugin move by themselves, and whether they move now.
    #[serde(default)]
    pub upgrades: Upgrades,
}

/// What the backend says of itself to every environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Kiven's principal in AWS.
    pub principal_arn: String,
    /// Where agents find the relay: `host:port`.
    pub relay_address: String,
    /// Where agents enrol: the API's base URL.
    pub api_url: String,
}

impl EnvironmentView {
    /// The view of a record.
    #[must_use]
    pub fn of(environment: &Environment, backend: &Backend) -> Self {
        let values = [
            ("environmentId", environment.id.to_string()),
            ("relayAddress", backend.relay_address.clone()),
            ("apiUrl", backend.api_url.clone()),
            ("eksClusterName", environment.spec.eks_cluster_name.clone()),
            ("awsRegion", environment.spec.aws_region.clone()),
        ];
        let agent_enrolment = environment.spec.agent_enrolment;
        let enrolment = (!agent_enrolment.is_default()).then(|| ("agentEnrolment", agent_enrolment.as_str().to_owned()));
        Self {
            id: environment.id.clone(),
            name: environment.spec.name.clone(),
            aws_account_id: environment.spec.aws_account_id.clone(),
            aws_region: environment.spec.aws_region.clone(),
            eks_cluster_name: environment.spec.eks_cluster_name.clone(),
            agent_enrolment,
            status: environment.status,
            external_id: environment.external_id.clone(),
            principal_arn: backend.principal_arn.clone(),
            agent_values: values.into_iter().chain(enrolment).map(|(name, value)| (name.to_owned(), value)).collect(),
            connection: environment.connection.clone(),
            postgres_versions: environment.postgres_versions().to_vec(),
            operation_id: environment.operation_id.clone(),
            problem: environment.problem.clone(),
            upgrades: environment.upgrades.clone(),
        }
    }
}

/// A pooler as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PoolerRequest {
    /// Default true.
    pub enabled: Option<bool>,
    /// `transaction` (default) or `session`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["transaction", "session", null])))]
    pub mode: Option<String>,
    /// Default from the plan.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 500)))]
    pub pool_size: Option<u32>,
}

/// Backups as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BackupRequest {
    /// Default 30.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 365)))]
    pub backup_retention_days: Option<u32>,
    /// Default 5.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1440)))]
    pub rpo_minutes: Option<u32>,
}

/// Deletion as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeletionRequest {
    /// Default false; true is not offered yet.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = [false, null])))]
    pub final_backup: Option<bool>,
    /// Default 7.
    #[cfg_attr(feature = "schema", schemars(range(max = 90)))]
    pub grace_days: Option<u32>,
}

/// The customer's own size as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CustomRequest {
    /// Cores.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 64)))]
    pub vcpu: u32,
    /// GiB.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 512)))]
    pub memory_gib: u32,
}

/// A database as asked for: what is left out takes its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", schemars(extend("required" = ["name", "environment_id", "plan"])))]
pub struct DatabaseRequest {
    /// Unique in the environment.
    #[cfg_attr(feature = "schema", schemars(with = "crate::names::DatabaseName"))]
    pub name: String,
    /// Where it lives.
    #[cfg_attr(feature = "schema", schemars(with = "crate::EnvironmentId"))]
    pub environment_id: String,
    /// The plan.
    #[cfg_attr(feature = "schema", schemars(with = "crate::plan::PlanName"))]
    pub plan: String,
    /// For plan `custom`.
    pub custom: Option<CustomRequest>,
    /// Default: the newest on offer.
    #[cfg_attr(feature = "schema", schemars(range(min = 13, max = 30)))]
    pub postgres_version: Option<u32>,
    /// Default from the plan.
    #[cfg_attr(feature = "schema", schemars(range(min = 10, max = 16384)))]
    pub storage_gb: Option<u32>,
    /// Default from the plan.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 5)))]
    pub instances: Option<u32>,
    /// Default none.
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 100)))]
    pub parameters: BTreeMap<String, String>,
    /// Defaults inside.
    pub pooler: PoolerRequest,
    /// Defaults inside.
    pub backup: BackupRequest,
    /// Default none.
    #[cfg_attr(feature = "schema", schemars(length(max = 50)))]
    #[cfg_attr(feature = "schema", schemars(inner(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))))]
    pub allowed_namespaces: Vec<String>,
    /// Default none.
    #[cfg_attr(feature = "schema", schemars(length(max = 50)))]
    #[cfg_attr(feature = "schema", schemars(extend("items" = { "type": "string", "enum": crate::request::EXTENSIONS })))]
    pub extensions: Vec<String>,
    /// `on` (default) or `off`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["on", "off", null])))]
    pub power: Option<String>,
    /// Default true.
    pub deletion_protection: Option<bool>,
    /// Defaults inside.
    pub deletion: DeletionRequest,
    /// Defaults inside.
    pub maintenance_window: MaintenanceWindowRequest,
}

/// A database as it is. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DatabaseView {
    /// Its id.
    pub id: DatabaseId,
    /// What was asked for, with every default filled in.
    #[serde(flatten)]
    pub spec: crate::database::DatabaseSpec,
    /// Where it is in its life.
    pub status: DatabaseStatus,
    /// What Terraform compares `power` with: where it is, or is going; in a schedule what people have asked for last.
    pub power_state: Power,
    /// The addresses; deterministic, inside the cluster.
    #[serde(flatten)]
    pub addresses: Addresses,
    /// `postgresql://user@host:port/database?sslmode=verify-full…`, without password; once it answers.
    pub connection_uri: Option<String>,
    /// The authority that clients verify, PEM; once it answers.
    pub ca_certificate: Option<String>,
    /// PostgreSQL's system identifier, once it has answered.
    pub system_identifier: Option<String>,
    /// Where its Services are published outside of the cluster.
    pub published: BTreeMap<String, Published>,
    /// The Secret in the customer's cluster with user name and password.
    pub password_secret: String,
    /// The node class.
    pub node_type: String,
    /// USD a month when always on, at most.
    pub monthly_cost_usd: f64,
    /// The operation that runs or ran last.
    pub operation_id: Option<OperationId>,
    /// What went wrong, while it needs attention.
    pub problem: Option<Problem>,
    /// When the grace ends.
    pub delete_after: Option<Timestamp>,
    /// What was changed while it was off, and comes with the next resume.
    pub pending_change: Option<Change>,
    /// When the volumes last grew: AWS takes the next growth hours later.
    pub storage_grown_at: Option<Timestamp>,
    /// The schedule that it follows.
    #[serde(default)]
    pub schedule_id: Option<ScheduleId>,
    /// What that schedule wants next.
    #[serde(default)]
    pub next_switch: Option<NextSwitch>,
    /// Whether its maintenance window never meets its schedule's times of being on: then nothing is kept up by itself.
    #[serde(default)]
    pub maintenance_never: bool,
    /// When it is next looked at whether it needs maintenance.
    pub maintenance_due: Option<Timestamp>,
    /// What was last decided about its maintenance.
    pub maintenance: Option<MaintenanceDecision>,
}

/// The addresses of a database: a function of its name alone, so known at plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Addresses {
    /// The primary.
    pub host: String,
    /// Of every host.
    pub port: u16,
    /// PgBouncer, or the primary where there is none.
    pub pooler_host: String,
    /// The standbys.
    pub read_only_host: String,
    /// The initial database.
    pub database: String,
    /// Its owner.
    pub username: String,
}

impl Addresses {
    /// The addresses that a database of this name has.
    #[must_use]
    pub fn of(name: &DatabaseName, pooler: bool) -> Self {
        let host = DatabaseName::host_of(&name.read_write_service());
        Self {
            pooler_host: if pooler { DatabaseName::host_of(&name.pooler_service()) } else { host.clone() },
            read_only_host: DatabaseName::host_of(&name.read_only_service()),
            port: POSTGRES_PORT,
            database: name.initial_database(),
            username: name.owner_role(),
            host,
        }
    }
}

/// The connection string without password. Where the Service is published outside of the cluster, the host name stays, so that
/// verify-full holds, and `hostaddr` and the published port are added.
#[must_use]
pub fn connection_uri(name: &DatabaseName, connection: &Connection) -> String {
    let addresses = Addresses::of(name, false);
    let published = connection.published.get(&name.read_write_service());
    let target = uri::Target {
        host: &addresses.host,
        port: published.map_or(addresses.port, |published| published.port),
        database: &addresses.database,
        username: &addresses.username,
    };
    let hostaddr = published.map(|published| ("hostaddr".to_owned(), published.address.to_string()));
    uri::connection_uri(&target, &hostaddr.into_iter().collect())
}

impl DatabaseView {
    /// The view of a record.
    #[must_use]
    pub fn of(database: &Database) -> Self {
        let spec = &database.spec;
        let power_state = match database.status {
            _ if database.switched_by_schedule => spec.power,
            DatabaseStatus::Pausing | DatabaseStatus::Paused | DatabaseStatus::Undeleting => Power::Off,
            DatabaseStatus::Available | DatabaseStatus::Resuming | DatabaseStatus::Changing => Power::On,
            _ => spec.power,
        };
        Self {
            id: database.id.clone(),
            status: database.status,
            power_state,
            addresses: Addresses::of(&spec.name, spec.pooler.enabled),
            connection_uri: database.connection.as_ref().map(|c| connection_uri(&spec.name, c)),
            ca_certificate: database.connection.as_ref().map(|c| c.ca_certificate.clone()),
            system_identifier: database.connection.as_ref().map(|c| c.system_identifier.clone()),
            published: database.connection.as_ref().map(|c| c.published.clone()).unwrap_or_default(),
            password_secret: crate::names::role_secret(&spec.name, &database.id, &spec.name.owner_role()),
            node_type: sizing(spec).map_or(String::new(), |s| s.node.node_type.to_owned()),
            monthly_cost_usd: monthly_usd(spec),
            operation_id: database.operation_id.clone(),
            problem: database.problem.clone(),
            delete_after: database.delete_after,
            pending_change: database.pending_change(),
            storage_grown_at: database.storage_grown_at,
            schedule_id: None,
            next_switch: None,
            maintenance_never: false,
            maintenance_due: database.maintenance_due,
            maintenance: database.maintenance.clone(),
            spec: crate::database::DatabaseSpec { maintenance_window: Some(spec.maintenance()), ..spec.clone() },
        }
    }
}

/// An operation as followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationView {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// What it is about.
    pub subject: Subject,
    /// Where it is.
    pub status: OperationStatus,
    /// The step that runs.
    pub current_step: Option<String>,
    /// Why it goes back, failed or is stuck.
    pub problem: Option<Problem>,
    /// Events after the number asked for, at most 200.
    pub events: Vec<OperationEvent>,
    /// When to ask again, in milliseconds; 50 to 10,000; 0 when it is over.
    pub retry_after_ms: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl OperationView {
    /// The view of a head and the events after some number.
    #[must_use]
    pub fn of(operation: &Operation, events: Vec<OperationEvent>) -> Self {
        Self {
            id: operation.id.clone(),
            kind: operation.kind,
            subject: operation.subject.clone(),
            status: operation.status,
            current_step: operation.current_step.clone(),
            problem: operation.problem.clone(),
            events,
            retry_after_ms: if operation.status.over() { 0 } else { operation.poll_after_ms.clamp(50, 10_000) },
            created_at: operation.created_at,
            updated_at: operation.updated_at,
        }
    }
}

/// A plan as listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanView {
    /// Its name.
    pub name: PlanName,
    /// CPU limit in cores.
    pub vcpu: u32,
    /// PostgreSQL's memory in GiB.
    pub memory_gib: u32,
    /// Volume size in GB.
    pub storage_gb: u32,
    /// Instances.
    pub instances: u8,
    /// The node class.
    pub node_type: String,
    /// USD a month when always on, at most.
    pub monthly_cost_usd: f64,
}

/// The permission that destroying a database records.
#[must_use]
pub fn consent(database: &DatabaseId, given_by: &str, given_at: Timestamp) -> Consent {
    Consent { database_id: database.clone(), given_by: given_by.to_owned(), given_at }
}
