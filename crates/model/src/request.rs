//! From what was sent to what is valid: every violation at once, each with its field.
use crate::api::{ConnectionRequest, DatabaseRequest, EnvironmentRequest};
use crate::database::{BackupSpec, CustomSize, DatabaseSpec, DeletionSpec, PoolMode, PoolerSpec, Power};
use crate::environment::{ConnectionSpec, EnvironmentSpec};
use crate::maintenance;
use crate::names::{DatabaseName, is_dns_label};
use crate::parameters::{self, Refused};
use crate::plan::{PlanName, PlanSize};
use crate::sizing::node_class;
use crate::{Code, EnvironmentId, Violation};
use serde::{Deserialize, Serialize};

/// Largest gp3 volume, in GB (AWS: 16 TiB).
pub const STORAGE_GB_MAX: u32 = 16_384;
/// Most instances of a database.
pub const INSTANCES_MAX: u32 = 5;
/// Most settings a database may have.
const PARAMETERS_MAX: usize = 100;
/// Longest id of a subnet; AWS's own have 24 characters.
const SUBNET_ID_MAX: usize = 64;
/// Most namespaces or extensions in a list.
const LIST_MAX: usize = 50;
/// Extensions that PostgreSQL's own images carry and that need no superuser at run time.
pub const EXTENSIONS: [&str; 16] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pg_stat_statements",
    "pg_trgm",
    "pgcrypto",
    "unaccent",
    "uuid-ossp",
];
/// Regions inside the European Union, where organizations are by default.
pub const EU_REGIONS: [&str; 7] = ["eu-west-1", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eusc-de-east-1"];

/// A value that has passed its validation; only this module and [`crate::schedule`] make one from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Valid<T>(T);

impl<T> Valid<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
    /// Takes a value that comes back from our own records, which hold valid ones only.
    pub fn from_record(value: T) -> Self {
        Self(value)
    }
}

impl<T> std::ops::Deref for Valid<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Violations as they are found.
#[derive(Default)]
pub(crate) struct Checks(Vec<Violation>);

impl Checks {
    pub(crate) fn add(&mut self, code: Code, field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Violation::new(code, field, message, hint));
    }
    pub(crate) fn end<T>(self, value: Option<T>) -> Result<Valid<T>, Vec<Violation>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(Valid(value)),
            _ => Err(self.0),
        }
    }
}

/// Reads a database request. `offered` are the majors of the environment, newest first; empty when they are not known yet,
/// in which case a version is taken as it is and must be checked again.
///
/// # Errors
/// Every violation, each with field, code and hint.
pub fn database(request: &DatabaseRequest, offered: &[u32]) -> Result<Valid<DatabaseSpec>, Vec<Violation>> {
    let mut checks = Checks::default();
    let name = DatabaseName::parse(&request.name).map_err(|e| {
        checks.add(Code::NAME_INVALID, "name", format!("`{}` {e}", clip(&request.name)), "Use a short lowercase name such as `shop` or `shop-eu`.");
    });
    let environment_id = EnvironmentId::parse(&request.environment_id)
        .map_err(|e| checks.add(Code::ID_INVALID, "environment_id", e.to_string(), "Use the `id` of a kiven_environment."));
    let plan = PlanName::parse(&request.plan);
    if plan.is_none() {
        let names = PlanName::ALL.map(PlanName::as_str).join(", ");
        checks.add(Code::PLAN_UNKNOWN, "plan", format!("there is no plan `{}`", clip(&request.plan)), format!("Choose one of {names}."));
    }
    let postgres_version = version(request, offered, &mut checks);
    let size = plan.and_then(|plan| size(plan, request, &mut checks));
    let storage_gb = storage(request, size, &mut checks);
    let instances = instances(request, size, &mut checks);
    check_parameters(request, postgres_version, &mut checks);
    check_lists(request, &mut checks);
    let pooler = pooler(request, &mut checks);
    let backup = backup(request, &mut checks);
    let deletion = deletion(request, &mut checks);
    let power = power(request, &mut checks);
    let maintenance_window = maintenance::window(&request.maintenance_window, &mut checks);
    let spec = match (name, environment_id, plan) {
        (Ok(name), Ok(environment_id), Some(plan)) => Some(DatabaseSpec {
            name,
            environment_id,
            plan,
            custom: request.custom.as_ref().map(|c| CustomSize { vcpu: c.vcpu, memory_gib: c.memory_gib }),
            postgres_version,
            storage_gb,
            instances,
            parameters: request.parameters.clone(),
            pooler,
            backup,
            allowed_namespaces: request.allowed_namespaces.clone(),
            extensions: request.extensions.clone(),
            power,
            deletion_protection: request.deletion_protection.unwrap_or(true),
            deletion,
            maintenance_window,
        }),
        _ => None,
    };
    checks.end(spec)
}

