//! What CNPG's objects show of what may have happened.
use crate::Seen;
use crate::events::{Change, Kill, Sight};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Phases of a Cluster in which its primary changes (CloudNativePG's API, `PhaseFailOver`, `PhaseSwitchover`).
const CHANGES: [(&str, Change); 2] = [("Failing over", Change::Failover), ("Switchover in progress", Change::Switchover)];
/// The operator's word for a primary that is still to be found, during a failover.
const PENDING: &str = "pending";
/// The phase of a Cluster whose volumes are full.
const DISK_FULL: &str = "Not enough disk space";
/// Phases of a Backup that has come to its end.
const ENDS: [(&str, bool); 3] = [("completed", true), ("failed", false), ("walArchivingFailing", false)];

pub(super) fn sight(cluster: &str, seen: &Seen) -> Sight {
    let none = Value::Null;
    let object = seen.cluster.as_ref().unwrap_or(&none);
    let status = &object["status"];
    let archiving = condition(status, "ContinuousArchiving").filter(|_| condition(status, super::HIBERNATION) != Some(true));
    let primary = status["currentPrimary"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let announced = CHANGES.iter().find(|(phase, _)| status["phase"] == *phase).map(|(_, change)| *change);
    let lost = (status["targetPrimary"] == PENDING).then_some(Change::Failover);
    let mut filled = seen.filled.clone();
    if status["phase"] == DISK_FULL {
        let claims = seen.claims.iter().filter_map(|claim| claim["metadata"]["name"].as_str());
        filled.extend(claims.map(|claim| (claim.to_owned(), 100)));
    }
    Sight {
        primary,
        changing: lost.or(announced),
        archiving,
        backups: seen.backups.iter().filter_map(ended).collect(),
        nodes: nodes(seen),
        kills: seen.pods.iter().flat_map(kills).collect(),
        filled,
        certificate_ends_at: super::certificate_ends_at(cluster, status),
    }
}

fn condition(status: &Value, kind: &str) -> Option<bool> {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    match found["status"].as_str() {
        Some("True") => Some(true),
        Some("False") => Some(false),
        _ => None,
    }
}

fn ended(backup: &Value) -> Option<(String, bool)> {
    let (_, good) = ENDS.iter().find(|(phase, _)| backup["status"]["phase"] == *phase)?;
    Some((backup["metadata"]["name"].as_str()?.to_owned(), *good))
}

/// The nodes of the instances, and whether they say that they are ready.
fn nodes(seen: &Seen) -> BTreeMap<String, Option<bool>> {
    let carrying: BTreeSet<&str> = super::current::instances(seen).filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    let ready = |name: &str| {
        let node = seen.nodes.iter().find(|node| node["metadata"]["name"] == name)?;
        Some(condition(&node["status"], "Ready") != Some(false) && !unheard(node))
    };
    carrying.into_iter().map(|name| (name.to_owned(), ready(name))).collect()
}

/// A node that no longer speaks has the condition `Unknown`.
fn unheard(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "Unknown")
}

fn kills(pod: &Value) -> Vec<Kill> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let statuses = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ends = statuses.iter().flat_map(|status| [(status, &status["state"]["terminated"]), (status, &status["lastState"]["terminated"])]);
    let killed = ends.filter(|(_, end)| end["reason"] == "OOMKilled");
    killed
        .map(|(status, end)| Kill {
            pod: name.to_owned(),
            container: status["name"].as_str().unwrap_or_default().to_owned(),
            at: end["finishedAt"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(state: &str) -> Value {
        json!({
            "metadata": { "name": "c-1", "labels": { "cnpg.io/podRole": "instance" } }, "spec": { "nodeName": "n" },
            "status": { "containerStatuses": [{ "name": "postgres", state: { "terminated": { "reason": "OOMKilled", "finishedAt": "t" } } }] },
        })
    }

    #[test]
    fn the_operators_words_are_understood() {
        let cluster = |phase: &str, target: &str| {
            json!({ "status": { "phase": phase, "currentPrimary": "c-1", "targetPrimary": target,
                "conditions": [{ "type": "ContinuousArchiving", "status": "False" }] } })
        };
        let see = |phase, target| sight("c", &Seen { cluster: Some(cluster(phase, target)), ..Seen::default() });
        assert_eq!(see("Cluster in healthy state", "c-1").changing, None);
        assert_eq!(see("Switchover in progress", "c-2").changing, Some(Change::Switchover));
        assert_eq!(see("Failing over", "c-2").changing, Some(Change::Failover));
        assert_eq!(see("Switchover in progress", "pending").changing, Some(Change::Failover));
        assert_eq!((see("", "").archiving, see("", "").primary.as_deref()), (Some(false), Some("c-1")));
        assert_eq!(sight("c", &Seen::default()), Sight::default());
    }

    #[test]
    fn a_full_disk_fills_every_claim() {
        let claim = json!({ "metadata": { "name": "c-1" } });
        let cluster = json!({ "status": { "phase": DISK_FULL } });
        let seen = Seen { cluster: Some(cluster), claims: vec![claim], ..Seen::default() };
        assert_eq!(sight("c", &seen).filled, BTreeMap::from([("c-1".to_owned(), 100)]));
    }

    #[test]
    fn a_kill_is_the_same_before_and_after_the_restart() {
        let see = |state| sight("c", &Seen { pods: vec![pod(state)], ..Seen::default() }).kills;
        assert!(see("state").len() == 1 && see("state") == see("lastState"));
    }

    #[test]
    fn a_node_is_ready_lost_or_unknown() {
        let node = |status: &str| json!({ "metadata": { "name": "n" }, "status": { "conditions": [{ "type": "Ready", "status": status }] } });
        let see = |nodes| sight("c", &Seen { pods: vec![pod("state")], nodes, ..Seen::default() }).nodes["n"];
        assert_eq!(
            [see(vec![node("True")]), see(vec![node("False")]), see(vec![node("Unknown")]), see(vec![])],
            [Some(true), Some(false), Some(false), None]
        );
        // A node without conditions, as the local stack's, is ready.
        assert_eq!(see(vec![json!({ "metadata": { "name": "n" } })]), Some(true));
    }
}
