//! What the hostile table needs on a real API server beside what it needs on the small one: the operator's kinds, and controllers that
//! have nothing left to do, so that whatever changes in a row has been changed by that row.
use crate::objects::resource;
use kiven_model::names::{DATABASE_NAMESPACE, SYSTEM_NAMESPACE};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for the API server or a controller.
const WAIT_MAX: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// The ConfigMap that a controller puts into every namespace.
const ROOT_CA: &str = "kube-root-ca.crt";

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the suite tells its tests what there is")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether somebody binds claims and writes into namespaces.
pub(crate) fn has_controllers() -> bool {
    variable("KIVEN_KUBE_CONTROLLERS").is_some()
}

/// Looks until something is so.
async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !look().await {
        assert!(Instant::now() < deadline, "not within {} s: {what}", WAIT_MAX.as_secs());
        tokio::time::sleep(LOOK).await;
    }
}

/// The API server that `KUBECONFIG` names, which nobody has used before, with the kinds of operator and plugin.
pub(crate) async fn connect() -> Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = crate::kubernetes().await.unwrap();
    let namespaces = Api::<DynamicObject>::all_with(client.clone(), &resource("", "v1", "Namespace", "namespaces"));
    // What is in it would be changed, and what an earlier run has left would be compared.
    assert!(namespaces.get_opt(DATABASE_NAMESPACE).await.unwrap().is_none(), "KUBECONFIG names an API server that has been used");
    install_kinds(&client).await;
    client
}

async fn install_kinds(client: &Client) {
    let kinds = resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
    let (api, apply) = (Api::<DynamicObject>::all_with(client.clone(), &kinds), PatchParams::apply("kiven-tests").force());
    let folder = variable("KIVEN_CNPG_MANIFESTS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/cnpg"));
    for file in ["cnpg-1.29.2.yaml", "plugin-barman-cloud-v0.14.0.yaml"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file} in KIVEN_CNPG_MANIFESTS: {error}"));
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let mut object = Value::deserialize(document).unwrap();
            if object["kind"] == "CustomResourceDefinition" {
                object.as_object_mut().unwrap().remove("status");
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                api.patch(&name, &apply, &Patch::Apply(&object)).await.unwrap();
                until(&format!("{name} is established"), async || {
                    let found = api.get(&name).await.unwrap();
                    let mut conditions = found.data["status"]["conditions"].as_array().into_iter().flatten();
                    conditions.any(|one| one["type"] == "Established" && one["status"] == "True")
                })
                .await;
            }
        }
    }
}

/// Waits until controllers have done what they do with new claims, volumes and namespaces: later it would look like a command's doing.
pub(crate) async fn settled(client: &Client) {
    let all = |kind: &str, plural: &str| Api::<DynamicObject>::all_with(client.clone(), &resource("", "v1", kind, plural));
    let (claims, volumes, maps) =
        (all("PersistentVolumeClaim", "persistentvolumeclaims"), all("PersistentVolume", "persistentvolumes"), all("ConfigMap", "configmaps"));
    until("claims and volumes are bound", async || {
        let phases = async |api: &Api<DynamicObject>| -> Vec<(String, Value)> {
            let items = api.list(&ListParams::default()).await.unwrap().items;
            items.iter().map(|object| (object.name_any(), object.data["status"]["phase"].clone())).collect()
        };
        let (claims, volumes) = (phases(&claims).await, phases(&volumes).await);
        // One is kept for a claim that is not there.
        let rests = |(name, phase): &(String, Value)| *phase == if name == "pv-lost" { "Available" } else { "Bound" };
        claims.iter().all(|(_, phase)| *phase == "Bound") && volumes.iter().all(rests)
    })
    .await;
    until("both namespaces have what every namespace has", async || {
        let found = maps.list(&ListParams::default().fields(&format!("metadata.name={ROOT_CA}"))).await.unwrap().items;
        [DATABASE_NAMESPACE, SYSTEM_NAMESPACE].iter().all(|wanted| found.iter().any(|map| map.namespace().as_deref() == Some(*wanted)))
    })
    .await;
}
