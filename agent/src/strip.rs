//! What is kept of a watched object: what somebody reads. The rest of it would be most of the agent's memory. Pure.
use kube::api::DynamicObject;
use serde_json::{Map, Value};

/// The annotation in which kubectl keeps a whole object a second time.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What is read of a container.
const CONTAINER: [&str; 4] = ["name", "image", "resources", "ports"];
/// What is read of a container's status: its ends.
const CONTAINER_STATUS: [&str; 4] = ["name", "state", "lastState", "restartCount"];

/// Takes from an object what nobody reads, by its kind.
pub(crate) fn strip(kind: &str, object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    match kind {
        "Pod" => {
            keep(object.data.get_mut("spec"), &["nodeName", "nodeSelector", "containers"]);
            each(object.data.pointer_mut("/spec/containers"), &CONTAINER);
            keep(object.data.get_mut("status"), &["phase", "podIP", "conditions", "containerStatuses"]);
            each(object.data.pointer_mut("/status/containerStatuses"), &CONTAINER_STATUS);
        }
        // Images and addresses of a node are large; its labels say the rest.
        "Node" => {
            keep(object.data.get_mut("spec"), &["providerID", "unschedulable"]);
            keep(object.data.get_mut("status"), &["conditions"]);
        }
        // What a Backup was is in the store; which it was and how it ended is read.
        "Backup" => {
            keep(object.data.get_mut("spec"), &["cluster"]);
            keep(object.data.get_mut("status"), &["phase", "startedAt", "stoppedAt", "endWal"]);
        }
        _ => {}
    }
}

fn keep(value: Option<&mut Value>, keys: &[&str]) {
    if let Some(Value::Object(map)) = value {
        let old = std::mem::take(map);
        *map = old.into_iter().filter(|(key, _)| keys.contains(&key.as_str())).collect::<Map<_, _>>();
    }
}

fn each(list: Option<&mut Value>, keys: &[&str]) {
    for item in list.and_then(Value::as_array_mut).into_iter().flatten() {
        keep(Some(item), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stripped(kind: &str, object: Value) -> Value {
        let mut object: DynamicObject = serde_json::from_value(object).unwrap();
        strip(kind, &mut object);
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn what_is_read_stays_and_the_rest_goes() {
        let pod = json!({
            "metadata": { "name": "c-1", "labels": { "a": "b" }, "annotations": { LAST_APPLIED: "{}", "x": "y" }, "managedFields": [{ "manager": "m" }] },
            "spec": { "nodeName": "n", "volumes": [{}], "containers": [{ "name": "postgres", "env": [{}], "resources": { "limits": {} } }] },
            "status": { "phase": "Running", "podIPs": [{}], "containerStatuses": [{ "name": "postgres", "imageID": "i", "lastState": { "terminated": {} } }] },
        });
        let expected = json!({
            "metadata": { "name": "c-1", "labels": { "a": "b" }, "annotations": { "x": "y" } },
            "spec": { "nodeName": "n", "containers": [{ "name": "postgres", "resources": { "limits": {} } }] },
            "status": { "phase": "Running", "containerStatuses": [{ "name": "postgres", "lastState": { "terminated": {} } }] },
        });
        assert_eq!(stripped("Pod", pod), expected);
        let node = json!({ "metadata": { "name": "n" }, "status": { "images": [{}], "conditions": [{ "type": "Ready" }] } });
        assert_eq!(stripped("Node", node)["status"], json!({ "conditions": [{ "type": "Ready" }] }));
        let cluster = json!({ "metadata": { "name": "c" }, "spec": { "instances": 3 }, "status": { "phase": "x" } });
        assert_eq!(stripped("Cluster", cluster.clone()), cluster);
    }
}
