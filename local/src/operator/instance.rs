//! One instance: its claim, volume, Pod object and folders.
use super::Operator;
use super::error::OperatorError;
use super::process::{Postgres, Server};
use super::view::{Spec, condition, text};
use kiven_fake_kube::{Selector, kinds};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::PathBuf;

/// Driver name in volumes that this operator made.
pub(crate) const DRIVER: &str = "local.kiven.io";
/// Annotation with the loopback port behind a Service, claim or Pod.
pub(crate) const PORT: &str = "local.kiven.io/port";
/// The field manager of everything that the operator applies.
pub(crate) const MANAGER: &str = "cloudnative-pg";

/// A data directory with a name and a port.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) serial: u64,
    pub(crate) port: u16,
    pub(crate) labelled_primary: bool,
    pub(crate) base: PathBuf,
    pub(crate) run: PathBuf,
}

impl Instance {
    pub(crate) fn data(&self) -> PathBuf {
        self.base.join("pgdata")
    }

    /// What the server was last started with besides its files: resources and nodes.
    pub(crate) fn shape(&self) -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(self.base.join("shape.json")).ok()?).ok()
    }

    pub(crate) fn shape_put(&self, postgres: &Postgres, shape: &Value) -> Result<(), OperatorError> {
        postgres.write(&self.base.join("shape.json"), &shape.to_string()).map(drop)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.base.join("postgres.log")
    }

    pub(crate) fn server(&self) -> Server {
        Server::of(&self.data())
    }

    pub(crate) fn has_data(&self) -> bool {
        self.data().join("PG_VERSION").is_file()
    }

    /// Whether this directory starts as a standby.
    pub(crate) fn is_standby(&self) -> bool {
        self.data().join("standby.signal").is_file()
    }

    pub(crate) fn slot(&self) -> String {
        format!("_cnpg_{}", self.name.replace(['-', '.'], "_"))
    }
}

impl Operator {
    /// Folder of a volume.
    pub(crate) fn volume_folder(&self, volume: &str) -> PathBuf {
        self.state_dir.join("volumes").join(volume)
    }

    /// The instances that have a claim, in order of their serials.
    pub(crate) fn instances(&self, spec: &Spec) -> Vec<Instance> {
        let claims = self.kube.list(&kinds::VOLUME_CLAIMS, Some(&spec.namespace), &Selector::label("cnpg.io/cluster", &spec.name));
        let mut instances: Vec<Instance> = claims.iter().filter_map(|claim| self.instance(claim)).collect();
        instances.sort_by_key(|instance| instance.serial);
        instances
    }

    pub(crate) fn instance(&self, claim: &Value) -> Option<Instance> {
        let volume = text(claim, "/spec/volumeName");
        // A socket's path must fit in 107 bytes, so its folder has a short name of its own.
        let short = hex::encode(&Sha256::digest(volume)[..6]);
        let annotation = |name: &str| claim["metadata"]["annotations"].get(name).and_then(Value::as_str);
        Some(Instance {
            name: text(claim, "/metadata/name").into(),
            serial: annotation("cnpg.io/nodeSerial")?.parse().ok()?,
            port: annotation(PORT)?.parse().ok()?,
            labelled_primary: claim["metadata"]["labels"]["cnpg.io/instanceRole"] == "primary",
            base: self.volume_folder(volume),
            run: self.state_dir.join("run").join(short),
        })
    }

