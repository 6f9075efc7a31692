//! What happens to a database without anybody having asked for it, as operator, kubelet and controllers write it down: each is told.
use crate::cluster::{Admin, DATABASES, MADE_HERE, resource};
use crate::database::Database;
use crate::relay::Kiven;
use jiff::{SignedDuration, Timestamp};
use kiven_data_services::cnpg::server_certificate;
use kiven_model::event::Happening;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

const CNPG: &str = "postgresql.cnpg.io/v1";
/// When something happened, in the past.
const THEN: &str = "2026-01-01T00:00:00Z";

async fn status(api: &Api<DynamicObject>, name: &str, status: Value) {
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap();
}

/// Lets each happen to a database that runs, and waits until it has been told. Failovers are another test's.
pub(crate) async fn each_is_told(admin: &Admin, kiven: &Kiven, shop: &Database) {
    let cluster = &shop.cluster;
    let heard = async |what: Happening| {
        kiven
            .heard(what.kind(), |talk| talk.events.iter().any(|event| event.database_id == shop.generation.id && event.what == what).then_some(()))
            .await;
        println!("told: {what}");
    };
    for (backup, phase) in [("well", "completed"), ("ill", "failed")] {
        let backup = format!("{cluster}-{backup}");
        let metadata = json!({ "name": backup, "namespace": DATABASES });
        let spec = json!({ "cluster": { "name": cluster } });
        admin.create(json!({ "apiVersion": CNPG, "kind": "Backup", "metadata": metadata, "spec": spec, "status": { "phase": phase } })).await;
        heard(if phase == "completed" { Happening::BackupDone { backup } } else { Happening::BackupFailed { backup } }).await;
    }

    let clusters = admin.of(DATABASES, CNPG, "Cluster");
    for (archives, what) in [("False", Happening::ArchiveFailing), ("True", Happening::ArchiveWorking)] {
        let condition = json!({ "type": "ContinuousArchiving", "status": archives, "reason": "Said", "message": "", "lastTransitionTime": THEN });
        status(&clusters, cluster, json!({ "conditions": [condition] })).await;
        heard(what).await;
    }

    let ends_at = Timestamp::from_second(Timestamp::now().as_second()).unwrap() + SignedDuration::from_hours(48);
    let said = ends_at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string();
    status(&clusters, cluster, json!({ "certificates": { "expirations": { server_certificate(cluster): said } } })).await;
    heard(Happening::CertificateExpiring { ends_at }).await;

    let (pod, container) = (format!("{cluster}-2"), "postgres".to_owned());
    let killed = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled", "startedAt": THEN, "finishedAt": THEN } });
    let again = json!([{ "name": container, "image": "postgresql", "imageID": "x", "ready": true, "restartCount": 1,
        "state": { "running": { "startedAt": THEN } }, "lastState": killed }]);
    status(&admin.of(DATABASES, "v1", "Pod"), &pod, json!({ "containerStatuses": again })).await;
    heard(Happening::OutOfMemory { pod, container }).await;

    let (nodes, node) = (admin.api(None, &resource("v1", "Node")), format!("{cluster}-node-2"));
    assert!(nodes.get(&node).await.unwrap().metadata.labels.unwrap_or_default().contains_key(MADE_HERE));
    let beat = |ready: &str| {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let times = (now.to_string(), now.to_string());
        json!({ "conditions": [{ "type": "Ready", "status": ready, "reason": "Said", "message": "", "lastHeartbeatTime": times.0, "lastTransitionTime": times.1 }] })
    };
    status(&nodes, &node, beat("False")).await;
    heard(Happening::NodeNotReady { node: node.clone() }).await;
    status(&nodes, &node, beat("True")).await;
    heard(Happening::NodeReady { node }).await;
}
