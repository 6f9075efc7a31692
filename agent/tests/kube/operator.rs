//! What runs where there are nodes, played by hand: CloudNativePG, the kubelet, the storage of volumes.
use crate::cluster::{Admin, DATABASES, MADE_HERE, SYSTEM, until};
use crate::database::Database;
use kiven_data_services::cnpg::{DATABASE_LABEL, server_certificate};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const CNPG: &str = "postgresql.cnpg.io/v1";
/// The operator's release.
pub(crate) const VERSION: &str = "1.29.2";
/// Where the instances are.
const ZONES: [&str; 2] = ["eu-west-1a", "eu-west-1b"];

async fn merge(api: &Api<DynamicObject>, name: &str, patch: Value) {
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn status(api: &Api<DynamicObject>, name: &str, status: Value) {
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap();
}

fn ready() -> Value {
    json!({ "phase": "Running", "podIP": "127.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] })
}

/// An operator whose pod is ready, as far as its Deployment says.
pub(crate) async fn install(admin: &Admin) {
    install_version(admin, VERSION).await;
}

/// The same of another release.
pub(crate) async fn install_version(admin: &Admin, version: &str) {
    let labels = json!({ "app.kubernetes.io/name": "cloudnative-pg" });
    let name = "cnpg-controller-manager";
    let image = format!("ghcr.io/cloudnative-pg/cloudnative-pg:{version}");
    let environment = json!([
        { "name": "OPERATOR_IMAGE_NAME", "value": image },
        { "name": "OPERATOR_NAMESPACE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
    ]);
    let containers = json!([{ "name": "manager", "image": image, "env": environment }]);
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
    let deployments = admin.of(SYSTEM, "apps/v1", "Deployment");
    if deployments.get_opt(name).await.unwrap().is_none() {
        admin
            .create(json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": SYSTEM, "labels": labels },
                "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": template },
            }))
            .await;
    }
    let pods = admin.of(SYSTEM, "v1", "Pod");
    let selector = ListParams::default().labels("app.kubernetes.io/name=cloudnative-pg");
    until("the operator's Deployment is ready", async || {
        if crate::cluster::variable("KIVEN_KUBE_CONTROLLERS").is_none() {
            status(&deployments, name, json!({ "replicas": 1, "readyReplicas": 1 })).await;
        }
        for pod in pods.list(&selector).await.unwrap().items {
            if pod.data["status"]["phase"] != "Running" {
                status(&pods, &pod.name_any(), ready()).await;
            }
        }
        (deployments.get(name).await.unwrap().data["status"]["readyReplicas"] == 1).then_some(())
    })
    .await;
}

/// Nodes, volumes, claims and pods of a database with two instances, and what the operator says of it.
pub(crate) async fn run(admin: &Admin, database: &Database) {
    let (cluster, id) = (&database.cluster, database.generation.id.as_str());
    let clusters = admin.of(DATABASES, CNPG, "Cluster");
    let owner = clusters.get(cluster).await.unwrap();
    let owned = json!([{ "apiVersion": CNPG, "kind": "Cluster", "name": cluster, "uid": owner.uid(), "controller": true }]);
    for (number, zone) in (1..).zip(ZONES) {
        let (instance, node, volume) = (format!("{cluster}-{number}"), format!("{cluster}-node-{number}"), format!("pv-{cluster}-{number}"));
        let role = if number == 1 { "primary" } else { "replica" };
        admin
            .create(json!({ "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": node, "labels": { MADE_HERE: "true", DATABASE_LABEL: id, "topology.kubernetes.io/zone": zone } } }))
            .await;
        let labels = json!({ "cnpg.io/cluster": cluster, DATABASE_LABEL: id, "cnpg.io/podRole": "instance", "cnpg.io/instanceRole": role });
        let metadata = json!({ "name": instance, "namespace": DATABASES, "labels": labels, "ownerReferences": owned });
        let claim = admin
            .create(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
                "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "kiven-gp3", "volumeName": volume,
                    "resources": { "requests": { "storage": "50Gi" } } } }))
            .await;
        admin.create(persistent_volume(&volume, &instance, &claim.uid().unwrap())).await;
        // A port that nobody listens on: PostgreSQL does not run here.
        let container = json!({ "name": "postgres", "image": "postgresql", "ports": [{ "name": "postgresql", "containerPort": 1 }] });
        admin
            .create(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                "spec": { "nodeName": node, "containers": [container] }, "status": ready() }))
            .await;
    }
    status(
        &clusters,
        cluster,
        json!({
            "phase": "Cluster in healthy state", "instances": 2, "readyInstances": 2, "systemID": "7420000000000000001",
            "currentPrimary": format!("{cluster}-1"), "targetPrimary": format!("{cluster}-1"),
            "certificates": { "expirations": { server_certificate(cluster): "2030-06-27 10:00:00 +0000 UTC" } },
        }),
    )
    .await;
}

