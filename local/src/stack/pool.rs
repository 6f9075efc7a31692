//! Nodes of a given cluster that stand in for those of the emulated node groups.
//!
//! Only nodes that their owner has marked with `kiven.io/pool=local` are touched: while a group has them they carry its labels and
//! taints, and nothing of it afterwards. A group gets the nodes back that its database had before, since their disks may be there.
use super::EKS_CLUSTER;
use super::given::Kubectl;
use crate::aws::{Endpoints, NodeGroup};
use anyhow::{Context, ensure};
use kiven_model::names::DATABASE_NAMESPACE;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often node groups are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What the owner writes on nodes that databases may have.
const POOL: &str = "kiven.io/pool=local";
/// The label that says which group a node is of, and the annotation that says whose it was.
const GROUP: &str = "eks.amazonaws.com/nodegroup";
const WAS_OF: &str = "kiven.io/was-of";
const DATABASE: &str = "kiven.io/database";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A marked node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    name: String,
    zone: String,
    /// The group that has it.
    group: Option<String>,
    /// The database that had it last.
    was_of: Option<String>,
}

/// One change of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    Give { node: String, group: String },
    Take { node: String },
}

fn node(object: &Value) -> Node {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Node {
        name: text(&object["metadata"]["name"]).unwrap_or_default(),
        zone: text(&object["metadata"]["labels"][ZONE]).unwrap_or_default(),
        group: text(&object["metadata"]["labels"][GROUP]),
        was_of: text(&object["metadata"]["annotations"][WAS_OF]),
    }
}

async fn nodes(kubectl: &Kubectl) -> anyhow::Result<Vec<Node>> {
    let list = kubectl.json(&["get", "nodes", "-l", POOL]).await?;
    Ok(list["items"].as_array().into_iter().flatten().map(node).collect())
}

/// The zones of the marked nodes, each with the subnet that stands for it.
pub(crate) async fn subnets(kubectl: &Kubectl) -> anyhow::Result<BTreeMap<String, String>> {
    let nodes = nodes(kubectl).await?;
    ensure!(!nodes.is_empty(), "no node of the given cluster is marked for databases: `kubectl label node NAME {POOL}`");
    for node in &nodes {
        let known = node.zone.strip_prefix(super::REGION).is_some_and(|letter| letter.len() == 1);
        ensure!(known, "the node {} is in no zone of {}: `kubectl label node {} {ZONE}={}a`", node.name, super::REGION, node.name, super::REGION);
    }
    let subnet = |zone: &str| format!("subnet-local-{}", zone.strip_prefix(super::REGION).unwrap_or_default());
    Ok(nodes.into_iter().map(|node| (node.zone.clone(), subnet(&node.zone))).collect())
}

/// Keeps the marked nodes as the groups ask for them, until aborted.
pub(crate) async fn look_after(kubectl: Kubectl, endpoints: Arc<Endpoints>, subnets: BTreeMap<String, String>) {
    let mut settled: Option<Vec<(String, u32)>> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let groups = endpoints.node_groups(EKS_CLUSTER);
        let wanted: Vec<(String, u32)> = groups.iter().map(|group| (group.spec.name.clone(), group.nodes_running())).collect();
        if settled.as_ref() == Some(&wanted) {
            continue;
        }
        match settle(&kubectl, &groups, &subnets).await {
            Ok(()) => settled = Some(wanted),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "nodes could not be brought to what their groups ask for"),
        }
    }
}

async fn settle(kubectl: &Kubectl, groups: &[NodeGroup], subnets: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let asked: Vec<Asked> = groups.iter().map(|group| asked(group, subnets)).collect();
    let (moves, short) = plan(&nodes(kubectl).await?, &asked);
    for one in &moves {
        tracing::info!(?one, "a node changes its group");
        match one {
            Move::Take { node } => take(kubectl, node).await.with_context(|| format!("{node} cannot be taken back"))?,
            Move::Give { node, group } => {
                let group = groups.iter().find(|known| known.spec.name == *group).context("a group has vanished")?;
                give(kubectl, node, group).await.with_context(|| format!("{node} cannot be given to {}", group.spec.name))?;
            }
        }
    }
    ensure!(short.is_empty(), "the given cluster has too few marked nodes in the zones of {}", short.join(", "));
    Ok(())
}

/// What one group asks for.
#[derive(Debug, Clone)]
struct Asked {
    name: String,
    zone: String,
    database: Option<String>,
    nodes: usize,
}

fn asked(group: &NodeGroup, subnets: &BTreeMap<String, String>) -> Asked {
    let zone = subnets.iter().find(|(_, subnet)| group.spec.subnets.contains(subnet)).map_or_else(String::new, |(zone, _)| zone.clone());
    Asked { name: group.spec.name.clone(), zone, database: group.spec.labels.get(DATABASE).cloned(), nodes: group.nodes_running() as usize }
}

/// The changes, those that free nodes first, and the groups that stay short.
fn plan(nodes: &[Node], groups: &[Asked]) -> (Vec<Move>, Vec<String>) {
    let (mut takes, mut gives, mut short) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    for group in groups {
        kept.extend(nodes.iter().filter(|node| node.group.as_ref() == Some(&group.name)).take(group.nodes).map(|node| node.name.as_str()));
    }
    for node in nodes.iter().filter(|node| node.group.is_some() && !kept.contains(node.name.as_str())) {
        takes.push(Move::Take { node: node.name.clone() });
    }
    for group in groups {
        let has = nodes.iter().filter(|node| node.group.as_ref() == Some(&group.name) && kept.contains(node.name.as_str())).count();
        let mut free: Vec<&Node> = nodes.iter().filter(|node| node.zone == group.zone && !kept.contains(node.name.as_str())).collect();
        // Its own of before first, then nobody's, then another's of before.
        free.sort_by_key(|node| (node.was_of.is_none() || node.was_of != group.database, node.was_of.is_some(), node.name.clone()));
        let missing = group.nodes.saturating_sub(has);
        if free.len() < missing {
            short.push(group.name.clone());
        }
        for node in free.into_iter().take(missing) {
            kept.insert(node.name.as_str());
            gives.push(Move::Give { node: node.name.clone(), group: group.name.clone() });
        }
    }
    takes.extend(gives);
    (takes, short)
}

