//! The Cluster and its initial database.
use super::{API, HIBERNATION, IMAGE_CATALOG, PLUGIN, REVISION, STORAGE_CLASS, metadata, node_selector, tolerations};
use crate::Generation;
use kiven_model::database::Power;
use kiven_model::names::{AGENT_ROLE, ca_secret, role_secret};
use kiven_model::plan::Durability;
use kiven_model::sizing::sizing;
use serde_json::{Value, json};

/// Seconds that PostgreSQL waits for clients when it is asked to stop.
const SMART_SHUTDOWN_SECONDS: u32 = 15;
/// Seconds after which it is stopped by force; EKS drains nodes within five minutes.
const STOP_SECONDS_MAX: u32 = 240;

/// Parameters by which the operator loads `pg_stat_statements` and makes the extension in every database (CloudNativePG's managed
/// extensions). Utility statements, where passwords stand, are not counted: what is not written down cannot get out.
pub const STATEMENTS_PARAMETERS: [(&str, &str); 3] =
    [("pg_stat_statements.max", "5000"), ("pg_stat_statements.track", "top"), ("pg_stat_statements.track_utility", "off")];

pub(super) fn cluster(generation: &Generation, power: Power) -> Value {
    let spec = &generation.spec;
    let names = generation.names();
    let mut object = json!({
        "apiVersion": API,
        "kind": "Cluster",
        "metadata": metadata(generation, &names.cluster),
        "spec": {
            "instances": spec.instances,
            "imageCatalogRef": { "apiGroup": "postgresql.cnpg.io", "kind": "ImageCatalog", "name": IMAGE_CATALOG, "major": spec.postgres_version },
            "enableSuperuserAccess": false,
            "enablePDB": spec.instances > 1,
            "primaryUpdateStrategy": "unsupervised",
            "primaryUpdateMethod": "switchover",
            "smartShutdownTimeout": SMART_SHUTDOWN_SECONDS,
            "stopDelay": STOP_SECONDS_MAX,
            "storage": { "size": format!("{}Gi", spec.storage_gb), "storageClass": STORAGE_CLASS, "resizeInUseVolumes": true },
            "resources": resources(generation),
            "affinity": {
                "nodeSelector": node_selector(generation),
                "tolerations": tolerations(),
                "enablePodAntiAffinity": true,
                "podAntiAffinityType": "preferred",
                "topologyKey": "topology.kubernetes.io/zone",
            },
            "postgresql": postgresql(generation),
            "bootstrap": { "initdb": initdb(generation) },
            "managed": { "roles": [agent_role(generation)] },
            "certificates": { "serverCASecret": ca_secret(&spec.name, &generation.id), "serverAltDNSNames": super::services::dns_names(generation) },
            "plugins": [{
                "name": PLUGIN,
                "isWALArchiver": true,
                "parameters": { "barmanObjectName": names.object_store, "serverName": names.archive_server },
            }],
            "serviceAccountTemplate": { "metadata": { "annotations": { "eks.amazonaws.com/role-arn": generation.backup_role_arn } } },
            "inheritedMetadata": { "labels": super::labels(generation) },
        },
    });
    object["metadata"]["annotations"][HIBERNATION] = json!(match power {
        Power::On => "off",
        Power::Off => "on",
    });
    object
}

fn resources(generation: &Generation) -> Value {
    let Some(sizing) = sizing(&generation.spec) else { return json!({}) };
    let memory = format!("{}Mi", sizing.postgres.memory_mib);
    json!({
        "requests": { "cpu": format!("{}m", sizing.postgres.cpu_request_millis), "memory": memory },
        "limits": { "cpu": format!("{}m", sizing.postgres.cpu_limit_millis), "memory": memory },
    })
}

fn postgresql(generation: &Generation) -> Value {
    let mut parameters = sizing(&generation.spec).map(|s| s.parameters).unwrap_or_default();
    parameters.insert(REVISION.to_owned(), generation.revision.to_string());
    parameters.extend(STATEMENTS_PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut postgresql = json!({ "parameters": parameters });
    let durability = match generation.spec.plan.durability(generation.spec.instances) {
        Durability::Single => return postgresql,
        Durability::Preferred => "preferred",
        Durability::Required => "required",
    };
    postgresql["synchronous"] = json!({ "method": "any", "number": 1, "dataDurability": durability });
    if durability == "required" {
        postgresql["synchronous"]["failoverQuorum"] = json!(true);
    }
    postgresql
}

fn initdb(generation: &Generation) -> Value {
    let name = &generation.spec.name;
    let owner = name.owner_role();
    json!({
        "database": name.initial_database(),
        "owner": owner,
        "secret": { "name": role_secret(name, &generation.id, &owner) },
        "dataChecksums": true,
        "encoding": "UTF8",
        "localeCType": "C",
        "localeCollate": "C",
        "postInitSQL": agent_grants(),
    })
}

/// The agent reads statistics and asks for a checkpoint and a WAL switch before a pause; nothing else. It refuses a Cluster that
/// begins with any other SQL.
#[must_use]
pub fn agent_grants() -> Vec<String> {
    vec![
        format!("CREATE ROLE {AGENT_ROLE} LOGIN IN ROLE pg_monitor, pg_checkpoint"),
        format!("GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {AGENT_ROLE}"),
    ]
}

fn agent_role(generation: &Generation) -> Value {
    json!({
        "name": AGENT_ROLE,
        "ensure": "present",
        "login": true,
        "inRoles": ["pg_monitor", "pg_checkpoint"],
        "passwordSecret": { "name": role_secret(&generation.spec.name, &generation.id, AGENT_ROLE) },
    })
}

pub(super) fn initial_database(generation: &Generation) -> Value {
    let names = generation.names();
    let name = &generation.spec.name;
    let extensions: Vec<Value> = generation.spec.extensions.iter().map(|extension| json!({ "name": extension, "ensure": "present" })).collect();
    let mut object = json!({
        "apiVersion": API,
        "kind": "Database",
        "metadata": metadata(generation, &names.cluster),
        "spec": {
            "cluster": { "name": names.cluster },
            "name": name.initial_database(),
            "owner": name.owner_role(),
            "databaseReclaimPolicy": "retain",
        },
    });
    if !extensions.is_empty() {
        object["spec"]["extensions"] = json!(extensions);
    }
    object
}