    /// Makes claim, bound volume and folders of a new instance.
    pub(crate) fn create_instance(&self, spec: &Spec, serial: u64, role: &str) -> Result<Instance, OperatorError> {
        let name = format!("{}-{serial}", spec.name);
        let port = free_port()?;
        let resources = json!({ "requests": { "storage": spec.storage } });
        let claim = self.kube.create(
            &kinds::VOLUME_CLAIMS,
            json!({
            "metadata": { "name": name, "namespace": spec.namespace, "ownerReferences": [spec.owner()],
                "labels": labels(spec, &name, role, "PG_DATA"),
                "annotations": { "cnpg.io/nodeSerial": serial.to_string(), "cnpg.io/pvcStatus": "ready", PORT: port.to_string() } },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": resources, "storageClassName": spec.storage_class } }),
        )?;
        let volume = format!("pvc-{}", text(&claim, "/metadata/uid"));
        let class = self.kube.get(&kinds::STORAGE_CLASSES, "", &spec.storage_class);
        let policy = class.ok().map(|class| text(&class, "/reclaimPolicy").to_owned()).filter(|policy| !policy.is_empty());
        self.kube.create(
            &kinds::VOLUMES,
            json!({
            "metadata": { "name": volume, "labels": { "cnpg.io/cluster": spec.name } },
            "spec": {
                "capacity": { "storage": spec.storage }, "accessModes": ["ReadWriteOnce"], "storageClassName": spec.storage_class,
                "persistentVolumeReclaimPolicy": policy.unwrap_or_else(|| "Delete".into()),
                "csi": { "driver": DRIVER, "volumeHandle": volume },
                "claimRef": { "kind": "PersistentVolumeClaim", "namespace": spec.namespace, "name": name, "uid": claim["metadata"]["uid"] } } }),
        )?;
        self.kube.patch_status(&kinds::VOLUMES, "", &volume, &json!({ "phase": "Bound" }))?;
        let claim = self.kube.patch(&kinds::VOLUME_CLAIMS, &spec.namespace, &name, &json!({ "spec": { "volumeName": volume } }))?;
        self.kube.patch_status(
            &kinds::VOLUME_CLAIMS,
            &spec.namespace,
            &name,
            &json!({ "phase": "Bound", "capacity": { "storage": spec.storage } }),
        )?;
        let instance = self.instance(&claim).ok_or_else(|| OperatorError::Missing("the claim just made".into()))?;
        tracing::info!(cluster = spec.name, instance = name, volume, port, role, "an instance was created");
        Ok(instance)
    }

    /// Makes the folders that a server needs; a state folder restored without `run` gets it again.
    pub(crate) fn folders(&self, instance: &Instance) -> Result<(), OperatorError> {
        [&instance.base, &instance.run, &instance.base.join("tls")].into_iter().try_for_each(|folder| self.postgres.folder(folder))
    }

    /// Writes the Pod, its labels, and the claim's label, as the server's state is now.
    pub(crate) fn show_pod(&self, spec: &Spec, instance: &Instance, role: &str) -> Result<bool, OperatorError> {
        let (namespace, name) = (&spec.namespace, &instance.name);
        let ready = instance.server().is_up();
        let labels = labels(spec, name, role, "");
        let shape = instance.shape().unwrap_or_else(|| spec.shape.clone());
        let node = self.node_of(spec, instance, &shape["nodeSelector"])?;
        let claim = json!({ "metadata": { "labels": { "cnpg.io/instanceRole": role } } });
        self.kube.patch(&kinds::VOLUME_CLAIMS, namespace, name, &claim)?;
        let pod = self.kube.apply(
            &kinds::PODS,
            json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace, "labels": labels, "ownerReferences": [spec.owner()],
                "annotations": { "cnpg.io/nodeSerial": instance.serial.to_string(), PORT: instance.port.to_string() } },
            "spec": { "nodeName": node, "nodeSelector": shape["nodeSelector"],
                "containers": [{ "name": "postgres", "image": format!("postgresql:{}", self.postgres.major), "resources": shape["resources"],
                    "ports": [{ "name": "postgresql", "containerPort": instance.port, "protocol": "TCP" }] }],
                "volumes": [{ "name": "pgdata", "persistentVolumeClaim": { "claimName": name } }] } }),
            MANAGER,
        )?;
        self.show_pod_status(&pod, ready)?;
        Ok(ready)
    }

    /// Writes a Pod's status: running and ready, or running and not.
    pub(crate) fn show_pod_status(&self, pod: &Value, ready: bool) -> Result<(), OperatorError> {
        let status = if ready { "True" } else { "False" };
        let conditions = condition(&pod["status"]["conditions"], "Ready", status, "", "", &self.stamp());
        let name = &pod["spec"]["containers"][0]["name"];
        let status = json!({ "phase": "Running", "podIP": "127.0.0.1", "hostIP": "127.0.0.1", "conditions": conditions,
            "containerStatuses": [{ "name": name, "ready": ready, "started": ready, "restartCount": 0 }] });
        self.kube.patch_status(&kinds::PODS, text(pod, "/metadata/namespace"), text(pod, "/metadata/name"), &status)?;
        Ok(())
    }

    /// Deletes an object that may be gone already.
    pub(crate) fn remove(&self, kind: &'static kiven_fake_kube::Kind, namespace: &str, name: &str) -> Result<(), OperatorError> {
        match self.kube.delete(kind, namespace, name) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn labels(spec: &Spec, name: &str, role: &str, claim_role: &str) -> Value {
    let mut labels = if spec.inherited.is_object() { spec.inherited.clone() } else { json!({}) };
    let own = json!({ "cnpg.io/cluster": spec.name, "cnpg.io/instanceName": name, "cnpg.io/instanceRole": role, "role": role });
    if let (Some(labels), Value::Object(own)) = (labels.as_object_mut(), own) {
        labels.extend(own);
    }
    if claim_role.is_empty() {
        labels["cnpg.io/podRole"] = json!("instance");
    } else {
        labels["cnpg.io/pvcRole"] = json!(claim_role);
    }
    labels
}

/// A port to keep for life.
pub(crate) fn free_port() -> Result<u16, OperatorError> {
    Ok(crate::ports::free()?.local_addr()?.port())
}