/// At most 64 characters of what somebody sent, for messages.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

fn version(request: &DatabaseRequest, offered: &[u32], checks: &mut Checks) -> u32 {
    match (request.postgres_version, offered.first()) {
        (Some(asked), Some(_)) if !offered.contains(&asked) => {
            let list = offered.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            checks.add(
                Code::VERSION_NOT_OFFERED,
                "postgres_version",
                format!("PostgreSQL {asked} is not offered in this environment"),
                format!("Offered: {list}."),
            );
            asked
        }
        (Some(asked), _) => {
            if !(13..=30).contains(&asked) {
                checks.add(
                    Code::VERSION_NOT_OFFERED,
                    "postgres_version",
                    format!("there is no PostgreSQL {asked} here"),
                    "Leave it out for the newest that the environment offers.",
                );
            }
            asked
        }
        (None, newest) => newest.copied().unwrap_or(15),
    }
}

fn size(plan: PlanName, request: &DatabaseRequest, checks: &mut Checks) -> Option<PlanSize> {
    match (plan.size(), &request.custom) {
        (Some(size), None) => Some(size),
        (Some(_), Some(_)) => {
            checks.add(Code::CUSTOM_SIZE_INVALID, "custom", format!("plan `{plan}` has its own size"), "Remove `custom`, or choose plan `custom`.");
            None
        }
        (None, None) => {
            checks.add(Code::CUSTOM_SIZE_INVALID, "custom", "plan `custom` needs a size", "Add `custom = { vcpu = 2, memory_gib = 8 }`.");
            None
        }
        (None, Some(custom))
            if custom.vcpu == 0 || custom.memory_gib == 0 || node_class(custom.vcpu.min(1024), custom.memory_gib.min(65_536), false).is_none() =>
        {
            let message = format!("no node type holds {} vCPU and {} GiB", custom.vcpu, custom.memory_gib);
            checks.add(Code::CUSTOM_SIZE_INVALID, "custom", message, "At least 1 vCPU and 1 GiB, at most about 10 vCPU and 55 GiB.");
            None
        }
        (None, Some(custom)) => {
            for (field, given) in [("storage_gb", request.storage_gb.is_some()), ("instances", request.instances.is_some())] {
                if !given {
                    checks.add(Code::CUSTOM_SIZE_INVALID, field, format!("plan `custom` needs {field}"), format!("Add `{field}`."));
                }
            }
            Some(PlanSize { vcpu: custom.vcpu, memory_gib: custom.memory_gib, storage_gb: 10, instances: 1 })
        }
    }
}

fn storage(request: &DatabaseRequest, size: Option<PlanSize>, checks: &mut Checks) -> u32 {
    let least = size.map_or(10, |s| s.storage_gb);
    let storage = request.storage_gb.unwrap_or(least);
    if storage < least || storage > STORAGE_GB_MAX {
        checks.add(
            Code::STORAGE_INVALID,
            "storage_gb",
            format!("{storage} GB is out of range"),
            format!("From {least} (the plan's) to {STORAGE_GB_MAX}."),
        );
    }
    storage
}

fn instances(request: &DatabaseRequest, size: Option<PlanSize>, checks: &mut Checks) -> u8 {
    let instances = request.instances.unwrap_or_else(|| size.map_or(1, |s| u32::from(s.instances)));
    if instances == 0 || instances > INSTANCES_MAX {
        checks.add(Code::INSTANCES_INVALID, "instances", format!("{instances} instances are out of range"), format!("From 1 to {INSTANCES_MAX}."));
    }
    u8::try_from(instances).unwrap_or(u8::MAX)
}

