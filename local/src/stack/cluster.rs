//! The customer's cluster, and what `helm install` puts into it under the customer's own rights.
use super::folder::Folder;
use super::keys::Keys;
use anyhow::Context;
use kiven_fake_kube::{ApiError, Config, Handle, Kind, Server, Storage, kinds, system_clock};
use kiven_model::names::{DATABASE_NAMESPACE, SYSTEM_NAMESPACE};
use serde_json::{Value, json};

/// The operator release whose behaviour the local operator plays.
const OPERATOR_VERSION: &str = "1.30.0";
/// The field manager of an installation.
const MANAGER: &str = "helm";

/// Starts the API server on its files and installs what the chart brings.
pub(crate) async fn start(folder: &Folder, keys: &Keys, postgres_major: u32) -> anyhow::Result<Handle> {
    let config = Config {
        listen: ([127, 0, 0, 1], folder.ports.kube).into(),
        storage: Storage::Files { database: folder.path("local.sqlite"), secrets: folder.path("secrets").join("cluster") },
        admin_token: keys.admin_token.clone(),
        issuer: None,
        clock: system_clock(),
    };
    let kube = Server::start(config).await.context("the local cluster's API server did not start")?;
    install(&kube, postgres_major).context("the chart's objects could not be installed")?;
    Ok(kube)
}

fn install(kube: &Handle, postgres_major: u32) -> Result<(), ApiError> {
    let put = |kind: &'static Kind, object: Value| kube.apply(kind, object, MANAGER).map(drop);
    for name in ["default", SYSTEM_NAMESPACE, DATABASE_NAMESPACE] {
        put(
            &kinds::NAMESPACES,
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } } }),
        )?;
    }
    put(
        &kinds::STORAGE_CLASSES,
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "kiven-gp3" }, "provisioner": "ebs.csi.aws.com",
            "parameters": { "type": "gp3", "encrypted": "true" }, "reclaimPolicy": "Retain", "allowVolumeExpansion": true,
            "volumeBindingMode": "WaitForFirstConsumer",
        }),
    )?;
    put(
        &kinds::SERVICE_ACCOUNTS,
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "kiven-agent", "namespace": SYSTEM_NAMESPACE } }),
    )?;
    put(
        &kinds::IMAGE_CATALOGS,
        json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "ImageCatalog", "metadata": { "name": "kiven-postgresql", "namespace": DATABASE_NAMESPACE },
            "spec": { "images": [{ "major": postgres_major, "image": format!("local/postgresql:{postgres_major}") }] },
        }),
    )?;
    let name = "cnpg-controller-manager";
    let labels = json!({ "app.kubernetes.io/name": "cloudnative-pg" });
    put(
        &kinds::DEPLOYMENTS,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": SYSTEM_NAMESPACE, "labels": labels },
            "spec": {
                "replicas": 1, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "manager", "image": format!("local/cloudnative-pg:{OPERATOR_VERSION}") }] } },
            },
        }),
    )?;
    kube.patch_status(&kinds::DEPLOYMENTS, SYSTEM_NAMESPACE, name, &json!({ "replicas": 1, "readyReplicas": 1 })).map(drop)
}
