//! Which instances are asked for their statistics. Pure.
use crate::sql::{Entrance, Place};
use kiven_data_services::Seen;
use kiven_data_services::cnpg::{HIBERNATION, instances};
use kiven_model::DatabaseId;
use serde_json::Value;

/// Phases of a Cluster in which its servers are stopped and started (CloudNativePG's API). Before it is fast a stop is smart: it waits
/// for whoever is connected.
const RESTARTS: [&str; 7] = [
    "Applying configuration",
    "Online upgrade in progress",
    "Primary instance is being restarted in-place",
    "Primary instance is being restarted without a switchover",
    "Switchover in progress",
    "Upgrading Postgres major version",
    "Upgrading cluster",
];

/// One instance that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its pod's UID: another pod is another connection.
    pub(crate) uid: String,
    /// Its pod's name, which its volume's claim has too.
    pub(crate) instance: String,
    pub(crate) cluster: String,
    pub(crate) database: DatabaseId,
    pub(crate) place: Place,
    pub(crate) entrance: Entrance,
    /// The PostgreSQL database whose tables are looked at: the first one.
    pub(crate) inside: String,
}

/// The instances of a database that answer and are to go on doing so. None of them from the moment it is to be paused, or to restart: a
/// server that is asked to stop waits for whoever is still connected.
pub(crate) fn of(database: &DatabaseId, cluster: &str, seen: &Seen) -> Vec<Target> {
    let Some(object) = &seen.cluster else { return Vec::new() };
    let metadata = &object["metadata"];
    let paused = metadata["annotations"][HIBERNATION] == "on" || condition(&object["status"], HIBERNATION);
    let restarts = RESTARTS.iter().any(|phase| object["status"]["phase"] == *phase);
    if paused || restarts || !metadata["deletionTimestamp"].is_null() {
        return Vec::new();
    }
    let (Ok(entrance), Some(inside)) = (Entrance::of(object, database), object["spec"]["bootstrap"]["initdb"]["database"].as_str()) else {
        return Vec::new();
    };
    let target = |pod: &Value| {
        let answers = pod["status"]["phase"] == "Running" && condition(&pod["status"], "Ready");
        let (uid, instance) = (pod["metadata"]["uid"].as_str()?, pod["metadata"]["name"].as_str()?);
        let place = Place::of(pod).filter(|_| answers)?;
        let (uid, instance, entrance) = (uid.to_owned(), instance.to_owned(), entrance.clone());
        Some(Target { uid, instance, cluster: cluster.to_owned(), database: database.clone(), place, entrance, inside: inside.to_owned() })
    };
    instances(seen).filter_map(target).collect()
}

fn condition(status: &Value, kind: &str) -> bool {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster() -> Value {
        json!({
            "metadata": { "name": "shop-1", "annotations": { HIBERNATION: "off" } },
            "spec": {
                "certificates": { "serverCASecret": "shop-ca", "serverAltDNSNames": ["shop-rw"] },
                "bootstrap": { "initdb": { "database": "shop" } },
            },
        })
    }

    fn pod() -> Value {
        json!({
            "metadata": { "name": "shop-1-1", "uid": "u", "labels": { "cnpg.io/podRole": "instance" } },
            "spec": { "containers": [{ "name": "postgres", "ports": [{ "name": "postgresql", "containerPort": 5433 }] }] },
            "status": { "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    }

    fn count(cluster: Value, pod: Value) -> usize {
        of(&DatabaseId::from_random([1; 16]), "shop-1", &Seen { cluster: Some(cluster), pods: vec![pod], ..Seen::default() }).len()
    }

    #[test]
    fn instances_that_answer_are_asked() {
        assert_eq!(count(cluster(), pod()), 1);
        for (path, value) in [
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            ("/metadata/labels/cnpg.io~1podRole", json!("pooler")),
            ("/status/phase", json!("Pending")),
            ("/status/podIP", Value::Null),
            ("/status/conditions/0/status", json!("False")),
        ] {
            let mut changed = pod();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let parent = changed.pointer_mut(parent).unwrap();
            match parent.as_object_mut() {
                Some(map) => drop(map.insert(key.replace("~1", "/"), value)),
                None => panic!("{path} is in no object"),
            }
            assert_eq!(count(cluster(), changed), 0, "{path}");
        }
    }

    #[test]
    fn a_database_that_is_to_be_paused_or_restarted_is_left_alone_at_once() {
        let mut pausing = cluster();
        pausing["metadata"]["annotations"][HIBERNATION] = json!("on");
        assert_eq!(count(pausing, pod()), 0);
        let mut paused = cluster();
        paused["status"] = json!({ "conditions": [{ "type": HIBERNATION, "status": "True" }] });
        assert_eq!(count(paused, pod()), 0);
        let mut restarting = cluster();
        restarting["status"] = json!({ "phase": "Switchover in progress" });
        assert_eq!(count(restarting, pod()), 0);
        let mut going = cluster();
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(count(going, pod()), 0);
        assert!(of(&DatabaseId::from_random([1; 16]), "shop-1", &Seen::default()).is_empty());
    }
}
