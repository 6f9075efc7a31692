//! Volumes that nothing in the cluster uses any more: what costs, and what nobody would find.
use crate::objects::{api, resource};
use crate::watched::Watched;
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::report::{LOOSE_VOLUMES_MAX, LooseVolume};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// The label CNPG puts on claims.
const CLUSTER_LABEL: &str = "cnpg.io/cluster";
/// Most volumes looked at in one page; a cluster with more is read page by page.
const PAGE: u32 = 500;
/// How long the first list of claims and Clusters is waited for.
const LISTED_MAX: Duration = Duration::from_secs(2);
/// Most pages.
const PAGES_MAX: u32 = 20;

/// Volumes of the databases' namespace whose claim, or whose claim's Cluster, is gone. What cannot be listed is not there.
pub(crate) async fn loose(client: &Client, claims: &Watched, clusters: &Watched) -> Vec<LooseVolume> {
    // Before both are listed everything would look unused.
    if tokio::time::timeout(LISTED_MAX, async { tokio::join!(claims.listed(), clusters.listed()) }).await.is_err() {
        return Vec::new();
    }
    let living: BTreeSet<String> = clusters.state().iter().map(|cluster| cluster.name_any()).collect();
    let used = |claim: &&std::sync::Arc<DynamicObject>| claim.labels().get(CLUSTER_LABEL).is_none_or(|cluster| living.contains(cluster));
    let used: BTreeSet<String> = claims.state().iter().filter(used).filter_map(|claim| claim.uid()).collect();
    let volumes = Api::<DynamicObject>::all_with(client.clone(), &resource("", "v1", "PersistentVolume", "persistentvolumes"));
    let mut loose = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    for _ in 0..PAGES_MAX {
        let Ok(page) = volumes.list(&parameters).await else { break };
        loose.extend(page.items.iter().filter_map(|volume| judge(&volume.name_any(), &volume.data["spec"], &used)));
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
            _ => break,
        }
    }
    loose.sort();
    loose.truncate(LOOSE_VOLUMES_MAX);
    loose
}

/// The volumes of a Cluster whose claims are gone. The operator would not find them: a Cluster made anew would begin empty beside them.
pub(crate) async fn left_behind(client: &Client, cluster: &str) -> kube::Result<Vec<String>> {
    let claims = api(client, DATABASE_NAMESPACE, &resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"));
    let there: BTreeSet<String> = claims.list(&ListParams::default()).await?.items.iter().map(ResourceExt::name_any).collect();
    let volumes = Api::<DynamicObject>::all_with(client.clone(), &resource("", "v1", "PersistentVolume", "persistentvolumes"));
    let prefix = format!("{cluster}-");
    let is_left = |volume: &DynamicObject| {
        let claim = &volume.data["spec"]["claimRef"];
        let name = claim["name"].as_str().unwrap_or_default();
        claim["namespace"] == DATABASE_NAMESPACE && name.starts_with(&prefix) && !there.contains(name)
    };
    let (mut left, mut parameters) = (Vec::new(), ListParams::default().limit(PAGE));
    for _ in 0..PAGES_MAX {
        let page = volumes.list(&parameters).await?;
        left.extend(page.items.iter().filter(|volume| is_left(volume)).map(ResourceExt::name_any));
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
            _ => break,
        }
    }
    Ok(left)
}

/// A volume that no used claim has; `None` for those of others.
fn judge(name: &str, spec: &Value, used: &BTreeSet<String>) -> Option<LooseVolume> {
    let claim = &spec["claimRef"];
    let is_loose = claim["namespace"] == DATABASE_NAMESPACE && !claim["uid"].as_str().is_some_and(|uid| used.contains(uid));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    is_loose.then(|| LooseVolume {
        volume: name.to_owned(),
        claim: word(&claim["name"]),
        gb: gb(spec["capacity"]["storage"].as_str().unwrap_or_default()),
    })
}

/// A capacity in whole GB; AWS counts in GiB and calls them GB.
fn gb(capacity: &str) -> u32 {
    let digits: String = capacity.chars().take_while(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().unwrap_or(0);
    let gb = match &capacity[digits.len()..] {
        "Ti" | "T" => number * 1024,
        "Gi" | "G" => number,
        "Mi" | "M" => number / 1024,
        _ => number >> 30,
    };
    u32::try_from(gb).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_is_loose_when_no_used_claim_has_it() {
        let spec = |namespace: &str, uid: &str| json!({ "claimRef": { "namespace": namespace, "name": "shop-a1b2c3-1-1", "uid": uid }, "capacity": { "storage": "100Gi" } });
        let used = BTreeSet::from(["u1".to_owned()]);
        let expected = LooseVolume { volume: "pv".to_owned(), claim: "shop-a1b2c3-1-1".to_owned(), gb: 100 };
        assert_eq!(judge("pv", &spec(DATABASE_NAMESPACE, "u2"), &used), Some(expected));
        assert_eq!(judge("pv", &spec(DATABASE_NAMESPACE, "u1"), &used), None, "its claim is used");
        assert_eq!(judge("pv", &spec("other", "u2"), &used), None, "another namespace's");
        assert_eq!(judge("pv", &json!({}), &used), None, "never claimed");
    }

    #[test]
    fn capacities_are_whole_gb() {
        assert_eq!(["100Gi", "2Ti", "512Mi", "10737418240", "", "odd"].map(gb), [100, 2048, 0, 10, 0, 0]);
    }
}
