//! What CNPG's objects say of a database.
use super::HIBERNATION;
use crate::Seen;
use jiff::Timestamp;
use kiven_model::DatabaseId;
use kiven_model::database::Published;
use kiven_model::report::{Observation, Volume};
use serde_json::Value;

pub(super) fn observe(database: &DatabaseId, cluster: &str, seen: &Seen) -> Observation {
    let none = Value::Null;
    let object = seen.cluster.as_ref().unwrap_or(&none);
    let status = &object["status"];
    let mut volumes: Vec<Volume> = seen.claims.iter().filter_map(volume).collect();
    volumes.sort();
    Observation {
        database_id: database.clone(),
        cluster: cluster.to_owned(),
        exists: seen.cluster.is_some(),
        phase: text(&status["phase"]).unwrap_or_default(),
        instances: number(&object["spec"]["instances"]),
        ready_instances: number(&status["readyInstances"]),
        primary: text(&status["currentPrimary"]),
        system_identifier: text(&status["systemID"]),
        hibernated: condition(status, HIBERNATION),
        archiving: condition(status, "ContinuousArchiving"),
        pooler_ready: seen.poolers.iter().map(|pooler| number(&pooler["status"]["instances"])).sum(),
        pods: u32::try_from(seen.pods.len()).unwrap_or(u32::MAX),
        volumes,
        published: seen.services.iter().filter_map(published).collect(),
        current: super::current::current(object, seen),
        zones: super::current::zones(seen),
        backup_running: !seen.backups.iter().all(backup_ended),
        primary_zone: text(&status["currentPrimary"]).and_then(|primary| super::current::zone_of(&primary, seen)),
        certificate_ends_at: certificate_ends_at(cluster, status),
        backup_completed: seen.backups.iter().any(|backup| backup["status"]["phase"] == "completed"),
    }
}

/// Whether a Backup has come to its end. One without a phase has only just been asked for; the operator tries one again whose
/// WAL could not be archived (CloudNativePG's API, `BackupStatus.IsDone`).
#[must_use]
pub fn backup_ended(backup: &Value) -> bool {
    matches!(backup["status"]["phase"].as_str(), Some("completed" | "failed"))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

fn condition(status: &Value, kind: &str) -> bool {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// When the server certificate ends, in the words of Go: `2026-06-27 10:00:00 +0000 UTC`.
#[must_use]
pub fn certificate_ends_at(cluster: &str, status: &Value) -> Option<Timestamp> {
    let text = status["certificates"]["expirations"][super::server_certificate(cluster)].as_str()?;
    Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", text.strip_suffix(" UTC")?).ok()
}

fn volume(claim: &Value) -> Option<Volume> {
    Some(Volume {
        claim: text(&claim["metadata"]["name"])?,
        claim_uid: text(&claim["metadata"]["uid"])?,
        volume: text(&claim["spec"]["volumeName"])?,
    })
}

/// A Service with a load balancer's address and port is published outside of the cluster.
fn published(service: &Value) -> Option<(String, Published)> {
    let ingress = &service["status"]["loadBalancer"]["ingress"][0];
    let port = ingress["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
    Some((text(&service["metadata"]["name"])?, Published { address: text(&ingress["ip"])?, port }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hibernation_is_read_from_its_condition_since_the_phase_stays_healthy() {
        let id = DatabaseId::from_random([1; 16]);
        let object = |hibernated: &str| {
            json!({
                "spec": { "instances": 2 },
                "status": {
                    "phase": "Cluster in healthy state", "readyInstances": 2, "systemID": "7", "currentPrimary": "c-1",
                    "conditions": [{ "type": HIBERNATION, "status": hibernated }],
                },
            })
        };
        let see = |hibernated| observe(&id, "c", &Seen { cluster: Some(object(hibernated)), ..Seen::default() });
        assert!(see("False").healthy() && !see("False").hibernated);
        assert!(!see("True").healthy() && see("True").hibernated);
        assert!(!observe(&id, "c", &Seen::default()).exists);
    }

    #[test]
    fn the_end_of_the_certificate_is_read_as_the_operator_writes_it() {
        let status = |text: &str| json!({ "certificates": { "expirations": { "c-server": text } } });
        let ends = |text| certificate_ends_at("c", &status(text)).map(|at| at.to_string());
        assert_eq!(ends("2026-06-27 10:00:00 +0000 UTC").as_deref(), Some("2026-06-27T10:00:00Z"));
        assert_eq!((ends("soon"), certificate_ends_at("other", &status("2026-06-27 10:00:00 +0000 UTC"))), (None, None));
    }

    #[test]
    fn a_backup_runs_from_the_moment_it_is_asked_for_until_it_has_ended() {
        let id = DatabaseId::from_random([1; 16]);
        let running = |status| observe(&id, "c", &Seen { backups: vec![json!({ "status": status })], ..Seen::default() }).backup_running;
        for phase in ["", "pending", "started", "running", "finalizing", "walArchivingFailing"] {
            assert!(running(json!({ "phase": phase })), "{phase}");
        }
        assert!(running(Value::Null), "one that the operator has not seen yet");
        assert!(!running(json!({ "phase": "completed" })) && !running(json!({ "phase": "failed" })));
        assert!(!observe(&id, "c", &Seen::default()).backup_running);
    }

    #[test]
    fn only_bound_claims_are_volumes() {
        let id = DatabaseId::from_random([1; 16]);
        let bound = json!({ "metadata": { "name": "c-1", "uid": "u" }, "spec": { "volumeName": "pv-1" } });
        let pending = json!({ "metadata": { "name": "c-2", "uid": "v" }, "spec": {} });
        let seen = Seen { claims: vec![pending, bound], ..Seen::default() };
        assert_eq!(observe(&id, "c", &seen).volumes.len(), 1);
    }
}
