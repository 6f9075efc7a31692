//! Whether pods and volumes are as their Cluster asks, and in which zones they are.
use super::NODE_TYPE_LABEL;
use crate::Seen;
use serde_json::Value;
use std::collections::BTreeMap;

/// Whether every instance has the resources, the node class and at least the volume that the Cluster asks for.
pub(super) fn current(cluster: &Value, seen: &Seen) -> bool {
    let spec = &cluster["spec"];
    let wanted = usize::try_from(spec["instances"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    let pods: Vec<&Value> = instances(seen).collect();
    let size = quantity(&spec["storage"]["size"]);
    let large = |claim: &&Value| quantity(&claim["status"]["capacity"]["storage"]) >= size;
    wanted > 0 && pods.len() == wanted && pods.iter().all(|pod| fits(spec, pod)) && seen.claims.iter().filter(large).count() >= wanted
}

fn fits(spec: &Value, pod: &Value) -> bool {
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(postgres) = containers.iter().find(|container| container["name"] == "postgres") else { return false };
    let same = |kind: &str, what: &str| quantity(&postgres["resources"][kind][what]) == quantity(&spec["resources"][kind][what]);
    let resources = ["requests", "limits"].into_iter().all(|kind| same(kind, "cpu") && same(kind, "memory"));
    resources && pod["spec"]["nodeSelector"][NODE_TYPE_LABEL] == spec["affinity"]["nodeSelector"][NODE_TYPE_LABEL]
}

/// Instances by zone; those whose node is not known are left out.
pub(super) fn zones(seen: &Seen) -> BTreeMap<String, u32> {
    let mut zones = BTreeMap::new();
    for zone in instances(seen).filter_map(|pod| zone(pod, seen)) {
        *zones.entry(zone.to_owned()).or_insert(0) += 1;
    }
    zones
}

/// The zone of one instance, if its node is known.
pub(super) fn zone_of(pod: &str, seen: &Seen) -> Option<String> {
    instances(seen).find(|known| known["metadata"]["name"] == pod).and_then(|pod| zone(pod, seen)).map(str::to_owned)
}

fn zone<'a>(pod: &Value, seen: &'a Seen) -> Option<&'a str> {
    let node = seen.nodes.iter().find(|node| node["metadata"]["name"] == pod["spec"]["nodeName"])?;
    node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str()
}

/// The pods that are PostgreSQL's and stay.
pub fn instances(seen: &Seen) -> impl Iterator<Item = &Value> {
    seen.pods.iter().filter(|pod| pod["metadata"]["labels"]["cnpg.io/podRole"] == "instance" && pod["metadata"]["deletionTimestamp"].is_null())
}

/// A quantity in whole units, as of bytes.
#[must_use]
pub fn whole(value: &Value) -> Option<u64> {
    quantity(value).and_then(|thousandths| u64::try_from(thousandths / 1000).ok())
}

/// A quantity in thousandths: the API server writes `1000m` as `1` and `4096Mi` as `4Gi`.
fn quantity(value: &Value) -> Option<u128> {
    const SUFFIXES: [(&str, u128); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let text = value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))?;
    if let Some(thousandths) = text.strip_suffix('m') {
        return thousandths.parse().ok();
    }
    let (suffix, unit) = SUFFIXES.into_iter().find(|(suffix, _)| text.ends_with(suffix))?;
    text.strip_suffix(suffix)?.parse::<u128>().ok().map(|number| number * unit * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_the_same_however_they_are_written() {
        for (one, other) in [("1000m", "1"), ("4096Mi", "4Gi"), ("0.5", ""), ("1k", "1000")] {
            assert_eq!(quantity(&json!(one)), quantity(&json!(other)), "{one} {other}");
        }
        assert_eq!(quantity(&json!(2)), quantity(&json!("2")));
        assert_ne!(quantity(&json!("50Gi")), quantity(&json!("50G")));
    }

    fn pod(name: &str, memory: &str, class: &str) -> Value {
        json!({
            "metadata": { "name": name, "labels": { "cnpg.io/podRole": "instance" } },
            "spec": {
                "nodeName": format!("node-{name}"),
                "nodeSelector": { NODE_TYPE_LABEL: class },
                "containers": [{ "name": "postgres", "resources": { "limits": { "memory": memory } } }],
            },
        })
    }

    #[test]
    fn a_cluster_is_current_once_every_instance_is() {
        let claim = |size: &str| json!({ "status": { "capacity": { "storage": size } } });
        let cluster = json!({ "spec": {
            "instances": 2, "storage": { "size": "80Gi" }, "resources": { "limits": { "memory": "16384Mi" } },
            "affinity": { "nodeSelector": { NODE_TYPE_LABEL: "r6g.xlarge" } },
        } });
        let seen = |pods: Vec<Value>, sizes: [&str; 2]| Seen { pods, claims: sizes.map(claim).to_vec(), ..Seen::default() };
        let new = |name| pod(name, "16Gi", "r6g.xlarge");
        assert!(current(&cluster, &seen(vec![new("a"), new("b")], ["80Gi", "80Gi"])));
        assert!(!current(&cluster, &seen(vec![new("a"), new("b")], ["80Gi", "50Gi"])), "a volume still grows");
        assert!(!current(&cluster, &seen(vec![new("a"), pod("b", "4Gi", "r6g.xlarge")], ["80Gi", "80Gi"])), "an old size");
        assert!(!current(&cluster, &seen(vec![new("a"), pod("b", "16Gi", "m6g.large")], ["80Gi", "80Gi"])), "an old node");
        assert!(!current(&cluster, &seen(vec![new("a")], ["80Gi", "80Gi"])), "one is missing");
    }

    #[test]
    fn zones_are_those_of_the_nodes() {
        let node = |name: &str, zone: &str| json!({ "metadata": { "name": name, "labels": { "topology.kubernetes.io/zone": zone } } });
        let pods = ["a", "b", "c"].map(|name| pod(name, "1Gi", "t")).to_vec();
        let seen = Seen { pods, nodes: vec![node("node-a", "z1"), node("node-b", "z1")], ..Seen::default() };
        assert_eq!(zones(&seen), BTreeMap::from([("z1".to_owned(), 2)]));
    }
}
