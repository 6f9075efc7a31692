//! The schema of `kiven_database`, and the way from its values to a request and from an answer back.
use super::value_of;
use crate::durations;
use kiven_model::api::{BackupRequest, CustomRequest, DatabaseRequest, DatabaseView, DeletionRequest, PoolerRequest};
use kiven_model::database::Power;
use kiven_model::maintenance::MaintenanceWindowRequest;
use kiven_model::{Code, EnvironmentId, Violation};
use kiven_tfplugin::{Attr, Diagnostic, Nesting, Schema, Type, Value};
use std::collections::BTreeMap;

/// The schema.
pub(super) fn schema() -> Schema {
    let schema = Schema::new(0).describe("A managed PostgreSQL in an environment. Its host, port and names are known at plan and stay for life.");
    let all = asked().into_iter().chain(settings()).chain(answered());
    all.fold(schema, Schema::attr).attr(durations::attribute())
}

fn asked() -> Vec<Attr> {
    vec![
        Attr::string("name").required().describe("Unique in the environment: 1 to 40 of `a-z`, `0-9` and `-`. It can never be changed."),
        Attr::string("environment_id").required().describe(
            "Where it lives. Take it from `kiven_environment_connection`, so that the database waits for the connection. It can never be changed.",
        ),
        Attr::string("plan").required().describe("`hobbyist`, `startup`, `business`, `premium` or `custom`."),
        Attr::nested(
            "custom",
            Nesting::Single,
            vec![
                Attr::number("vcpu").required().describe("CPU limit in cores."),
                Attr::number("memory_gib").required().describe("PostgreSQL's memory in GiB."),
            ],
        )
        .optional()
        .describe("The size, for the plan `custom` only."),
        Attr::number("postgres_version")
            .optional()
            .computed()
            .describe("The major version; by default the newest that the environment offers at creation."),
        Attr::number("storage_gb").optional().computed().describe("Volume size of each instance in GB; by default the plan's. It never shrinks."),
        Attr::number("instances").optional().computed().describe("Instances, the primary included; by default the plan's."),
        Attr::map("parameters", Type::String).optional().computed().describe("PostgreSQL settings on top of the plan's."),
    ]
}

fn settings() -> Vec<Attr> {
    let pooler = vec![
        Attr::bool("enabled").optional().computed().describe("Whether there is one; `true` by default."),
        Attr::string("mode").optional().computed().describe("`transaction` (default) or `session`."),
        Attr::number("pool_size").optional().describe("Server connections per database and user; by default from the plan."),
    ];
    let backup = vec![
        Attr::number("backup_retention_days").optional().computed().describe("The recovery window in days; 30 by default."),
        Attr::number("rpo_minutes").optional().computed().describe("The most that may be lost when everything is lost, in minutes; 5 by default."),
    ];
    let deletion = vec![
        Attr::bool("final_backup")
            .optional()
            .computed()
            .describe("Whether a last backup is taken first; `false` by default. A destroy whose backup fails leaves the database as it was."),
        Attr::number("grace_days")
            .optional()
            .computed()
            .describe("Days during which the volumes are kept; 7 by default. 0 is a consent to lose them at once."),
    ];
    let window = vec![
        Attr::set("days", Type::String).optional().computed().describe("The days on which it begins, `mon` to `sun`; `sun` by default."),
        Attr::string("start").optional().computed().describe("When it begins, `HH:MM`; `02:00` by default."),
        Attr::string("end").optional().computed().describe("When it ends, `HH:MM`, on the next day if before the start; `04:00` by default."),
        Attr::string("time_zone").optional().computed().describe("The IANA time zone whose clocks it follows; `UTC` by default."),
    ];
    vec![
        Attr::nested("pooler", Nesting::Single, pooler).optional().computed().describe("PgBouncer in front of the primary."),
        Attr::nested("backup", Nesting::Single, backup).optional().computed().describe("Backups."),
        Attr::set("allowed_namespaces", Type::String).optional().computed().describe("Kubernetes namespaces whose pods may connect."),
        Attr::set("extensions", Type::String).optional().computed().describe("Extensions made in the initial database."),
        Attr::string("power").optional().computed().describe(
            "`on` (default) or `off`: no PostgreSQL, no node, the volumes and the address stay. In a schedule, a change of it holds until the \
             schedule's next boundary, and what the schedule does is not shown here.",
        ),
        Attr::bool("deletion_protection").optional().computed().describe("While `true` (default) every destroy is refused at plan."),
        Attr::nested("deletion", Nesting::Single, deletion).optional().computed().describe("What a destroy does."),
        Attr::nested("maintenance_window", Nesting::Single, window)
            .optional()
            .computed()
            .describe("When Kiven may start maintenance by itself: newer machine images under the nodes, a new server certificate."),
    ]
}