fn check_parameters(request: &DatabaseRequest, version: u32, checks: &mut Checks) {
    if request.parameters.len() > PARAMETERS_MAX {
        checks.add(Code::PARAMETER_INVALID, "parameters", "too many parameters", format!("At most {PARAMETERS_MAX}."));
    }
    for (name, value) in &request.parameters {
        let field = format!("parameters.{}", clip(name));
        match parameters::check(name, value, version) {
            Ok(()) => {}
            Err(e @ Refused::Unknown { nearest, .. }) => {
                let hint = nearest.map_or("See PostgreSQL's list of parameters.".to_owned(), |near| format!("Did you mean `{near}`?"));
                checks.add(Code::PARAMETER_UNKNOWN, field, e.to_string(), hint);
            }
            Err(e @ Refused::Managed(_)) => {
                checks.add(Code::PARAMETER_MANAGED, field, e.to_string(), "Remove it; the plan and the other attributes decide it.")
            }
            Err(e @ Refused::Value { .. }) => checks.add(Code::PARAMETER_INVALID, field, e.to_string(), "Write the value as in postgresql.conf."),
        }
    }
}

fn check_lists(request: &DatabaseRequest, checks: &mut Checks) {
    for (i, namespace) in request.allowed_namespaces.iter().enumerate() {
        if !is_dns_label(namespace) {
            checks.add(
                Code::NAMESPACE_INVALID,
                format!("allowed_namespaces.{i}"),
                format!("`{}` is no namespace's name", clip(namespace)),
                "Lowercase letters, digits and -.",
            );
        }
    }
    for (i, extension) in request.extensions.iter().enumerate() {
        if !EXTENSIONS.contains(&extension.as_str()) {
            checks.add(
                Code::EXTENSION_UNKNOWN,
                format!("extensions.{i}"),
                format!("`{}` is not offered", clip(extension)),
                format!("Offered: {}.", EXTENSIONS.join(", ")),
            );
        }
    }
    for (field, length) in [("allowed_namespaces", request.allowed_namespaces.len()), ("extensions", request.extensions.len())] {
        if length > LIST_MAX {
            checks.add(Code::NAMESPACE_INVALID, field, "too many entries", format!("At most {LIST_MAX}."));
        }
    }
}

fn pooler(request: &DatabaseRequest, checks: &mut Checks) -> PoolerSpec {
    let mode = match request.pooler.mode.as_deref() {
        None | Some("transaction") => PoolMode::Transaction,
        Some("session") => PoolMode::Session,
        Some(other) => {
            checks.add(Code::POOLER_INVALID, "pooler.mode", format!("there is no mode `{}`", clip(other)), "`transaction` or `session`.");
            PoolMode::Transaction
        }
    };
    if request.pooler.pool_size.is_some_and(|size| !(1..=500).contains(&size)) {
        checks.add(Code::POOLER_INVALID, "pooler.pool_size", "the pool size is out of range", "From 1 to 500.");
    }
    PoolerSpec { enabled: request.pooler.enabled.unwrap_or(true), mode, pool_size: request.pooler.pool_size }
}

fn backup(request: &DatabaseRequest, checks: &mut Checks) -> BackupSpec {
    let spec = BackupSpec {
        backup_retention_days: request.backup.backup_retention_days.unwrap_or(30),
        rpo_minutes: request.backup.rpo_minutes.unwrap_or(5),
    };
    if !(1..=365).contains(&spec.backup_retention_days) {
        checks.add(Code::BACKUP_INVALID, "backup.backup_retention_days", "the retention is out of range", "From 1 to 365 days.");
    }
    if !(1..=1440).contains(&spec.rpo_minutes) {
        checks.add(Code::BACKUP_INVALID, "backup.rpo_minutes", "the recovery point objective is out of range", "From 1 minute to 1440 (24 hours).");
    }
    spec
}

fn deletion(request: &DatabaseRequest, checks: &mut Checks) -> DeletionSpec {
    let spec = DeletionSpec { final_backup: request.deletion.final_backup.unwrap_or(false), grace_days: request.deletion.grace_days.unwrap_or(7) };
    if spec.grace_days > 90 {
        checks.add(Code::DELETION_INVALID, "deletion.grace_days", "the grace is out of range", "From 0 (nothing is kept) to 90 days.");
    }
    spec
}

fn power(request: &DatabaseRequest, checks: &mut Checks) -> Power {
    match request.power.as_deref() {
        None | Some("on") => Power::On,
        Some("off") => Power::Off,
        Some(other) => {
            checks.add(Code::POWER_INVALID, "power", format!("`{}` is not a power state", clip(other)), "`on` or `off`.");
            Power::On
        }
    }
}

