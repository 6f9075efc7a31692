//! The cluster as its administrator has it: objects of any kind, the operator's CRDs, Helm.
use kiven_model::DatabaseId;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Config, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for something that the API server or a controller does.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Where databases live.
pub(crate) const DATABASES: &str = "kiven-databases";
/// Where the agent lives.
pub(crate) const SYSTEM: &str = "kiven-system";
/// On nodes and volumes that tests have made: nothing else of the whole cluster is ever removed.
pub(crate) const MADE_HERE: &str = "kiven.io/tests";
/// What the ids of databases that tests make come from.
const SEEDS: [u8; 2] = [1, 3];
/// The chart's release.
pub(crate) const RELEASE: &str = "kiven-agent";

/// A variable of the suite.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place of the suite that reads the environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// An administrator's way to the cluster.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) client: Client,
    pub(crate) config: Config,
}

/// A kind by what a manifest calls it.
pub(crate) fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let lower = kind.to_lowercase();
    let plural = match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
}

/// Looks at a condition until it gives something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", WAIT_MAX.as_secs());
        tokio::time::sleep(LOOK).await;
    }
}

impl Admin {
    pub(crate) async fn connect() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path = variable("KIVEN_KUBECONFIG").expect("KIVEN_KUBECONFIG names a throw-away cluster");
        let kubeconfig = kube::config::Kubeconfig::read_from(path).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await.unwrap();
        config.proxy_url = None;
        let admin = Self { client: Client::try_from(config.clone()).unwrap(), config };
        admin.install_crds().await;
        // Tests empty two namespaces: not where somebody's databases are.
        let found = admin.names(DATABASES, "postgresql.cnpg.io/v1", "Cluster").await;
        let ours = SEEDS.map(|seed| format!("-{}-", DatabaseId::from_random([seed; 16]).short(6)));
        let foreign = found.iter().find(|name| !ours.iter().any(|part| name.contains(part)));
        assert!(foreign.is_none(), "this is no throw-away cluster, it has the database {foreign:?}");
        admin
    }

    /// Objects of a kind: in a namespace, or of the whole cluster.
    pub(crate) fn api(&self, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    /// Objects of a namespaced kind.
    pub(crate) fn of(&self, namespace: &str, api_version: &str, kind: &str) -> Api<DynamicObject> {
        self.api(Some(namespace), &resource(api_version, kind))
    }

    /// Objects of a kind of the whole cluster.
    pub(crate) fn all(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        self.api(None, &resource(api_version, kind))
    }

    /// Makes an object, and its status where it has one.
    pub(crate) async fn create(&self, mut object: Value) -> DynamicObject {
        let status = object.as_object_mut().unwrap().remove("status");
        let kind = resource(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let api = self.api(object["metadata"]["namespace"].as_str(), &kind);
        let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        match status {
            Some(status) => api.patch_status(&made.name_any(), &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap(),
            None => made,
        }
    }

    /// Makes a namespace unless it is there.
    pub(crate) async fn namespace(&self, name: &str, labels: Value) {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        let patch = PatchParams::apply("kiven-tests").force();
        self.all("v1", "Namespace").patch(name, &patch, &Patch::Apply(object)).await.unwrap();
    }

    /// Removes an object, and waits until it is gone.
    pub(crate) async fn remove(&self, api: &Api<DynamicObject>, name: &str) {
        until(&format!("{name} is gone"), async || {
            let _ = api.delete(name, &DeleteParams::background()).await;
            api.get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    /// The CRDs of the operator and of its plugin, and nothing else of their manifests.
    async fn install_crds(&self) {
        let crds = self.all("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let params = PatchParams::apply("kiven-tests").force();
        let mut names = Vec::new();
        for file in ["cnpg-1.30.0.yaml", "plugin-barman-cloud-v0.14.0.yaml"] {
            let path = manifests().join(file);
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}; name the folder of CloudNativePG's manifests in KIVEN_CNPG_MANIFESTS", path.display()));
            for document in serde_yaml_ng::Deserializer::from_str(&text) {
                let mut object = Value::deserialize(document).unwrap();
                if object["kind"] == "CustomResourceDefinition" {
                    object.as_object_mut().unwrap().remove("status");
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    crds.patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
                    names.push(name);
                }
            }
        }
        for name in names {
            until(&format!("{name} is established"), async || {
                let conditions = crds.get(&name).await.unwrap().data["status"]["conditions"].clone();
                let mut all = conditions.as_array().into_iter().flatten();
                all.any(|one| one["type"] == "Established" && one["status"] == "True").then_some(())
            })
            .await;
        }
    }

    /// Names of the objects of a kind in a namespace.
    pub(crate) async fn names(&self, namespace: &str, api_version: &str, kind: &str) -> Vec<String> {
        let found = self.of(namespace, api_version, kind).list(&ListParams::default()).await.unwrap();
        found.items.iter().map(ResourceExt::name_any).collect()
    }
}

/// Reference manifests: `KIVEN_CNPG_MANIFESTS`, or the folder beside the checkout.
pub(crate) fn manifests() -> PathBuf {
    let named = variable("KIVEN_CNPG_MANIFESTS").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/cnpg"))
}

/// The chart.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("chart")
}

/// Runs Helm; what it says, or why it failed.
pub(crate) fn helm(arguments: &[&str]) -> Result<String, String> {
    let mut helm = Command::new(variable("KIVEN_HELM").unwrap_or_else(|| "helm".to_owned()));
    if let Some(kubeconfig) = variable("KIVEN_KUBECONFIG") {
        helm.env("KUBECONFIG", kubeconfig);
    }
    let output = helm.args(arguments).output().expect("helm can be started");
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The objects in a text of several documents.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all = serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    all.filter(|object| !object.is_null()).collect()
}