fn answered() -> Vec<Attr> {
    vec![
        Attr::string("id").computed().describe("The database's id, for life."),
        Attr::string("status").computed().describe("Where it is in its life, such as `available` or `paused`."),
        Attr::string("host").computed().describe("The primary's host name inside the cluster."),
        Attr::number("port").computed().describe("The port of every host."),
        Attr::string("pooler_host").computed().describe("PgBouncer's host name, or the primary's where there is none."),
        Attr::string("read_only_host").computed().describe("The standbys' host name."),
        Attr::string("database").computed().describe("The initial database."),
        Attr::string("username").computed().describe("Its owner. The password is in a Secret in your cluster, never here."),
        Attr::string("connection_uri").computed().describe("The connection string, without a password."),
        Attr::string("ca_certificate").computed().describe("The certificate authority that clients verify, PEM."),
        Attr::string("node_type").computed().describe("The node class, EC2's name."),
        Attr::number("monthly_cost_usd").computed().describe("USD a month on your own AWS bill when always on, at most."),
        Attr::string("operation_id").computed().describe("The operation that runs or ran last."),
        Attr::string("schedule_id").computed().describe("The `kiven_power_schedule` that it follows."),
    ]
}

/// A request read from a configuration or plan, with what could not be read.
pub(super) struct Asked {
    pub(super) request: DatabaseRequest,
    /// Attributes that are not wholly known; the request holds a stand-in for them.
    pub(super) unknown: Vec<&'static str>,
    /// Numbers that are none the request could carry.
    pub(super) violations: Vec<Violation>,
}

/// Attributes that a request carries.
const CARRIED: [&str; 16] = [
    "name",
    "environment_id",
    "plan",
    "custom",
    "postgres_version",
    "storage_gb",
    "instances",
    "parameters",
    "pooler",
    "backup",
    "allowed_namespaces",
    "extensions",
    "power",
    "deletion_protection",
    "deletion",
    "maintenance_window",
];

impl Asked {
    /// Reads a value; null and unknown attributes take their default.
    pub(super) fn read(value: &Value) -> Self {
        let unknown: Vec<&'static str> = CARRIED.into_iter().filter(|name| !value.get(name).is_wholly_known()).collect();
        let known = |name: &str| if unknown.contains(&name) { &Value::Null } else { value.get(name) };
        let mut violations = Vec::new();
        let mut whole = |field: &str, value: &Value, code: Code| whole(field, value, code, &mut violations);
        let (custom, pooler, backup, deletion) = (known("custom"), known("pooler"), known("backup"), known("deletion"));
        let window = known("maintenance_window");
        let request = DatabaseRequest {
            name: text(known("name")).unwrap_or_else(|| "unknown".to_owned()),
            // Stands in for an id that is known after apply.
            environment_id: text(known("environment_id")).unwrap_or_else(|| EnvironmentId::from_random([0; 16]).to_string()),
            plan: text(known("plan")).unwrap_or_else(|| "startup".to_owned()),
            custom: (!custom.is_null()).then(|| CustomRequest {
                vcpu: whole("custom.vcpu", custom.get("vcpu"), Code::CUSTOM_SIZE_INVALID).unwrap_or(1),
                memory_gib: whole("custom.memory_gib", custom.get("memory_gib"), Code::CUSTOM_SIZE_INVALID).unwrap_or(1),
            }),
            postgres_version: whole("postgres_version", known("postgres_version"), Code::VERSION_NOT_OFFERED),
            storage_gb: whole("storage_gb", known("storage_gb"), Code::STORAGE_INVALID),
            instances: whole("instances", known("instances"), Code::INSTANCES_INVALID),
            parameters: texts_by_name(known("parameters")),
            pooler: PoolerRequest {
                enabled: pooler.get("enabled").as_bool(),
                mode: text(pooler.get("mode")),
                pool_size: whole("pooler.pool_size", pooler.get("pool_size"), Code::POOLER_INVALID),
            },
            backup: BackupRequest {
                backup_retention_days: whole("backup.backup_retention_days", backup.get("backup_retention_days"), Code::BACKUP_INVALID),
                rpo_minutes: whole("backup.rpo_minutes", backup.get("rpo_minutes"), Code::BACKUP_INVALID),
            },
            allowed_namespaces: texts(known("allowed_namespaces")),
            extensions: texts(known("extensions")),
            power: text(known("power")),
            deletion_protection: known("deletion_protection").as_bool(),
            deletion: DeletionRequest {
                final_backup: deletion.get("final_backup").as_bool(),
                grace_days: whole("deletion.grace_days", deletion.get("grace_days"), Code::DELETION_INVALID),
            },
            maintenance_window: MaintenanceWindowRequest {
                days: (!window.get("days").is_null()).then(|| texts(window.get("days"))),
                start: text(window.get("start")),
                end: text(window.get("end")),
                time_zone: text(window.get("time_zone")),
            },
        };
        Self { request, unknown, violations }
    }

