//! What an object may look like at all: every field that Kiven builds, and the values that matter. What is not named is refused.
use crate::guardrails::refuse;
use kiven_data_services::cnpg::{DATABASE_LABEL, IMAGE_CATALOG, PLUGIN, STATEMENTS_PARAMETERS, agent_grants, operator_elsewhere};
use kiven_model::command::Command;
use kiven_model::{Problem, parameters};
use serde_json::Value;

/// Fields below `spec`, by kind: `[]` is any element of a list, `*` any one key.
const FIELDS: [(&str, &[&str]); 7] = [
    (
        "Cluster",
        &[
            "affinity/enablePodAntiAffinity",
            "affinity/nodeSelector/*",
            "affinity/podAntiAffinityType",
            "affinity/tolerations/[]/*",
            "affinity/topologyKey",
            "bootstrap/initdb/dataChecksums",
            "bootstrap/initdb/database",
            "bootstrap/initdb/encoding",
            "bootstrap/initdb/localeCType",
            "bootstrap/initdb/localeCollate",
            "bootstrap/initdb/owner",
            "bootstrap/initdb/postInitSQL/[]",
            "bootstrap/initdb/secret/name",
            "certificates/serverAltDNSNames/[]",
            "certificates/serverCASecret",
            "enablePDB",
            "enableSuperuserAccess",
            "imageCatalogRef/*",
            "inheritedMetadata/labels/*",
            "instances",
            "managed/roles/[]/ensure",
            "managed/roles/[]/inRoles/[]",
            "managed/roles/[]/login",
            "managed/roles/[]/name",
            "managed/roles/[]/passwordSecret/name",
            "plugins/[]/isWALArchiver",
            "plugins/[]/name",
            "plugins/[]/parameters/barmanObjectName",
            "plugins/[]/parameters/serverName",
            "postgresql/parameters/*",
            "postgresql/synchronous/*",
            "primaryUpdateMethod",
            "primaryUpdateStrategy",
            "resources/limits/*",
            "resources/requests/*",
            "serviceAccountTemplate/metadata/annotations/eks.amazonaws.com~role-arn",
            "smartShutdownTimeout",
            "stopDelay",
            "storage/resizeInUseVolumes",
            "storage/size",
            "storage/storageClass",
        ],
    ),
    (
        "Pooler",
        &[
            "cluster/name",
            "instances",
            "pgbouncer/parameters/*",
            "pgbouncer/poolMode",
            "template/metadata/labels/*",
            "template/spec/containers/[]/name",
            "template/spec/containers/[]/resources/limits/*",
            "template/spec/containers/[]/resources/requests/*",
            "template/spec/nodeSelector/*",
            "template/spec/terminationGracePeriodSeconds",
            "template/spec/tolerations/[]/*",
            "type",
        ],
    ),
    ("ScheduledBackup", &["backupOwnerReference", "cluster/name", "immediate", "method", "pluginConfiguration/name", "schedule", "suspend"]),
    ("Database", &["cluster/name", "databaseReclaimPolicy", "ensure", "extensions/[]/ensure", "extensions/[]/name", "name", "owner"]),
    (
        "ObjectStore",
        &[
            "configuration/data/compression",
            "configuration/destinationPath",
            "configuration/s3Credentials/inheritFromIAMRole",
            "configuration/wal/compression",
            "configuration/wal/maxParallel",
            "instanceSidecarConfiguration/resources/limits/*",
            "instanceSidecarConfiguration/resources/requests/*",
            "retentionPolicy",
        ],
    ),
    (
        "NetworkPolicy",
        &[
            "egress/[]/ports/[]/port",
            "egress/[]/ports/[]/protocol",
            "egress/[]/to/[]/ipBlock/cidr",
            "egress/[]/to/[]/ipBlock/except/[]",
            "egress/[]/to/[]/namespaceSelector/matchLabels/kubernetes.io~metadata.name",
            "ingress/[]/from/[]/namespaceSelector/matchLabels/kiven.io~operator",
            "ingress/[]/from/[]/namespaceSelector/matchLabels/kubernetes.io~metadata.name",
            "ingress/[]/from/[]/podSelector/matchLabels/app.kubernetes.io~name",
            "ingress/[]/ports/[]/port",
            "ingress/[]/ports/[]/protocol",
            "podSelector/matchLabels/kiven.io~database",
            "policyTypes/[]",
        ],
    ),
    ("Service", &["ports/[]/name", "ports/[]/port", "ports/[]/protocol", "ports/[]/targetPort", "selector/*", "type"]),
];

