//! Who owns which field: server-side apply on maps. A list is one field, owned whole. Pure.
use crate::error::ApiError;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

type Path = Vec<String>;

/// Metadata that the server alone writes; nobody owns it.
const SERVER_METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Who writes, how, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) status: bool,
    pub(crate) now: &'a str,
}

struct Entry {
    manager: String,
    operation: String,
    status: bool,
    time: Value,
    paths: BTreeSet<Path>,
}

impl Entry {
    fn is(&self, writer: Writer<'_>, operation: &str) -> bool {
        self.manager == writer.manager && self.status == writer.status && self.operation == operation
    }
}

/// Applies `wanted` over `live` for one manager: its fields are set, fields it owned and no longer names are
/// removed unless shared, and a field of another manager with another value is a conflict unless forced.
pub(crate) fn apply(live: &Value, wanted: &Value, writer: Writer<'_>, force: bool) -> Result<Value, ApiError> {
    let wanted = &without_nulls(wanted);
    let leaves = leaves(wanted);
    let mut entries = read(live);
    let mut causes = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is(writer, "Apply")) {
        let lost: Vec<Path> = entry.paths.iter().filter(|owned| conflicts(live, wanted, &leaves, owned)).cloned().collect();
        if force {
            entry.paths.retain(|path| !lost.contains(path));
        } else {
            causes.extend(lost.iter().map(|path| (format!(".{}", path.join(".")), entry.manager.clone())));
        }
    }
    if !causes.is_empty() {
        let message = format!("Apply failed with {} conflict(s): {}", causes.len(), describe(&causes));
        return Err(ApiError::Conflict { message, causes });
    }
    let mut next = live.clone();
    union(&mut next, wanted);
    let before = entries.iter().find(|entry| entry.is(writer, "Apply")).map(|entry| entry.paths.clone()).unwrap_or_default();
    for path in before.difference(&leaves) {
        let kept = |owned: &Path| owned.starts_with(path);
        let shared = entries.iter().filter(|entry| !entry.is(writer, "Apply")).any(|entry| entry.paths.iter().any(kept));
        if !shared && !leaves.iter().any(kept) {
            remove(&mut next, path);
        }
    }
    union(&mut next, wanted);
    record(&mut entries, writer, "Apply", leaves);
    write(&mut next, live, &entries);
    Ok(next)
}

/// Records a create, update or patch: what it changed it owns, and nobody else does any longer.
pub(crate) fn update(live: &Value, next: &mut Value, writer: Writer<'_>) {
    let (before, after) = (leaves(live), leaves(next));
    let changed: BTreeSet<Path> = after.iter().filter(|path| at(live, path) != at(next, path)).cloned().collect();
    let mut entries = read(live);
    for entry in &mut entries {
        entry.paths.retain(|path| !changed.contains(path) && (after.contains(path) || !before.contains(path)));
    }
    let mut mine = entries.iter().find(|entry| entry.is(writer, "Update")).map(|entry| entry.paths.clone()).unwrap_or_default();
    mine.extend(changed);
    record(&mut entries, writer, "Update", mine);
    write(next, live, &entries);
}

fn conflicts(live: &Value, wanted: &Value, leaves: &BTreeSet<Path>, owned: &Path) -> bool {
    leaves.iter().any(|leaf| {
        let same_branch = leaf.starts_with(owned) || owned.starts_with(leaf);
        let joins_a_map = at(wanted, leaf).is_some_and(Value::is_object) && at(live, leaf).is_none_or(Value::is_object);
        let beneath_a_map = leaf.len() > owned.len() && at(live, owned).is_none_or(Value::is_object);
        same_branch && !joins_a_map && !beneath_a_map && at(live, leaf) != at(wanted, leaf)
    })
}

fn describe(causes: &[(String, String)]) -> String {
    causes.iter().map(|(field, owner)| format!("{field} is owned by \"{owner}\"")).collect::<Vec<_>>().join(", ")
}

fn record(entries: &mut Vec<Entry>, writer: Writer<'_>, operation: &str, paths: BTreeSet<Path>) {
    match entries.iter_mut().find(|entry| entry.is(writer, operation)) {
        Some(entry) if entry.paths == paths => {}
        Some(entry) => (entry.paths, entry.time) = (paths, json!(writer.now)),
        None => {
            entries.push(Entry { manager: writer.manager.into(), operation: operation.into(), status: writer.status, time: json!(writer.now), paths })
        }
    }
    entries.retain(|entry| !entry.paths.is_empty());
}

fn read(object: &Value) -> Vec<Entry> {
    let entry = |field: &Value| {
        let mut paths = BTreeSet::new();
        decode(&field["fieldsV1"], &mut Vec::new(), &mut paths);
        Entry {
            manager: field["manager"].as_str().unwrap_or_default().into(),
            operation: field["operation"].as_str().unwrap_or_default().into(),
            status: field["subresource"] == "status",
            time: field["time"].clone(),
            paths,
        }
    };
    object["metadata"]["managedFields"].as_array().map(|list| list.iter().map(entry).collect()).unwrap_or_default()
}

fn write(next: &mut Value, live: &Value, entries: &[Entry]) {
    let api_version = if next["apiVersion"].is_string() { next["apiVersion"].clone() } else { live["apiVersion"].clone() };
    let fields: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut fields = json!({});
            entry.paths.iter().for_each(|path| encode(&mut fields, path));
            let mut field = json!({
                "manager": entry.manager, "operation": entry.operation, "time": entry.time, "apiVersion": api_version,
                "fieldsType": "FieldsV1", "fieldsV1": fields });
            if entry.status {
                field["subresource"] = json!("status");
            }
            field
        })
        .collect();
    next["metadata"]["managedFields"] = Value::Array(fields);
}

