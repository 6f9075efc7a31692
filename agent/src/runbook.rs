//! The page on life without Kiven as a ConfigMap, of what the agent sees: there when nobody else answers any more.
use crate::config::Config;
use crate::objects::{api, apply, resource};
use kiven_data_services::cnpg::{DATABASE_LABEL, HIBERNATION};
use kiven_model::DatabaseId;
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::runbook::{Entry, Place, text};
use kube::{Client, ResourceExt, api::DynamicObject};
use serde_json::json;
use std::sync::{Mutex, PoisonError};

/// The ConfigMap's name.
const NAME: &str = "kiven-runbook";
/// Its one key.
const KEY: &str = "runbook.md";
/// A ConfigMap holds a MiB; what does not fit is left out, and said.
const BYTES_MAX: usize = 900_000;

/// Keeps the page.
pub(crate) struct Runbook {
    place: Place,
    /// What was last written by this process.
    written: Mutex<Option<String>>,
}

impl Runbook {
    pub(crate) fn new(config: &Config) -> Self {
        let place = Place {
            title: config.environment_id.to_string(),
            eks_cluster_name: config.eks_cluster_name.clone(),
            aws_region: config.aws_region.clone(),
        };
        Self { place, written: Mutex::default() }
    }

    /// Writes the page when it is another one than was written last. One that cannot be written is written the next time.
    pub(crate) async fn keep(&self, client: &Client, clusters: &[std::sync::Arc<DynamicObject>]) {
        let mut entries: Vec<Entry> = clusters.iter().filter_map(|cluster| entry(cluster)).collect();
        entries.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        let page = bounded(text(&self.place, &entries));
        if self.written.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&page) {
            return;
        }
        let maps = api(client, SYSTEM_NAMESPACE, &resource("", "v1", "ConfigMap", "configmaps"));
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME }, "data": { KEY: page } });
        match apply(&maps, &map).await {
            Ok(_) => *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(page),
            Err(error) => tracing::warn!(%error, "the runbook could not be written"),
        }
    }
}

fn bounded(mut page: String) -> String {
    if page.len() > BYTES_MAX {
        let end = (0..=BYTES_MAX).rev().find(|end| page.is_char_boundary(*end)).unwrap_or(0);
        page.truncate(end);
        page.push_str("\n\nThe rest does not fit here: `kiven environments runbook` prints it.\n");
    }
    page
}

/// What a Cluster says of its database; `None` for one that is not Kiven's.
fn entry(cluster: &DynamicObject) -> Option<Entry> {
    let id = DatabaseId::parse(cluster.labels().get(DATABASE_LABEL)?).ok()?;
    let name = cluster.name_any();
    let database = name.rsplit_once(&format!("-{}-", id.short(6))).map_or(name.as_str(), |(database, _)| database).to_owned();
    let bootstrap = &cluster.data["spec"]["bootstrap"];
    let from = if bootstrap["initdb"].is_object() { &bootstrap["initdb"] } else { &bootstrap["recovery"] };
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let off = cluster.annotations().get(HIBERNATION).is_some_and(|value| value == "on");
    Some(Entry {
        name: database,
        id,
        status: if off { "paused" } else { "running" }.to_owned(),
        username: word(&from["owner"]),
        password_secret: word(&from["secret"]["name"]),
        instances: cluster.data["spec"]["instances"].as_u64().and_then(|instances| u32::try_from(instances).ok()).unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cluster_says_all_that_the_page_needs() {
        let id = DatabaseId::from_random([7; 16]);
        let cluster: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": { "name": format!("shop-eu-{}-1", id.short(6)), "labels": { DATABASE_LABEL: id.as_str() }, "annotations": { HIBERNATION: "on" } },
            "spec": { "instances": 3, "bootstrap": { "initdb": { "owner": "app", "secret": { "name": "shop-eu-app" } } } },
        }))
        .unwrap();
        let expected = Entry {
            name: "shop-eu".to_owned(),
            id,
            status: "paused".to_owned(),
            username: "app".to_owned(),
            password_secret: "shop-eu-app".to_owned(),
            instances: 3,
        };
        assert_eq!(entry(&cluster), Some(expected));
        let foreign: DynamicObject = serde_json::from_value(json!({ "metadata": { "name": "own" }, "spec": {} })).unwrap();
        assert_eq!(entry(&foreign), None);
    }

    #[test]
    fn a_page_that_is_too_long_says_so() {
        let page = bounded("ü".repeat(BYTES_MAX));
        assert!(page.len() < BYTES_MAX + 100 && page.contains("does not fit"));
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
