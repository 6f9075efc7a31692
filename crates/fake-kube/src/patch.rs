//! Merge patch (RFC 7386) and the four JSON Patch (RFC 6902) verbs that controllers use. Pure.
use crate::error::ApiError;
use serde_json::{Map, Value};

/// Merges `patch` into `target`: null removes, maps merge, everything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a JSON Patch document of add, remove, replace and test.
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let wrong = |message: &str| ApiError::BadRequest(format!("json patch: {message}"));
    for step in patch.as_array().ok_or_else(|| wrong("expected a list"))? {
        let path = step["path"].as_str().ok_or_else(|| wrong("expected a path"))?;
        let (parent, last) = path.rsplit_once('/').ok_or_else(|| wrong("expected a path that begins with /"))?;
        let last = last.replace("~1", "/").replace("~0", "~");
        match step["op"].as_str().unwrap_or_default() {
            "test" => {
                if target.pointer(path).unwrap_or(&Value::Null) != &step["value"] {
                    return Err(ApiError::Invalid { field: "patch", message: format!("the test of {path} failed") });
                }
            }
            op @ ("add" | "replace" | "remove") => {
                let holder = target.pointer_mut(parent).ok_or_else(|| wrong("a path's parent does not exist"))?;
                edit(holder, op, &last, &step["value"]).ok_or_else(|| wrong("a path does not exist"))?;
            }
            _ => return Err(wrong("expected add, remove, replace or test")),
        }
    }
    Ok(())
}

fn edit(holder: &mut Value, op: &str, last: &str, value: &Value) -> Option<()> {
    match holder {
        Value::Object(map) => {
            if op == "remove" {
                map.remove(last)?;
            } else {
                map.insert(last.into(), value.clone());
            }
        }
        Value::Array(list) => {
            let at = if last == "-" { list.len() } else { last.parse().ok()? };
            match op {
                "add" if at <= list.len() => list.insert(at, value.clone()),
                "replace" if at < list.len() => list[at] = value.clone(),
                "remove" if at < list.len() => drop(list.remove(at)),
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_removes_nulls_and_keeps_the_rest() {
        let mut target = json!({ "a": { "b": 1, "c": 2 }, "l": [1] });
        merge(&mut target, &json!({ "a": { "b": null, "d": {} }, "l": [2, 3] }));
        assert_eq!(target, json!({ "a": { "c": 2, "d": {} }, "l": [2, 3] }));
    }

    #[test]
    fn json_patch_edits_maps_and_lists() {
        let mut target = json!({ "m": { "f": ["a"] } });
        let steps = json!([
            { "op": "test", "path": "/m/f", "value": ["a"] }, { "op": "add", "path": "/m/f/-", "value": "b" },
            { "op": "remove", "path": "/m/f/0" }, { "op": "add", "path": "/m/x~1y", "value": 1 }]);
        json_patch(&mut target, &steps).unwrap();
        assert_eq!(target, json!({ "m": { "f": ["b"], "x/y": 1 } }));
        assert!(json_patch(&mut target, &json!([{ "op": "remove", "path": "/m/none" }])).is_err());
        assert!(json_patch(&mut target, &json!([{ "op": "test", "path": "/m/f", "value": 1 }])).is_err());
    }
}
