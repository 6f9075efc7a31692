//! Nodes: what EKS's node groups come to in the cluster, each in its zone. A patched group's nodes are other nodes than before.
use super::EKS_CLUSTER;
use crate::aws::{Endpoints, NodeGroup};
use kiven_fake_kube::{ApiError, Handle, Selector, kinds};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often node groups are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The field manager of nodes, and the label that says which group a node is of.
const MANAGER: &str = "kubelet";
const GROUP: &str = "eks.amazonaws.com/nodegroup";

/// Keeps nodes as the groups ask for them, until aborted.
pub(crate) async fn look_after(kube: Handle, endpoints: Arc<Endpoints>, zones: Vec<(String, String)>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let groups = endpoints.node_groups(EKS_CLUSTER);
        if let Err(error) = settle(&kube, &groups, &zones) {
            tracing::warn!(%error, "nodes could not be brought to what their groups ask for");
        }
    }
}

fn settle(kube: &Handle, groups: &[NodeGroup], zones: &[(String, String)]) -> Result<(), ApiError> {
    let there = kube.list(&kinds::NODES, None, &Selector::all());
    let pods = kube.list(&kinds::PODS, None, &Selector::all());
    let used: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    let mut kept = BTreeSet::new();
    for group in groups {
        let wanted = group.nodes_running() as usize;
        let prefix = format!("{}.{}.", group.spec.name, group.release);
        let mut own: Vec<&str> = there.iter().filter_map(|node| node["metadata"]["name"].as_str()).filter(|name| name.starts_with(&prefix)).collect();
        // What nothing stands on goes first.
        own.sort_by_key(|name| (!used.contains(name), *name));
        own.truncate(wanted);
        kept.extend(own.iter().map(|name| (*name).to_owned()));
        let free = (0..).map(|index: usize| format!("{prefix}{index}")).filter(|name| !own.contains(&name.as_str()));
        for name in free.take(wanted - own.len()) {
            make(kube, group, &name, zones)?;
            kept.insert(name);
        }
    }
    for node in there.iter().filter_map(|node| node["metadata"]["name"].as_str()).filter(|name| !kept.contains(*name)) {
        match kube.delete(&kinds::NODES, "", node) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn make(kube: &Handle, group: &NodeGroup, name: &str, zones: &[(String, String)]) -> Result<(), ApiError> {
    let zone = zones.iter().find(|(_, subnet)| group.spec.subnets.contains(subnet)).map_or("", |(zone, _)| zone.as_str());
    let mut labels: Value = json!({ "topology.kubernetes.io/zone": zone, GROUP: group.spec.name });
    for (key, value) in &group.spec.labels {
        labels[key] = json!(value);
    }
    kube.apply(&kinds::NODES, json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } }), MANAGER)?;
    let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    kube.patch_status(&kinds::NODES, "", name, &ready).map(drop)
}