/// Beside `spec`.
const TOP: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
/// Deepest nesting that is looked into; deeper is refused.
const DEPTH_MAX: usize = 24;
/// Parameters of PostgreSQL that Kiven sets itself; all others are those that a customer may ask for.
const PARAMETERS: [&str; 2] = ["archive_timeout", "kiven.revision"];
/// A major later than any: whether a parameter is in the running one is PostgreSQL's to say.
const ANY_MAJOR: u32 = 99;
/// Roles that a role of Kiven's may be in.
const IN_ROLES: [&str; 2] = ["pg_monitor", "pg_checkpoint"];
/// Where instances learn the node's credentials.
const METADATA_ADDRESS: &str = "169.254.169.254/32";

/// Judges fields and values of an object of a kind that commands may apply.
pub(crate) fn judge_shape(command: &Command, kind: &str, object: &Value) -> Result<(), Problem> {
    if let Some(key) = object.as_object().into_iter().flat_map(|map| map.keys()).find(|key| !TOP.contains(&key.as_str())) {
        return Err(refuse(format!("{kind} with `{key}`")));
    }
    let fields = FIELDS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, fields)| fields);
    let spec = &object["spec"];
    if !spec.is_object() {
        return Err(refuse(format!("{kind} without a spec")));
    }
    let patterns: Vec<Vec<&str>> = fields.iter().map(|field| field.split('/').collect()).collect();
    if let Some(path) = foreign(spec, &mut Vec::new(), &patterns) {
        return Err(refuse(format!("{kind} with `{path}`")));
    }
    let own = own_part(command);
    match kind {
        "Cluster" => judge_cluster(&own, spec),
        "Pooler" => judge_pooler(spec),
        "Database" if spec["databaseReclaimPolicy"] != "retain" => Err(refuse("a Database that takes its data with it")),
        "NetworkPolicy" => judge_network(command, spec),
        "Service" => judge_service(&own, spec),
        _ => Ok(()),
    }
}

/// The part of a name that says whose it is.
pub(crate) fn own_part(command: &Command) -> String {
    command.database_id.as_ref().map(|id| format!("-{}-", id.short(6))).unwrap_or_default()
}

/// The first field that no pattern names. Keys are compared with `/` written as `~`.
fn foreign(value: &Value, path: &mut Vec<String>, patterns: &[Vec<&str>]) -> Option<String> {
    let matches = |pattern: &[&str], path: &[String]| pattern.iter().zip(path).all(|(one, key)| *one == key || (*one == "*" && key != "[]"));
    if path.len() > DEPTH_MAX {
        return Some("too deep a nesting".to_owned());
    }
    let mut into = |key: String, inner: &Value| {
        path.push(key);
        let found = foreign(inner, path, patterns);
        path.pop();
        found
    };
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().find_map(|(key, inner)| into(key.replace('/', "~"), inner)),
        Value::Array(list) if !list.is_empty() => list.iter().find_map(|inner| into("[]".to_owned(), inner)),
        // What is empty says nothing, where something might have stood.
        Value::Object(_) | Value::Array(_) | Value::Null => {
            let known = patterns.iter().any(|pattern| pattern.len() >= path.len() && matches(pattern, path));
            (!known).then(|| path.join("."))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let known = patterns.iter().any(|pattern| pattern.len() == path.len() && matches(pattern, path));
            (!known).then(|| path.join("."))
        }
    }
}