    /// Takes an attribute as it is elsewhere: for what is not known yet.
    pub(super) fn keep(&mut self, name: &str, from: &Self) {
        let (mine, theirs) = (&mut self.request, from.request.clone());
        match name {
            "name" => mine.name = theirs.name,
            "environment_id" => mine.environment_id = theirs.environment_id,
            "plan" => mine.plan = theirs.plan,
            "custom" => mine.custom = theirs.custom,
            "postgres_version" => mine.postgres_version = theirs.postgres_version,
            "storage_gb" => mine.storage_gb = theirs.storage_gb,
            "instances" => mine.instances = theirs.instances,
            "parameters" => mine.parameters = theirs.parameters,
            "pooler" => mine.pooler = theirs.pooler,
            "backup" => mine.backup = theirs.backup,
            "allowed_namespaces" => mine.allowed_namespaces = theirs.allowed_namespaces,
            "extensions" => mine.extensions = theirs.extensions,
            _ => {}
        }
    }

    /// Whether every one of these attributes is known.
    pub(super) fn knows(&self, names: &[&str]) -> bool {
        !names.iter().any(|name| self.unknown.contains(name))
    }

    /// Whether a violation is about what is known, not about a stand-in.
    pub(super) fn counts(&self, violation: &Violation) -> bool {
        let attribute = violation.field.split('.').next().unwrap_or_default();
        // Sizes are judged by the plan: without it there is nothing to say about them.
        let sized = ["custom", "storage_gb", "instances"].contains(&attribute);
        self.knows(&[attribute]) && (!sized || self.knows(&["plan", "custom", "storage_gb", "instances"]))
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// In order, so that the same set is always the same request.
fn texts(value: &Value) -> Vec<String> {
    let mut all: Vec<String> = value.as_items().unwrap_or_default().iter().filter_map(text).collect();
    all.sort();
    all
}

fn texts_by_name(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_members().into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

fn whole(field: &str, value: &Value, code: Code, violations: &mut Vec<Violation>) -> Option<u32> {
    let Value::Number(number) = value else { return None };
    let whole = number.as_i64().and_then(|number| u32::try_from(number).ok());
    if whole.is_none() {
        let hint = "Write a whole number that is not negative.";
        violations.push(Violation::new(code, field, format!("`{number}` is no whole number of this size"), hint));
    }
    whole
}

/// The state of a database as the API describes it.
pub(super) fn state_of(view: &DatabaseView, timeouts: &Value) -> Result<Value, Diagnostic> {
    let mut state = value_of(&schema(), view)?;
    state.set("power", power_word(view.power_state));
    state.set("timeouts", timeouts.clone());
    Ok(state)
}

/// The word of a power state in HCL.
pub(super) fn power_word(power: Power) -> &'static str {
    match power {
        Power::On => "on",
        Power::Off => "off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_of_a_request_is_in_the_schema() {
        let names: Vec<_> = schema().names().collect();
        assert!(CARRIED.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn numbers_that_are_none_are_told_by_field() {
        let value = Value::object([
            ("storage_gb", Value::from(-5)),
            ("instances", Value::from(1.5)),
            ("pooler", Value::object([("pool_size", Value::from(5))])),
        ]);
        let asked = Asked::read(&value);
        let fields: Vec<_> = asked.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["storage_gb", "instances"]);
        assert_eq!(asked.request.pooler.pool_size, Some(5));
    }

    #[test]
    fn an_unknown_attribute_is_not_judged() {
        let asked = Asked::read(&Value::object([("plan", Value::Unknown), ("name", "Shop".into())]));
        assert!(asked.counts(&Violation::new(Code::NAME_INVALID, "name", "", "")));
        assert!(!asked.counts(&Violation::new(Code::STORAGE_INVALID, "storage_gb", "", "")));
        assert!(!asked.counts(&Violation::new(Code::PLAN_UNKNOWN, "plan", "", "")));
    }
}