async fn give(kubectl: &Kubectl, node: &str, group: &NodeGroup) -> anyhow::Result<()> {
    for taint in &group.spec.taints {
        let effect = taint.effect.split('_').map(capitalized).collect::<String>();
        kubectl.run(&["taint", "node", node, "--overwrite", &format!("{}={}:{effect}", taint.key, taint.value)]).await?;
    }
    if let Some(database) = group.spec.labels.get(DATABASE) {
        kubectl.run(&["annotate", "node", node, "--overwrite", &format!("{WAS_OF}={database}")]).await?;
    }
    let mut labels: Vec<String> = group.spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.push(format!("{GROUP}={}", group.spec.name));
    let arguments: Vec<&str> = ["label", "node", node, "--overwrite"].into_iter().chain(labels.iter().map(String::as_str)).collect();
    kubectl.run(&arguments).await.map(drop)
}

/// As a machine that is switched off: what stood on it for a database is gone.
async fn take(kubectl: &Kubectl, node: &str) -> anyhow::Result<()> {
    let on = format!("--field-selector=spec.nodeName={node}");
    kubectl.run(&["-n", DATABASE_NAMESPACE, "delete", "pods", "-l", DATABASE, &on, "--wait=false"]).await?;
    let object = kubectl.json(&["get", "node", node]).await?;
    let of_kiven = |key: &&String| key.starts_with("kiven.io/") && POOL.split('=').next() != Some(key.as_str());
    let labels = object["metadata"]["labels"].as_object().into_iter().flat_map(|labels| labels.keys());
    let mut gone: Vec<String> = labels.filter(of_kiven).map(|key| format!("{key}-")).collect();
    gone.push(format!("{GROUP}-"));
    for taint in object["spec"]["taints"].as_array().into_iter().flatten() {
        if let Some(key) = taint["key"].as_str().filter(|key| key.starts_with("kiven.io/")) {
            kubectl.run(&["taint", "node", node, &format!("{key}-")]).await?;
        }
    }
    let arguments: Vec<&str> = ["label", "node", node].into_iter().chain(gone.iter().map(String::as_str)).collect();
    kubectl.run(&arguments).await.map(drop)
}

/// `NO` as `No`: EKS writes `NO_SCHEDULE` where Kubernetes writes `NoSchedule`.
fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    format!("{}{}", first.to_uppercase(), rest.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &[(&str, &str, Option<&str>, Option<&str>)], groups: &[(&str, &str, usize)], expected: &[&str], short: &[&str]) {
        let own = |text: &Option<&str>| text.map(str::to_owned);
        let nodes: Vec<Node> = nodes
            .iter()
            .map(|(name, zone, group, was)| Node { name: (*name).into(), zone: (*zone).into(), group: own(group), was_of: own(was) })
            .collect();
        let asked = |(name, zone, nodes): &(&str, &str, usize)| {
            let database = name.split('-').next().map(str::to_owned);
            Asked { name: (*name).into(), zone: (*zone).into(), database, nodes: *nodes }
        };
        let groups: Vec<Asked> = groups.iter().map(asked).collect();
        let (moves, lack) = plan(&nodes, &groups);
        let told: Vec<String> = moves
            .iter()
            .map(|one| match one {
                Move::Give { node, group } => format!("{node} to {group}"),
                Move::Take { node } => format!("{node} back"),
            })
            .collect();
        assert_eq!((told, lack), (expected.iter().map(|s| (*s).to_owned()).collect(), short.iter().map(|s| (*s).to_owned()).collect()));
    }

    #[test]
    fn groups_get_nodes_of_their_zone_and_their_own_again() {
        check(&[("n1", "a", None, None), ("n2", "b", None, None)], &[("d1-b", "b", 1)], &["n2 to d1-b"], &[]);
        check(&[("n1", "a", Some("d1-a"), Some("d1"))], &[("d1-a", "a", 1)], &[], &[]);
        check(&[("n1", "a", Some("d1-a"), Some("d1"))], &[("d1-a", "a", 0)], &["n1 back"], &[]);
        let free = [("n1", "a", None, Some("d2")), ("n2", "a", None, None), ("n3", "a", None, Some("d1"))];
        check(&free, &[("d1-a", "a", 1)], &["n3 to d1-a"], &[]);
        check(&free, &[("d1-a", "a", 2)], &["n3 to d1-a", "n2 to d1-a"], &[]);
        check(&free, &[("d3-a", "a", 1)], &["n2 to d3-a"], &[]);
        // What one group gives up another can have at once.
        check(&[("n1", "a", Some("d1-a"), Some("d1"))], &[("d1-a", "a", 0), ("d2-a", "a", 1)], &["n1 back", "n1 to d2-a"], &[]);
        check(&[("n1", "a", None, None)], &[("d1-a", "a", 1), ("d2-a", "a", 1)], &["n1 to d1-a"], &["d2-a"]);
        // A group that is gone leaves nothing.
        check(&[("n1", "a", Some("d1-a"), Some("d1"))], &[], &["n1 back"], &[]);
    }

    #[test]
    fn effects_are_written_as_kubernetes_does() {
        assert_eq!("NO_SCHEDULE".split('_').map(capitalized).collect::<String>(), "NoSchedule");
    }
}
