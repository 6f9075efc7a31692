//! The customer's cluster: fake-kube with the objects of twenty databases as the operator shows them, of about the size they have.
use crate::kiven::Authority;
use crate::postgres::Postgres;
use anyhow::Context;
use jiff::Timestamp;
use kiven_data_services::cnpg::Cnpg;
use kiven_data_services::{DataService, Generation};
use kiven_fake_kube::{Config, Handle, Server, Storage, kinds, system_clock};
use kiven_model::api::DatabaseRequest;
use kiven_model::command::SecretContent;
use kiven_model::database::Power;
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::{DatabaseId, EnvironmentId, OperationId, request};
use serde_json::{Value, json};
use std::path::Path;

/// Instances of each database.
const INSTANCES: u32 = 2;
/// Environment variables, volumes and mounts in a pod: what makes a real one large.
const BALLAST: usize = 24;

/// A running API server with everything in it.
pub(crate) struct Cluster {
    kube: Handle,
    databases: Vec<(DatabaseId, String)>,
}

impl Cluster {
    /// Starts it and writes what the agent reads: its kubeconfig and its token.
    pub(crate) async fn start(folder: &Path, authority: &Authority, postgres: &Postgres, names: &[String]) -> anyhow::Result<Self> {
        let config =
            Config { listen: "127.0.0.1:0".parse()?, storage: Storage::Memory, admin_token: "admin".to_owned(), issuer: None, clock: system_clock() };
        let kube = Server::start(config).await?;
        for name in ["kiven-system", DATABASE_NAMESPACE] {
            kube.create(&kinds::NAMESPACES, json!({ "metadata": { "name": name } }))?;
        }
        let mut databases = Vec::new();
        for (number, name) in names.iter().enumerate() {
            databases.push(database(&kube, authority, postgres, name, u8::try_from(number)? + 1)?);
        }
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": kube.url() } }],
            "users": [{ "name": "agent", "user": { "token": "admin" } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "agent", "namespace": "kiven-system" } }],
        });
        std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
        std::fs::write(folder.join("token"), "any")?;
        Ok(Self { kube, databases })
    }

    /// A database's id.
    pub(crate) fn id(&self, number: usize) -> &DatabaseId {
        &self.databases[number].0
    }

    /// Says that WAL is archived, or is not.
    pub(crate) fn archiving(&self, number: usize, archives: bool) -> anyhow::Result<()> {
        let patch = json!({ "conditions": conditions(archives) });
        self.kube.patch_status(&kinds::CLUSTERS, DATABASE_NAMESPACE, &self.databases[number].1, &patch)?;
        Ok(())
    }
}

fn conditions(archives: bool) -> Value {
    let archiving = if archives { "True" } else { "False" };
    json!([
        { "type": "Ready", "status": "True", "reason": "ClusterIsReady", "message": "Cluster is Ready" },
        { "type": "ContinuousArchiving", "status": archiving, "reason": "x", "message": "x" },
    ])
}

fn generation(name: &str, seed: u8) -> anyhow::Result<Generation> {
    let environment = EnvironmentId::from_random([7; 16]);
    let asked =
        DatabaseRequest { name: name.to_owned(), environment_id: environment.to_string(), plan: "startup".to_owned(), ..DatabaseRequest::default() };
    let operation = OperationId::from_random([seed; 16]);
    let spec = request::database(&asked, &[17]).map_err(|violations| anyhow::anyhow!("{violations:?}"))?.into_inner();
    let (bucket, role) = ("kiven-backups-000000000000-eu-west-1-0a1b2c3d", "arn:aws:iam::000000000000:role/kiven-backup");
    Ok(Generation {
        id: DatabaseId::from_random([seed; 16]),
        spec,
        number: 1,
        bucket: bucket.to_owned(),
        backup_role_arn: role.to_owned(),
        made_by: operation.clone(),
        revision: operation,
    })
}