fn decode(fields: &Value, path: &mut Path, into: &mut BTreeSet<Path>) {
    let Value::Object(map) = fields else { return };
    if map.is_empty() && !path.is_empty() {
        into.insert(path.clone());
    }
    for (key, below) in map {
        path.push(key.strip_prefix("f:").unwrap_or(key).into());
        decode(below, path, into);
        path.pop();
    }
}

fn encode(fields: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    if let Value::Object(map) = fields {
        encode(map.entry(format!("f:{first}")).or_insert_with(|| json!({})), rest);
    }
}

fn leaves(object: &Value) -> BTreeSet<Path> {
    fn walk(value: &Value, path: &mut Path, into: &mut BTreeSet<Path>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, below) in map {
                    let of_the_server = match path.as_slice() {
                        [] => key == "apiVersion" || key == "kind",
                        [parent] => parent == "metadata" && SERVER_METADATA.contains(&key.as_str()),
                        _ => false,
                    };
                    if !of_the_server {
                        path.push(key.clone());
                        walk(below, path, into);
                        path.pop();
                    }
                }
            }
            _ => drop(into.insert(path.clone())),
        }
    }
    let mut into = BTreeSet::new();
    if object.as_object().is_some_and(|map| !map.is_empty()) {
        walk(object, &mut Vec::new(), &mut into);
    }
    into
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.as_object()?.get(key))
}

fn union(target: &mut Value, wanted: &Value) {
    match (target, wanted) {
        (Value::Object(target), Value::Object(wanted)) => {
            for (key, value) in wanted {
                union(target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), value);
            }
        }
        (target, wanted) => *target = wanted.clone(),
    }
}

fn remove(target: &mut Value, path: &[String]) {
    let (Value::Object(map), Some((first, rest))) = (target, path.split_first()) else { return };
    let gone = match (map.get_mut(first), rest.is_empty()) {
        (Some(Value::Object(below)), true) => below.is_empty(),
        (Some(_), true) => true,
        (Some(below), false) => {
            remove(below, rest);
            below.as_object().is_some_and(Map::is_empty)
        }
        (None, _) => false,
    };
    if gone {
        map.remove(first);
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(manager: &str) -> Writer<'_> {
        Writer { manager, status: false, now: "2026-01-01T00:00:00Z" }
    }

    #[test]
    fn a_field_dropped_by_its_only_owner_goes_and_a_shared_one_stays() {
        let one = apply(&json!({}), &json!({ "spec": { "a": 1, "b": 2, "m": { "x": 1 } } }), by("one"), false).unwrap();
        let two = apply(&one, &json!({ "spec": { "b": 2, "c": 3 } }), by("two"), false).unwrap();
        let next = apply(&two, &json!({ "spec": { "a": 1 } }), by("one"), false).unwrap();
        assert_eq!(next["spec"], json!({ "a": 1, "b": 2, "c": 3 }));
        let next = apply(&next, &json!({}), by("two"), false).unwrap();
        assert_eq!(next["spec"], json!({ "a": 1 }));
    }

    #[test]
    fn another_managers_value_is_a_conflict_unless_forced() {
        let one = apply(&json!({}), &json!({ "spec": { "a": 1, "l": [1] } }), by("one"), false).unwrap();
        let refused = apply(&one, &json!({ "spec": { "a": 2 } }), by("two"), false).unwrap_err();
        assert_eq!(refused.code().0, 409);
        assert_eq!(refused.status()["details"]["causes"][0]["field"], ".spec.a");
        let forced = apply(&one, &json!({ "spec": { "a": 2 } }), by("two"), true).unwrap();
        let after = apply(&forced, &json!({ "spec": { "l": [1] } }), by("one"), false).unwrap();
        assert_eq!(after["spec"], json!({ "a": 2, "l": [1] }));
    }

    #[test]
    fn an_update_takes_the_fields_it_changed() {
        let live = apply(&json!({}), &json!({ "spec": { "a": 1, "b": 1 } }), by("one"), false).unwrap();
        let mut next = live.clone();
        next["spec"]["a"] = json!(5);
        update(&live, &mut next, by("hand"));
        assert!(apply(&next, &json!({ "spec": { "a": 1, "b": 1 } }), by("one"), false).is_err());
        let forced = apply(&next, &json!({ "spec": { "a": 1, "b": 1 } }), by("one"), true).unwrap();
        assert_eq!(forced["spec"], json!({ "a": 1, "b": 1 }));
    }

    #[test]
    fn applying_the_same_twice_changes_nothing() {
        let wanted = json!({ "metadata": { "name": "x", "labels": { "a": "b" } }, "spec": { "empty": {}, "gone": null } });
        let once = apply(&json!({}), &wanted, by("one"), false).unwrap();
        let later = Writer { now: "2027-01-01T00:00:00Z", ..by("one") };
        assert_eq!(once, apply(&once, &wanted, later, false).unwrap());
        assert_eq!(once["spec"], json!({ "empty": {} }));
        let shrunk = apply(&once, &json!({ "spec": { "empty": { "k": 1 } } }), by("one"), false).unwrap();
        assert_eq!(shrunk["spec"], json!({ "empty": { "k": 1 } }));
        assert!(shrunk["metadata"].get("labels").is_none());
    }
}
