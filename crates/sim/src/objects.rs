//! What a Kubernetes object says of itself, and what may be applied.
use kiven_model::names::DATABASE_NAMESPACE;
use serde_json::Value;

/// The label that ties an object to its database.
pub(crate) const DATABASE: &str = "kiven.io/database";
/// The annotation that says which operation made an object.
pub(crate) const MADE_BY: &str = "kiven.io/made-by";
/// CloudNativePG's annotation for hibernation.
pub(crate) const HIBERNATION: &str = "cnpg.io/hibernation";
/// What a database is made of.
const KINDS: [&str; 7] = ["Cluster", "ObjectStore", "Service", "Pooler", "NetworkPolicy", "ScheduledBackup", "Database"];

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
/// `Kind/name`.
pub(crate) fn key(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}
pub(crate) fn label(object: &Value) -> String {
    text(&object["metadata"]["labels"][DATABASE])
}
pub(crate) fn annotation(object: &Value, name: &str) -> String {
    text(&object["metadata"]["annotations"][name])
}

/// Whether a command about this database may apply it, over what is there.
pub(crate) fn judge(object: &Value, current: Option<&Value>, database: &str, consent: bool) -> Result<(), String> {
    let key = key(object);
    if !KINDS.contains(&object["kind"].as_str().unwrap_or_default()) || object["metadata"]["namespace"] != DATABASE_NAMESPACE {
        return Err(format!("{key} is of an unknown kind, or outside of {DATABASE_NAMESPACE}"));
    }
    if label(object) != database || annotation(object, MADE_BY).is_empty() {
        return Err(format!("{key} is another database's, or does not say who made it"));
    }
    let Some(current) = current else { return Ok(()) };
    if label(current) != database || annotation(current, MADE_BY) != annotation(object, MADE_BY) {
        return Err(format!("{key} is there and is another's"));
    }
    if !consent && object["spec"]["instances"].as_u64() < current["spec"]["instances"].as_u64() && object["kind"] == "Cluster" {
        return Err(format!("{key} would shrink"));
    }
    Ok(())
}
