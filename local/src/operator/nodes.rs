//! On which node an instance stands: one of its class, in its volume's zone, that no other instance of the Cluster has.
use super::Operator;
use super::error::OperatorError;
use super::instance::Instance;
use super::view::{Spec, text};
use kiven_fake_kube::{Selector, kinds};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where pods are when no node fits: a cluster without node groups.
const NOWHERE: &str = "local";
/// The label of nodes that says the zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// The annotation of claims in which zone their volume is.
const VOLUME_ZONE: &str = "local.kiven.io/zone";

impl Operator {
    /// The node of an instance: the one it stands on while that is there and fits, else a free one in its volume's zone.
    pub(crate) fn node_of(&self, spec: &Spec, instance: &Instance, selector: &Value) -> Result<String, OperatorError> {
        let Some(wanted) = selector.as_object().filter(|labels| !labels.is_empty()) else { return Ok(NOWHERE.to_owned()) };
        let nodes = self.kube.list(&kinds::NODES, None, &Selector::all());
        let fits = |node: &&std::sync::Arc<Value>| wanted.iter().all(|(key, value)| node["metadata"]["labels"][key] == *value);
        let pods = self.kube.list(&kinds::PODS, Some(&spec.namespace), &Selector::label("cnpg.io/cluster", &spec.name));
        let (own, others): (Vec<_>, Vec<_>) = pods.iter().partition(|pod| text(pod, "/metadata/name") == instance.name);
        let stands = own.first().map_or("", |pod| text(pod, "/spec/nodeName"));
        let taken: BTreeSet<&str> = others.iter().map(|pod| text(pod, "/spec/nodeName")).collect();
        let claim = self.kube.get(&kinds::VOLUME_CLAIMS, &spec.namespace, &instance.name)?;
        let home = claim["metadata"]["annotations"][VOLUME_ZONE].as_str();
        let mut fitting = nodes.iter().filter(fits).filter(|node| home.is_none_or(|home| node["metadata"]["labels"][ZONE] == home));
        let standing = fitting.clone().find(|node| text(node, "/metadata/name") == stands);
        let Some(node) = standing.or_else(|| fitting.find(|node| !taken.contains(text(node, "/metadata/name")))) else {
            return Ok(NOWHERE.to_owned());
        };
        if home.is_none() {
            let zone = json!({ "metadata": { "annotations": { VOLUME_ZONE: node["metadata"]["labels"][ZONE] } } });
            self.kube.patch(&kinds::VOLUME_CLAIMS, &spec.namespace, &instance.name, &zone)?;
        }
        Ok(text(node, "/metadata/name").to_owned())
    }

    /// Whether the node that an instance stood on is gone: drained, its pod has to start on another one.
    pub(crate) fn is_drained(&self, spec: &Spec, instance: &Instance) -> bool {
        let Ok(pod) = self.kube.get(&kinds::PODS, &spec.namespace, &instance.name) else { return false };
        !self.has_node(&pod)
    }

    /// Whether the node that a pod stands on is there.
    pub(crate) fn has_node(&self, pod: &Value) -> bool {
        let node = text(pod, "/spec/nodeName");
        node == NOWHERE || !self.kube.get(&kinds::NODES, "", node).is_err_and(|error| error.is_not_found())
    }
}
