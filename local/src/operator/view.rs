//! A Cluster as the operator reads it: parsed once per pass, trusted afterwards. Pure.
use super::archive::Bucket;
use super::error::OperatorError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kiven_fake_kube::{Handle, kinds};
use serde_json::{Map, Value, json};

/// The text at a JSON pointer, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// One decoded value of a Secret.
pub(crate) fn decode(secret: &Value, key: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(secret["data"].get(key)?.as_str()?).ok()?).ok()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().map(|list| list.iter().filter_map(|v| v.as_str().map(Into::into)).collect()).unwrap_or_default()
}

/// The database and owner that a new Cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bootstrap {
    pub(crate) database: String,
    pub(crate) owner: String,
    pub(crate) secret: Option<String>,
}

/// What is asked of synchronous replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synchronous {
    pub(crate) number: u64,
    pub(crate) method: String,
    pub(crate) required: bool,
}

/// The parts of a Cluster that this operator honours.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) instances: usize,
    pub(crate) storage: String,
    pub(crate) storage_class: String,
    /// What a Pod has of it only from its start: resources and the nodes it may run on.
    pub(crate) shape: Value,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) preload: Vec<String>,
    pub(crate) hba: Vec<String>,
    pub(crate) synchronous: Option<Synchronous>,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) post_init: Vec<String>,
    pub(crate) roles: Vec<Value>,
    pub(crate) server_ca_secret: Option<String>,
    pub(crate) server_names: Vec<String>,
    pub(crate) object_store: Option<(String, String)>,
    pub(crate) hibernate: bool,
    /// Labels that its Pods get from it.
    pub(crate) inherited: Value,
}

impl Spec {
    pub(crate) fn of(cluster: &Value) -> Self {
        let spec = &cluster["spec"];
        let optional = |pointer: &str| Some(text(spec, pointer).to_owned()).filter(|text| !text.is_empty());
        let name = text(cluster, "/metadata/name").to_owned();
        let initdb = |field: &str| optional(&format!("/bootstrap/initdb/{field}"));
        let database = initdb("database").unwrap_or_else(|| "app".into());
        let plugin = spec["plugins"]
            .as_array()
            .and_then(|list| list.iter().find(|p| !text(p, "/parameters/barmanObjectName").is_empty() && p["enabled"] != false));
        let synchronous = &spec["postgresql"]["synchronous"];
        Self {
            namespace: text(cluster, "/metadata/namespace").into(),
            uid: text(cluster, "/metadata/uid").into(),
            instances: usize::try_from(spec["instances"].as_u64().unwrap_or(1)).unwrap_or(1),
            storage: optional("/storage/size").unwrap_or_else(|| "1Gi".into()),
            storage_class: optional("/storage/storageClass").unwrap_or_default(),
            shape: json!({ "resources": spec["resources"], "nodeSelector": spec["affinity"]["nodeSelector"] }),
            parameters: spec["postgresql"]["parameters"].as_object().cloned().unwrap_or_default(),
            preload: texts(&spec["postgresql"]["shared_preload_libraries"]),
            hba: texts(&spec["postgresql"]["pg_hba"]),
            synchronous: synchronous.is_object().then(|| Synchronous {
                number: synchronous["number"].as_u64().unwrap_or(1),
                method: synchronous["method"].as_str().unwrap_or("any").to_uppercase(),
                required: synchronous["dataDurability"] != "preferred",
            }),
            bootstrap: Bootstrap { owner: initdb("owner").unwrap_or_else(|| database.clone()), database, secret: initdb("secret/name") },
            post_init: spec["bootstrap"]["initdb"]["postInitSQL"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|sql| sql.as_str().map(Into::into))
                .collect(),
            roles: spec["managed"]["roles"].as_array().cloned().unwrap_or_default(),
            server_ca_secret: optional("/certificates/serverCASecret"),
            server_names: texts(&spec["certificates"]["serverAltDNSNames"]),
            object_store: plugin.map(|plugin| {
                let server = text(plugin, "/parameters/serverName");
                (text(plugin, "/parameters/barmanObjectName").into(), if server.is_empty() { name.clone() } else { server.into() })
            }),
            inherited: spec["inheritedMetadata"]["labels"].clone(),
            hibernate: cluster["metadata"]["annotations"]["cnpg.io/hibernation"] == "on",
            name,
        }
    }

    /// The reference that makes garbage collection take an object with its Cluster.
    pub(crate) fn owner(&self) -> Value {
        json!({ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": self.name, "uid": self.uid, "controller": true, "blockOwnerDeletion": true })
    }

    /// Where WAL and base backups go, when the Cluster names an ObjectStore.
    pub(crate) fn bucket(&self, kube: &Handle, endpoint: &str) -> Result<Option<Bucket>, OperatorError> {
        let Some((name, server)) = &self.object_store else {
            return Ok(None);
        };
        let store = kube.get(&kinds::OBJECT_STORES, &self.namespace, name)?;
        let destination = text(&store, "/spec/configuration/destinationPath");
        let bucket = Bucket::parse(endpoint, destination, server);
        bucket.map(Some).ok_or_else(|| OperatorError::Missing(format!("an s3:// destinationPath in ObjectStore {name}")))
    }
}

/// Sets one condition, keeping the time of its last transition while its status stays.
pub(crate) fn condition(list: &Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) -> Value {
    let mut list = list.as_array().cloned().unwrap_or_default();
    let since = list.iter().find(|c| c["type"] == kind && c["status"] == status).map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone());
    list.retain(|c| c["type"] != kind);
    list.push(json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since }));
    list.sort_by(|a, b| a["type"].as_str().cmp(&b["type"].as_str()));
    Value::Array(list)
}

/// Whether a condition of an object is True.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    object["status"]["conditions"].as_array().is_some_and(|list| list.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}