fn persistent_volume(name: &str, claim: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name, "labels": { MADE_HERE: "true" } },
        "spec": {
            "capacity": { "storage": "50Gi" }, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "kiven-gp3", "csi": { "driver": "ebs.csi.aws.com", "volumeHandle": format!("vol-{name}") },
            "claimRef": { "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": DATABASES, "name": claim, "uid": uid },
        },
    })
}

/// A volume whose claim is gone.
pub(crate) async fn leave_volume(admin: &Admin, name: &str) {
    admin.create(persistent_volume(name, "shop-gone-1-1", "6f8b1d0c-0000-4000-8000-000000000001")).await;
}

/// The server certificate that the operator issues; its Secret's UID.
pub(crate) async fn issue_certificate(admin: &Admin, cluster: &str) -> String {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 6, 27);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let made = admin
        .create(json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": server_certificate(cluster), "namespace": DATABASES },
            "stringData": { "tls.crt": certificate.pem(), "tls.key": key.serialize_pem() } }))
        .await;
    made.uid().unwrap()
}

/// Ends a Backup in this phase as soon as it is there.
pub(crate) async fn back_up(admin: &Admin, name: &str, phase: &str) {
    let backups = admin.of(DATABASES, CNPG, "Backup");
    until("a Backup is there", async || backups.get_opt(name).await.unwrap()).await;
    status(&backups, name, json!({ "phase": phase })).await;
}

/// What a hibernation comes to: the pods are gone, the volumes stay.
pub(crate) async fn hibernate(admin: &Admin, cluster: &str) {
    let pods = admin.of(DATABASES, "v1", "Pod");
    let selector = ListParams::default().labels(&format!("cnpg.io/cluster={cluster}"));
    for pod in pods.list(&selector).await.unwrap().items {
        end_pod(&pods, &pod.name_any()).await;
    }
    let clusters = admin.of(DATABASES, CNPG, "Cluster");
    status(
        &clusters,
        cluster,
        json!({ "conditions": [{ "type": "cnpg.io/hibernation", "status": "True", "reason": "Hibernated",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }] }),
    )
    .await;
}

/// As a kubelet that has ended a pod.
async fn end_pod(pods: &Api<DynamicObject>, name: &str) {
    // One that is gone already is as it should be.
    let _ = pods.delete(name, &DeleteParams::default().grace_period(0)).await;
}

/// Takes away what goes with a removed Cluster: pods and claims that it owned, volumes that are to go with their claims.
pub(crate) async fn clean(admin: &Admin, cluster: &str) {
    let selector = ListParams::default().labels(&format!("cnpg.io/cluster={cluster}"));
    let (pods, claims) = (admin.of(DATABASES, "v1", "Pod"), admin.of(DATABASES, "v1", "PersistentVolumeClaim"));
    let volumes = admin.all("v1", "PersistentVolume");
    if admin.of(DATABASES, CNPG, "Cluster").get_opt(cluster).await.unwrap().is_some() {
        return;
    }
    for pod in pods.list(&selector).await.unwrap().items {
        end_pod(&pods, &pod.name_any()).await;
    }
    for claim in claims.list(&selector).await.unwrap().items {
        let _ = claims.delete(&claim.name_any(), &DeleteParams::default()).await;
    }
    let left = claims.list(&selector).await.unwrap().items.len();
    for volume in volumes.list(&ListParams::default()).await.unwrap().items {
        let name = volume.name_any();
        if left == 0 && name.starts_with(&format!("pv-{cluster}-")) && volume.data["spec"]["persistentVolumeReclaimPolicy"] == "Delete" {
            merge(&volumes, &name, json!({ "metadata": { "finalizers": null } })).await;
            let _ = volumes.delete(&name, &DeleteParams::default()).await;
        }
    }
}