fn judge_cluster(own: &str, spec: &Value) -> Result<(), Problem> {
    if spec["enableSuperuserAccess"] == true {
        return Err(refuse("a Cluster whose superuser has a password"));
    }
    let catalog = &spec["imageCatalogRef"];
    if catalog["kind"] != "ImageCatalog" || catalog["name"] != IMAGE_CATALOG {
        return Err(refuse("a Cluster with images of another catalog"));
    }
    let plugins = spec["plugins"].as_array().map_or(&[][..], Vec::as_slice);
    if plugins.len() != 1 || plugins.iter().any(|plugin| plugin["name"] != PLUGIN || plugin["isWALArchiver"] != true) {
        return Err(refuse("a Cluster that archives otherwise than by the one plugin"));
    }
    let asked: Vec<&str> = spec["bootstrap"]["initdb"]["postInitSQL"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !asked.is_empty() && asked != agent_grants() {
        return Err(refuse("a Cluster that begins with SQL of somebody else's"));
    }
    let roles: Vec<&Value> = spec["managed"]["roles"].as_array().into_iter().flatten().collect();
    let in_roles = roles.iter().flat_map(|role| role["inRoles"].as_array().into_iter().flatten());
    if in_roles.into_iter().any(|role| !IN_ROLES.iter().any(|known| role == known)) {
        return Err(refuse("a role with more rights than Kiven gives"));
    }
    let secrets = roles.iter().map(|role| &role["passwordSecret"]["name"]);
    let others = [&spec["bootstrap"]["initdb"]["secret"]["name"], &spec["certificates"]["serverCASecret"]];
    if secrets.chain(others).filter_map(Value::as_str).any(|name| !name.contains(own)) {
        return Err(refuse("a Cluster that refers to another database's Secret"));
    }
    judge_parameters(&spec["postgresql"]["parameters"])
}

fn judge_parameters(all: &Value) -> Result<(), Problem> {
    for (name, value) in all.as_object().into_iter().flatten() {
        let asked = value.as_str().is_some_and(|value| parameters::check(name, value, ANY_MAJOR).is_ok());
        let counts = STATEMENTS_PARAMETERS.iter().any(|(known, kept)| name == known && value == kept);
        if !asked && !counts && !PARAMETERS.contains(&name.as_str()) {
            return Err(refuse(format!("the parameter `{}`", name.chars().take(64).collect::<String>())));
        }
    }
    Ok(())
}

fn judge_pooler(spec: &Value) -> Result<(), Problem> {
    let containers = spec["template"]["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let own = containers.len() <= 1 && containers.iter().all(|container| container["name"] == "pgbouncer");
    if own { Ok(()) } else { Err(refuse("a Pooler with containers of its own")) }
}

/// A policy stands before its own database only, and opens it to namespaces that are named.
fn judge_network(command: &Command, spec: &Value) -> Result<(), Problem> {
    let types = spec["policyTypes"].as_array().map_or(0, Vec::len);
    let selected = spec["podSelector"]["matchLabels"][DATABASE_LABEL].as_str();
    if types != 2 || selected.is_none() || selected != command.database_id.as_ref().map(|id| id.as_str()) {
        return Err(refuse("a NetworkPolicy that is not before its own database in both directions"));
    }
    let rules = |direction: &str| spec[direction].as_array().cloned().unwrap_or_default();
    let named = |peer: &Value| peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"].is_string();
    let peers = |rule: &Value, side: &str| rule[side].as_array().cloned().unwrap_or_default();
    // The operator's own pods, where the customer has labelled their namespace.
    let operator = operator_elsewhere();
    for rule in rules("ingress") {
        let from = peers(&rule, "from");
        if from.is_empty() || !from.iter().all(|peer| named(peer) || *peer == operator) {
            return Err(refuse("a NetworkPolicy that lets in from anywhere"));
        }
    }
    for rule in rules("egress") {
        let (to, ports) = (peers(&rule, "to"), peers(&rule, "ports"));
        let resolves = to.is_empty() && !ports.is_empty() && ports.iter().all(|port| port["port"] == 53);
        let shut = |peer: &Value| peer["ipBlock"]["except"].as_array().is_some_and(|except| except.iter().any(|net| net == METADATA_ADDRESS));
        if !resolves && (to.is_empty() || !to.iter().all(|peer| named(peer) || shut(peer))) {
            return Err(refuse("a NetworkPolicy that lets out to anywhere"));
        }
    }
    Ok(())
}

fn judge_service(own: &str, spec: &Value) -> Result<(), Problem> {
    if spec["type"] != "ClusterIP" {
        return Err(refuse("a Service that is not ClusterIP"));
    }
    let leads = ["cnpg.io/cluster", "cnpg.io/poolerName"].map(|label| spec["selector"][label].as_str());
    if leads.iter().flatten().any(|name| name.contains(own)) { Ok(()) } else { Err(refuse("a Service that leads to another database")) }
}