/// Makes a database's objects; its id and its Cluster's name.
fn database(kube: &Handle, authority: &Authority, postgres: &Postgres, name: &str, seed: u8) -> anyhow::Result<(DatabaseId, String)> {
    let generation = generation(name, seed)?;
    let cluster = generation.names().cluster;
    for secret in Cnpg.secrets(&generation) {
        let data = match secret.content {
            SecretContent::CertificateAuthority { .. } => json!({ "ca.crt": authority.pem() }),
            SecretContent::Password { .. } => json!({ "password": postgres.password }),
        };
        let metadata = json!({ "name": secret.name, "namespace": DATABASE_NAMESPACE, "labels": secret.labels });
        kube.create(&kinds::SECRETS, json!({ "metadata": metadata, "stringData": data }))?;
    }
    let built = [Cnpg.cluster(&generation, Power::On), Cnpg.pooler(&generation, Power::On), Cnpg.backups(&generation, Power::On)].concat();
    for mut object in built {
        let (group, version) = object["apiVersion"].as_str().and_then(|text| text.split_once('/')).unwrap_or(("", "v1"));
        let plural = format!("{}s", object["kind"].as_str().unwrap_or_default().to_lowercase());
        let kind = kinds::find(group, version, &plural).with_context(|| format!("fake-kube has no {plural}"))?;
        if object["kind"] == "Cluster" {
            // The agent collects from the database of this name; the server has one for each.
            object["spec"]["bootstrap"]["initdb"]["database"] = json!(name);
        }
        kube.create(kind, object)?;
    }
    let status = json!({
        "phase": "Cluster in healthy state", "readyInstances": INSTANCES, "instances": INSTANCES, "systemID": "7000000000000000001",
        "currentPrimary": format!("{cluster}-1"), "targetPrimary": format!("{cluster}-1"), "conditions": conditions(true),
        "currentPrimaryTimestamp": Timestamp::now(), "healthyPVC": (1..=INSTANCES).map(|n| format!("{cluster}-{n}")).collect::<Vec<_>>(),
    });
    kube.patch_status(&kinds::CLUSTERS, DATABASE_NAMESPACE, &cluster, &status)?;
    for serial in 1..=INSTANCES {
        instance(kube, &generation, &format!("{cluster}-{serial}"), postgres.port, serial == 1)?;
    }
    Ok((generation.id, cluster))
}

fn instance(kube: &Handle, generation: &Generation, name: &str, port: u16, primary: bool) -> anyhow::Result<()> {
    let role = if primary { "primary" } else { "replica" };
    let labels = |kind: &str, value: &str| {
        json!({ "cnpg.io/cluster": generation.names().cluster, "cnpg.io/instanceName": name, "cnpg.io/instanceRole": role,
            "kiven.io/database": generation.id, kind: value })
    };
    let claim = json!({ "metadata": { "name": name, "namespace": DATABASE_NAMESPACE, "labels": labels("cnpg.io/pvcRole", "PG_DATA") },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "50Gi" } }, "volumeName": format!("pvc-{name}") } });
    kube.create(&kinds::VOLUME_CLAIMS, claim)?;
    kube.patch_status(&kinds::VOLUME_CLAIMS, DATABASE_NAMESPACE, name, &json!({ "phase": "Bound", "capacity": { "storage": "50Gi" } }))?;
    let ballast: Vec<Value> =
        (0..BALLAST).map(|n| json!({ "name": format!("VARIABLE_{n}"), "value": "a value of some length, as they are" })).collect();
    let mounts: Vec<Value> = (0..BALLAST).map(|n| json!({ "name": format!("volume-{n}"), "mountPath": format!("/var/lib/somewhere/{n}") })).collect();
    let pod = json!({
        "metadata": { "name": name, "namespace": DATABASE_NAMESPACE, "labels": labels("cnpg.io/podRole", "instance") },
        "spec": {
            "nodeName": format!("node-{name}"), "volumes": mounts,
            "containers": [{ "name": "postgres", "image": "ghcr.io/cloudnative-pg/postgresql:17", "env": ballast, "volumeMounts": mounts,
                "ports": [{ "name": "postgresql", "containerPort": port, "protocol": "TCP" }] }],
        },
    });
    kube.create(&kinds::PODS, pod)?;
    let ready = json!([{ "type": "Ready", "status": "True" }, { "type": "PodScheduled", "status": "True" }]);
    let container = json!([{ "name": "postgres", "ready": true, "restartCount": 0, "imageID": "sha256:0", "state": { "running": {} } }]);
    let status = json!({ "phase": "Running", "podIP": "127.0.0.1", "conditions": ready, "containerStatuses": container });
    kube.patch_status(&kinds::PODS, DATABASE_NAMESPACE, name, &status)?;
    Ok(())
}
