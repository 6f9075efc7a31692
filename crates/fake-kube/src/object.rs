//! Small readings of and repairs to objects' metadata. Pure, but for the random parts of names and uids.
use crate::{error::ApiError, kinds::Kind};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

const NAME_BYTES_MAX: usize = 253;

/// The text at a JSON pointer, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn finalizers_left(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// Whether a change puts another hold on what is going already.
pub(crate) fn holds_longer(live: &Value, next: &Value) -> bool {
    let list = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let before = list(live);
    is_deleting(live) && list(next).iter().any(|finalizer| !before.contains(finalizer))
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub(crate) fn owners(object: &Value) -> Vec<&str> {
    let list = object["metadata"]["ownerReferences"].as_array();
    list.map(|list| list.iter().map(|owner| text(owner, "/uid")).collect()).unwrap_or_default()
}

pub(crate) fn random_hex(bytes: usize) -> Result<String, ApiError> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(|_| ApiError::Issuer)?;
    Ok(hex::encode(buffer))
}

pub(crate) fn new_uid() -> Result<String, ApiError> {
    let h = random_hex(16)?;
    Ok(format!("{}-{}-4{}-8{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..]))
}

/// Checks type, namespace and name of a submitted object and fills what the path says.
pub(crate) fn accept(kind: &Kind, namespace: &str, name: Option<&str>, object: &mut Value) -> Result<String, ApiError> {
    if !object.is_object() {
        return Err(ApiError::BadRequest("expected an object".into()));
    }
    for (field, served) in [("kind", kind.kind.to_owned()), ("apiVersion", kind.api_version())] {
        let sent = text(object, &format!("/{field}"));
        if !sent.is_empty() && sent != served {
            return Err(ApiError::BadRequest(format!("{field} is {sent}, but this path serves {served}")));
        }
        object[field] = json!(served);
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let sent = text(object, "/metadata/namespace");
    if !sent.is_empty() && sent != namespace {
        return Err(ApiError::BadRequest("the namespace of the object does not match the namespace of the request".into()));
    }
    if kind.namespaced {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let (sent, prefix) = (text(object, "/metadata/name"), text(object, "/metadata/generateName"));
    let chosen = match name {
        Some(name) if !sent.is_empty() && sent != name => {
            return Err(ApiError::BadRequest("the name of the object does not match the name of the request".into()));
        }
        Some(name) => name.to_owned(),
        None if sent.is_empty() && !prefix.is_empty() => format!("{prefix}{}", &random_hex(3)?[..5]),
        None => sent.to_owned(),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.' || (c == ':' && kind.group.starts_with("rbac"));
    let edges = chosen.starts_with(['-', '.']) || chosen.ends_with(['-', '.']);
    if chosen.is_empty() || chosen.len() > NAME_BYTES_MAX || edges || !chosen.chars().all(allowed) {
        return Err(ApiError::Invalid { field: "metadata.name", message: format!("\"{chosen}\" is not a DNS subdomain name") });
    }
    object["metadata"]["name"] = json!(chosen);
    Ok(chosen)
}

/// Turns a Secret's `stringData` into `data`, checks the rest, and drops kubectl's copy of both.
pub(crate) fn settle_secret(object: &mut Value) -> Result<(), ApiError> {
    let Some(map) = object.as_object_mut() else { return Ok(()) };
    if let Some(Value::Object(plain)) = map.remove("stringData") {
        let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
        for (key, value) in plain {
            data[key] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
        }
    }
    if let Some(Value::Object(data)) = map.get("data")
        && data.values().any(|value| value.as_str().is_none_or(|text| STANDARD.decode(text).is_err()))
    {
        return Err(ApiError::BadRequest("data: expected base64 text in every value".into()));
    }
    map.entry("type").or_insert_with(|| json!("Opaque"));
    if let Some(Value::Object(annotations)) = map.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations")) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    Ok(())
}

/// Brings a changed object within what this request may change: server's metadata, and status or the rest.
pub(crate) fn confine(kind: &Kind, live: &Value, mut next: Value, status: bool) -> Value {
    if status {
        let mut kept = live.clone();
        match next.as_object_mut().and_then(|map| map.remove("status")) {
            Some(value) => kept["status"] = value,
            None => drop(kept.as_object_mut().map(|map| map.remove("status"))),
        }
        kept["metadata"]["managedFields"] = next["metadata"]["managedFields"].take();
        return kept;
    }
    let Some(map) = next.as_object_mut() else { return live.clone() };
    if kind.status {
        map.remove("status");
        if let Some(value) = live.get("status") {
            map.insert("status".into(), value.clone());
        }
    }
    for field in ["apiVersion", "kind"] {
        map.insert(field.into(), live[field].clone());
    }
    if let Some(metadata) = map.entry("metadata").or_insert_with(|| json!({})).as_object_mut() {
        for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion"] {
            match live["metadata"].get(field) {
                Some(value) => drop(metadata.insert(field.into(), value.clone())),
                None => drop(metadata.remove(field)),
            }
        }
    }
    if body(&next) != body(live) {
        next["metadata"]["generation"] = json!(live["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
    }
    next
}

fn body(object: &Value) -> Map<String, Value> {
    let outside = |key: &String| key != "metadata" && key != "status";
    object.as_object().map(|map| map.iter().filter(|(k, _)| outside(k)).map(|(k, v)| (k.clone(), v.clone())).collect()).unwrap_or_default()
}
