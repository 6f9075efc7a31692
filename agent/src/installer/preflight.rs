//! `kiven-agent preflight`: looks at what the agent itself has no right to see, after the chart is there, and writes it down in the
//! ConfigMap `kiven-preflight`, which the agent passes on. It judges nothing and stops nothing.
use super::config::Config;
use super::{found, probe};
use crate::objects::{api, apply, cnpg, resource};
use kiven_model::names::{DATABASE_NAMESPACE, SYSTEM_NAMESPACE};
use kiven_model::operators::REGISTRY;
use kiven_model::preflight::{AUTO_MODE_DRIVER, ClusterFacts, EBS_DRIVER, ENTRIES_MAX, FoundOperator, Refusal};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Where the facts are written down.
pub(crate) const MAP: &str = "kiven-preflight";
/// The key in it.
pub(crate) const KEY: &str = "facts.json";
/// Most nodes and Deployments that are looked at.
const LISTED_MAX: u32 = 2000;
/// How long a registry may take to answer.
const REGISTRY_SECONDS_MAX: u64 = 10;
/// The label of the nodes that EKS Auto Mode makes.
const COMPUTE_TYPE: &str = "eks.amazonaws.com/compute-type";

/// Looks and writes down. What cannot be listed ends it, so that nothing is called missing that only was not seen.
pub(super) async fn look(client: &Client, config: &Config) -> anyhow::Result<()> {
    let drivers = listed(client, &resource("storage.k8s.io", "v1", "CSIDriver", "csidrivers")).await?;
    let nodes = listed(client, &resource("", "v1", "Node", "nodes")).await?;
    let operators = found::look(client).await?;
    let facts = ClusterFacts {
        checked_at: crate::now(),
        volume_drivers: names(&drivers).into_iter().filter(|name| [EBS_DRIVER, AUTO_MODE_DRIVER].contains(&name.as_str())).collect(),
        snapshot_controller: found::runs(client, "snapshot-controller").await?,
        auto_mode: nodes.iter().any(|node| node["metadata"]["labels"][COMPUTE_TYPE] == "auto"),
        zones: zones(&nodes),
        operators: operators
            .into_iter()
            .take(ENTRIES_MAX)
            .map(|one| FoundOperator { component: one.component, namespace: one.namespace, version: one.version })
            .collect(),
        refusals: refusals(client).await,
        registries: registries(config).await,
        network_isolation: probe::isolation(client, config).await,
    };
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": MAP },
        "data": { KEY: serde_json::to_string(&facts)? },
    });
    apply(&api(client, SYSTEM_NAMESPACE, &resource("", "v1", "ConfigMap", "configmaps")), &map).await?;
    tracing::info!(facts = map["data"][KEY].as_str(), "looked at");
    Ok(())
}

async fn listed(client: &Client, kind: &kube::api::ApiResource) -> kube::Result<Vec<Value>> {
    let all = Api::<DynamicObject>::all_with(client.clone(), kind).list(&ListParams::default().limit(LISTED_MAX)).await?;
    Ok(all.items.iter().filter_map(|object| serde_json::to_value(object).ok()).collect())
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).map(str::to_owned).collect()
}

fn zones(nodes: &[Value]) -> BTreeMap<String, u32> {
    let mut zones = BTreeMap::new();
    for zone in nodes.iter().filter_map(|node| node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str()).take(LISTED_MAX as usize) {
        *zones.entry(zone.to_owned()).or_insert(0) += 1;
    }
    zones
}

/// A Cluster and a pod as databases have them, asked for without effect.
async fn refusals(client: &Client) -> Vec<Refusal> {
    let cluster = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": "kiven-probe", "namespace": DATABASE_NAMESPACE },
        "spec": { "instances": 1, "storage": { "size": "1Gi" } },
    });
    let pods = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    let asked = [
        ("Cluster", cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters"), cluster),
        ("Pod", pods, probe::pod("kiven-dry-run", "kiven.invalid/dry-run:0", &[])),
    ];
    let dry = PostParams { dry_run: true, field_manager: None };
    let mut refusals = Vec::new();
    for (kind, api, object) in asked {
        let Ok(object) = serde_json::from_value::<DynamicObject>(object) else { continue };
        match api.create(&dry, &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) => match refused_by(&status.message) {
                Some(by) => refusals.push(Refusal { kind: kind.to_owned(), by }),
                None => tracing::warn!(kind, message = status.message, "could not be asked for without effect"),
            },
            Err(error) => tracing::warn!(%error, kind, "could not be asked for without effect"),
        }
    }
    refusals
}

/// Who refused, by the words in which the API server passes it on; `None` where nobody refused the object itself.
pub(crate) fn refused_by(message: &str) -> Option<String> {
    let between = |from: &str, until: char| {
        let (_, rest) = message.split_once(from)?;
        rest.split_once(until).map(|(name, _)| name.to_owned())
    };
    if message.contains("denied the request") {
        return between("admission webhook \"", '"').map(|name| format!("the webhook {name}"));
    }
    if message.contains("denied request") {
        return between("ValidatingAdmissionPolicy '", '\'').map(|name| format!("the policy {name}"));
    }
    between("violates PodSecurity \"", '"').map(|level| format!("the pod security standard {level}"))
}

/// Whether each registry says anything at all; that it wants credentials is an answer too.
async fn registries(config: &Config) -> BTreeMap<String, bool> {
    let own = config.registry.as_deref().unwrap_or(REGISTRY).to_owned();
    let images = config.postgresql_images.values().map(|image| registry_of(image));
    let wanted: BTreeSet<String> = images.chain([registry_of(&format!("{own}/x/y"))]).collect();
    let mut answers = BTreeMap::new();
    let Ok(client) = reqwest::Client::builder().timeout(Duration::from_secs(REGISTRY_SECONDS_MAX)).build() else { return answers };
    for registry in wanted.into_iter().take(ENTRIES_MAX) {
        let answer = client.get(format!("https://{registry}/v2/")).send().await;
        answers.insert(registry, answer.is_ok());
    }
    answers
}

/// The host in an image's reference.
fn registry_of(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.to_owned(),
        _ => "registry-1.docker.io".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refused_is_read_from_the_answer() {
        let table = [
            ("admission webhook \"validate.kyverno.svc-fail\" denied the request: policy x", Some("the webhook validate.kyverno.svc-fail")),
            ("pods \"x\" is forbidden: ValidatingAdmissionPolicy 'no-pods' with binding 'b' denied request: no", Some("the policy no-pods")),
            ("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": y", Some("the pod security standard restricted:latest")),
            ("pods is forbidden: User \"x\" cannot create resource \"pods\"", None),
            ("Internal error occurred: failed calling webhook \"vcluster.cnpg.io\": no endpoints", None),
        ];
        for (message, by) in table {
            assert_eq!(refused_by(message).as_deref(), by, "{message}");
        }
    }

    #[test]
    fn registries_and_zones_are_read_from_names() {
        let table = [
            ("ghcr.io/a/b:1", "ghcr.io"),
            ("postgres:17", "registry-1.docker.io"),
            ("library/postgres", "registry-1.docker.io"),
            ("localhost:5000/x", "localhost:5000"),
        ];
        for (image, host) in table {
            assert_eq!(registry_of(image), host);
        }
        let node = |zone: &str| json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": zone } } });
        assert_eq!(zones(&[node("a"), node("b"), node("a"), json!({})]), [("a".to_owned(), 2), ("b".to_owned(), 1)].into());
    }
}