/// Reads an environment request.
///
/// # Errors
/// Every violation, each with field, code and hint.
pub fn environment(request: &EnvironmentRequest) -> Result<Valid<EnvironmentSpec>, Vec<Violation>> {
    let mut checks = Checks::default();
    if !is_dns_label(&request.name) || request.name.len() > 40 {
        checks.add(Code::NAME_INVALID, "name", format!("`{}` is no name for an environment", clip(&request.name)), "1 to 40 of a-z, 0-9 and -.");
    }
    if request.aws_account_id.len() != 12 || !request.aws_account_id.bytes().all(|b| b.is_ascii_digit()) {
        checks.add(
            Code::AWS_ACCOUNT_INVALID,
            "aws_account_id",
            "an AWS account id has twelve digits",
            "Write it as a string, so that leading zeros stay.",
        );
    }
    if !EU_REGIONS.contains(&request.aws_region.as_str()) {
        let message = format!("`{}` is not a region this organization may use", clip(&request.aws_region));
        checks.add(Code::AWS_REGION_INVALID, "aws_region", message, format!("The organization's data stays in the EU: {}.", EU_REGIONS.join(", ")));
    }
    let named = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let eks = &request.eks_cluster_name;
    if eks.is_empty() || eks.len() > 100 || !eks.bytes().all(named) || !eks.as_bytes()[0].is_ascii_alphanumeric() {
        checks.add(
            Code::EKS_CLUSTER_INVALID,
            "eks_cluster_name",
            format!("`{}` is no EKS cluster's name", clip(eks)),
            "1 to 100 letters, digits, - and _.",
        );
    }
    checks.end(Some(EnvironmentSpec {
        name: request.name.clone(),
        aws_account_id: request.aws_account_id.clone(),
        aws_region: request.aws_region.clone(),
        eks_cluster_name: eks.clone(),
    }))
}

/// Reads a connection request for an environment.
///
/// # Errors
/// Every violation, each with field, code and hint.
pub fn connection(request: &ConnectionRequest, environment: &EnvironmentSpec) -> Result<Valid<ConnectionSpec>, Vec<Violation>> {
    let mut checks = Checks::default();
    let prefix = format!("arn:aws:iam::{}:role/", environment.aws_account_id);
    if !request.role_arn.starts_with(&prefix) || request.role_arn.len() == prefix.len() || request.role_arn.len() > 2048 {
        let message = format!("`{}` is no role in account {}", clip(&request.role_arn), environment.aws_account_id);
        checks.add(Code::ROLE_INVALID, "role_arn", message, "Use the `role_arn` that the onboarding module outputs.");
    }
    if request.subnets.is_empty() || request.subnets.len() > 6 {
        checks.add(Code::SUBNETS_INVALID, "subnets", "one to six zones are needed", "A map of zone to subnet: { \"eu-west-1a\" = \"subnet-…\" }.");
    }
    for (zone, subnet) in &request.subnets {
        let letter = zone.strip_prefix(&environment.aws_region).is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_lowercase()));
        if !letter || !subnet.starts_with("subnet-") || subnet.len() > SUBNET_ID_MAX {
            let message = format!("`{}` = `{}` is no zone of {} with a subnet", clip(zone), clip(subnet), environment.aws_region);
            checks.add(
                Code::SUBNETS_INVALID,
                format!("subnets.{}", clip(zone)),
                message,
                "Zones are named like eu-west-1a, subnets like subnet-0abc.",
            );
        }
    }
    if request.launch_template.is_empty() || request.launch_template.len() > 128 {
        checks.add(
            Code::LAUNCH_TEMPLATE_INVALID,
            "launch_template",
            "the launch template is missing",
            "Use the `launch_template` that the onboarding module outputs.",
        );
    }
    if let Some(key) = &request.backup_kms_key_arn {
        // S3 uses keys of the bucket's own region only.
        let prefix = format!("arn:aws:kms:{}:{}:key/", environment.aws_region, environment.aws_account_id);
        if !key.starts_with(&prefix) || key.len() == prefix.len() || key.len() > 2048 {
            let message = format!("`{}` is no key in account {}, {}", clip(key), environment.aws_account_id, environment.aws_region);
            checks.add(Code::KMS_KEY_INVALID, "backup_kms_key_arn", message, "A key by its ARN, in the environment's account and region; no alias.");
        }
    }
    checks.end(Some(ConnectionSpec {
        role_arn: request.role_arn.clone(),
        subnets: request.subnets.clone(),
        launch_template: request.launch_template.clone(),
        backup_kms_key_arn: request.backup_kms_key_arn.clone(),
    }))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
