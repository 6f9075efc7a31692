//! The chart, installed by Helm for one test and taken away after it.
use crate::cluster::{Admin, DATABASES, MADE_HERE, RELEASE, SYSTEM, chart, documents, helm};
use crate::relay::Kiven;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// What makes a set of values of an environment.
pub(crate) fn values(kiven: &Kiven) -> Vec<String> {
    vec![
        format!("environmentId={}", kiven.environment),
        format!("relayAddress=localhost:{}", kiven.relay.port()),
        format!("apiUrl=http://{}", kiven.api),
        // Hooks are waited for, and without nodes they never run.
        "installer.enabled=false".to_owned(),
        "preflight.enabled=false".to_owned(),
    ]
}

/// Runs a Helm command on the chart with values.
pub(crate) fn with_values(command: &[&str], values: &[String]) -> Result<String, String> {
    let chart = chart().display().to_string();
    let mut arguments: Vec<&str> = command.to_vec();
    arguments.extend([chart.as_str(), "--namespace", SYSTEM]);
    values.iter().for_each(|value| arguments.extend(["--set", value.as_str()]));
    helm(&arguments)
}

/// The objects that these values come to.
pub(crate) fn rendered(values: &[String]) -> Vec<Value> {
    documents(&with_values(&["template", RELEASE], values).unwrap())
}

/// Installs the chart, or brings what is installed to these values.
pub(crate) fn install(values: &[String]) -> String {
    with_values(&["upgrade", "--install", RELEASE, "--create-namespace"], values).unwrap()
}

/// Uninstalls it, and takes away what tests leave in the databases' namespace.
pub(crate) async fn uninstall(admin: &Admin) {
    let _ = helm(&["uninstall", RELEASE, "--namespace", SYSTEM, "--wait"]);
    sweep(admin).await;
}

/// Nothing of a test stays: whatever is in the two namespaces, and the volumes and nodes that tests have made.
async fn sweep(admin: &Admin) {
    let everywhere = [
        (DATABASES, "postgresql.cnpg.io/v1", "Cluster"),
        (DATABASES, "postgresql.cnpg.io/v1", "Pooler"),
        (DATABASES, "postgresql.cnpg.io/v1", "ScheduledBackup"),
        (DATABASES, "postgresql.cnpg.io/v1", "Database"),
        (DATABASES, "postgresql.cnpg.io/v1", "Backup"),
        (DATABASES, "postgresql.cnpg.io/v1", "ImageCatalog"),
        (DATABASES, "barmancloud.cnpg.io/v1", "ObjectStore"),
        (DATABASES, "networking.k8s.io/v1", "NetworkPolicy"),
        (DATABASES, "v1", "Service"),
        (DATABASES, "v1", "Secret"),
        (DATABASES, "v1", "Pod"),
        (DATABASES, "v1", "PersistentVolumeClaim"),
        (SYSTEM, "apps/v1", "Deployment"),
        (SYSTEM, "batch/v1", "Job"),
        (SYSTEM, "v1", "Pod"),
        (SYSTEM, "v1", "ConfigMap"),
        (SYSTEM, "v1", "Secret"),
    ];
    for (namespace, api_version, kind) in everywhere {
        for name in admin.names(namespace, api_version, kind).await {
            let gone = DeleteParams::background().grace_period(0);
            let _ = admin.of(namespace, api_version, kind).delete(&name, &gone).await;
        }
    }
    let kept = PatchParams::default();
    for kind in ["PersistentVolume", "Node"] {
        let api = admin.all("v1", kind);
        for object in api.list(&ListParams::default().labels(MADE_HERE)).await.unwrap().items {
            let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            let _ = api.patch(&object.name_any(), &kept, &patch).await;
            let _ = api.delete(&object.name_any(), &DeleteParams::default()).await;
        }
    }
}
