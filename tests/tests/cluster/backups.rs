//! A backup by the plugin, and a Cluster made by hand that recovers from it.
use crate::given::{DATABASES, Given};
use crate::plain;
use crate::writer::missing;
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// The recovered Cluster's name.
const NAME: &str = "e2e-restored";
/// The backup plugin.
const PLUGIN: &str = "barman-cloud.cloudnative-pg.io";
/// How long a backup or a recovery may take.
const PART_MAX: Duration = Duration::from_secs(420);

/// Waits until a backup of the Cluster is complete: the first of its schedule.
pub async fn first(given: &Given, cluster: &str) -> Duration {
    let complete = async || {
        let backups = given.list("backups", &format!("cnpg.io/cluster={cluster}")).await.ok()?;
        backups.iter().any(|backup| backup["status"]["phase"] == "completed").then_some(())
    };
    given.until("the schedule's first backup is complete", PART_MAX, complete).await.1
}

/// Begins a backup by hand; its name.
pub async fn begin(given: &Given, cluster: &str) -> String {
    let name = format!("{cluster}-by-hand");
    let spec = json!({ "cluster": { "name": cluster }, "method": "plugin", "pluginConfiguration": { "name": PLUGIN } });
    let metadata = json!({ "name": name, "namespace": DATABASES });
    given.apply(&[json!({ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": metadata, "spec": spec })]).await.unwrap();
    name
}

/// Takes a backup by hand; how long it took.
pub async fn take(given: &Given, cluster: &str) -> Duration {
    let name = begin(given, cluster).await;
    let ended = async || {
        let backup = given.get("backup", &name).await.ok()?;
        assert_ne!(backup["status"]["phase"], "failed", "{}", backup["status"]);
        (backup["status"]["phase"] == "completed").then_some(())
    };
    given.until("a backup by hand is complete", PART_MAX, ended).await.1
}

/// A Cluster made by hand from the archive of Kiven's; how long it took and how many of these rows it does not have.
pub async fn recover(given: &Given, like: &Value, database: &str, rows: &BTreeSet<i64>) -> anyhow::Result<(Duration, usize)> {
    let spec = &like["spec"];
    let plugin = spec["plugins"][0]["parameters"].as_object().context("the Cluster has no archive")?.clone();
    let mut parameters = spec["postgresql"]["parameters"].clone();
    parameters.as_object_mut().context("the Cluster has no settings")?.remove("kiven.revision");
    let object = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": NAME, "namespace": DATABASES },
        "spec": {
            "instances": 1, "imageCatalogRef": spec["imageCatalogRef"], "resources": spec["resources"],
            "storage": { "size": spec["storage"]["size"], "storageClass": spec["storage"]["storageClass"] },
            "affinity": { "tolerations": spec["affinity"]["tolerations"] },
            "postgresql": { "parameters": parameters },
            "bootstrap": { "recovery": { "source": "origin" } },
            "externalClusters": [{ "name": "origin", "plugin": { "name": PLUGIN, "parameters": plugin } }],
        },
    });
    given.apply(&[object]).await?;
    let took = given.healthy(NAME, PART_MAX).await;
    let stored = given.query_as_postgres(NAME, database, "SELECT n FROM writes").await?;
    plain::remove(given, NAME).await;
    Ok((took, missing(rows, &stored)))
}
