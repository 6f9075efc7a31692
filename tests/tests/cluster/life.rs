//! What is done to both: Kiven's Cluster and the one made by hand.
use crate::given::{DATABASES, Given};
use crate::writer::Writer;
use serde_json::json;
use std::time::Duration;

/// How long one thing may take.
const PART_MAX: Duration = Duration::from_secs(300);

/// The primary's pod is gone at once, as with its node. Answers how long writes stopped.
pub async fn lose_primary(given: &Given, cluster: &str, writer: &Writer) -> f64 {
    let rows = writer.settle().await;
    let primary = given.primary(cluster).await.unwrap();
    given.run(&["-n", DATABASES, "delete", "pod", &primary, "--grace-period=0", "--force"]).await.unwrap();
    let changed = async || (given.primary(cluster).await.ok()? != primary).then_some(());
    given.until("another instance is the primary", PART_MAX, changed).await;
    given.healthy(cluster, PART_MAX).await;
    writer.gap_since(rows).await
}

/// Another instance is asked to be the primary, as the operator's own tool asks. Answers how long writes stopped.
pub async fn switchover(given: &Given, cluster: &str, writer: &Writer) -> f64 {
    let rows = writer.settle().await;
    let primary = given.primary(cluster).await.unwrap();
    let object = given.get("cluster", cluster).await.unwrap();
    let instances = object["status"]["instanceNames"].as_array().cloned().unwrap_or_default();
    let next = instances.iter().filter_map(|name| name.as_str()).find(|name| *name != primary).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the operator wants to know since when")]
    let now = jiff::Timestamp::now();
    let status = json!({ "targetPrimary": next, "targetPrimaryTimestamp": now.to_string(), "phase": "Switchover in progress" });
    given.merge("cluster", cluster, &json!({ "status": status }), true).await.unwrap();
    let changed = async || (given.primary(cluster).await.ok()? == next).then_some(());
    given.until("the other instance is the primary", PART_MAX, changed).await;
    given.healthy(cluster, PART_MAX).await;
    writer.gap_since(rows).await
}

/// Waits until every instance has so much memory.
pub async fn resized(given: &Given, cluster: &str, memory_gib: u32) {
    let memory = [format!("{memory_gib}Gi"), format!("{}Mi", memory_gib * 1024)];
    let done = async || {
        let pods = given.list("pods", &format!("cnpg.io/cluster={cluster},cnpg.io/podRole=instance")).await.ok()?;
        let fits = |pod: &serde_json::Value| {
            let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
            let postgres = containers.iter().find(|container| container["name"] == "postgres");
            postgres.is_some_and(|one| memory.iter().any(|memory| one["resources"]["limits"]["memory"] == *memory))
        };
        (!pods.is_empty() && pods.iter().all(fits)).then_some(())
    };
    given.until("every instance has its new size", PART_MAX, done).await;
    given.healthy(cluster, PART_MAX).await;
}
