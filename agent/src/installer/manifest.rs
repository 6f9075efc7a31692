//! Manifests, pure: bytes checked against their digest, documents read, objects moved into Kiven's namespace with pinned images.
//! What is not expected is refused, so that a release that brings something new is looked at before it is listed.
use kiven_model::operators::{Component, Image, Release};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The namespace that the projects' own manifests name.
const ORIGINAL_NAMESPACE: &str = "cnpg-system";
/// What cert-manager would be asked for; the agent makes these Secrets itself.
const CERTIFICATES_GROUP: &str = "cert-manager.io/";
/// The annotation that says which release an object is of.
pub(super) const RELEASE: &str = "kiven.io/release";
/// Seconds after an instance is replaced before another database's may be, and before one of the same database may: whatever makes
/// all of them roll, a new sidecar or image, takes one database after the other. The operator holds every replacement to these, a
/// customer's own change of size too ("Cluster upgrade delayed"), so that they are short.
const CLUSTERS_DELAY_SECONDS: u32 = 60;
const INSTANCES_DELAY_SECONDS: u32 = 0;

/// Why a manifest is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("{file} has the SHA-256 {found}, and {pinned} is pinned")]
    Digest { file: &'static str, found: String, pinned: &'static str },
    #[error("{file} is not text")]
    Text { file: &'static str, source: std::str::Utf8Error },
    #[error("a document of {file} cannot be read")]
    Unreadable { file: &'static str, source: Box<serde_saphyr::Error> },
    #[error("{file} holds what nobody expected: {what}")]
    Unexpected { file: &'static str, what: String },
}

/// A kind that the installer applies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespaced: bool,
}

/// The kinds, in the order of their application.
pub(super) const KINDS: [Kind; 12] = [
    Kind { group: "apiextensions.k8s.io", kind: "CustomResourceDefinition", plural: "customresourcedefinitions", namespaced: false },
    Kind { group: "", kind: "ServiceAccount", plural: "serviceaccounts", namespaced: true },
    Kind { group: "rbac.authorization.k8s.io", kind: "ClusterRole", plural: "clusterroles", namespaced: false },
    Kind { group: "rbac.authorization.k8s.io", kind: "Role", plural: "roles", namespaced: true },
    Kind { group: "rbac.authorization.k8s.io", kind: "ClusterRoleBinding", plural: "clusterrolebindings", namespaced: false },
    Kind { group: "rbac.authorization.k8s.io", kind: "RoleBinding", plural: "rolebindings", namespaced: true },
    Kind { group: "", kind: "ConfigMap", plural: "configmaps", namespaced: true },
    Kind { group: "", kind: "Secret", plural: "secrets", namespaced: true },
    Kind { group: "", kind: "Service", plural: "services", namespaced: true },
    Kind { group: "apps", kind: "Deployment", plural: "deployments", namespaced: true },
    Kind { group: "admissionregistration.k8s.io", kind: "MutatingWebhookConfiguration", plural: "mutatingwebhookconfigurations", namespaced: false },
    Kind {
        group: "admissionregistration.k8s.io",
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        namespaced: false,
    },
];

/// An object's place in [`KINDS`].
pub(super) fn rank(object: &Value) -> Option<usize> {
    let api_version = object["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    KINDS.iter().position(|known| known.group == group && version == "v1" && object["kind"] == known.kind)
}

/// Whether an object goes with one version of what runs, and not with what it stands on.
pub(super) fn belongs_to_the_version(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("Deployment" | "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration"))
}

/// Where objects go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) registry: Option<&'a str>,
    pub(crate) pull_secrets: &'a [String],
}

/// Checks a manifest's digest and reads its documents.
pub(crate) fn read(release: &Release, bytes: &[u8]) -> Result<Vec<Value>, ManifestError> {
    let file = release.file;
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != release.sha256 {
        return Err(ManifestError::Digest { file, found, pinned: release.sha256 });
    }
    let text = std::str::from_utf8(bytes).map_err(|source| ManifestError::Text { file, source })?;
    documents(text).map_err(|source| ManifestError::Unreadable { file, source })
}

/// The documents of a YAML stream: one at a time, so that no bound of the parser is over the whole of it.
fn documents(text: &str) -> Result<Vec<Value>, Box<serde_saphyr::Error>> {
    let texts = text.split("\n---").map(|part| part.trim_start_matches("---"));
    let mut documents = Vec::new();
    for document in texts {
        let only_comments = document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        if !only_comments {
            documents.push(serde_saphyr::from_str(document).map_err(Box::new)?);
        }
    }
    Ok(documents)
}

/// The objects as they are applied, in the order of their application: in another namespace, with pinned images, without what
/// cert-manager would be asked for and without the namespace itself.
pub(crate) fn place(release: &Release, documents: Vec<Value>, placement: &Placement<'_>) -> Result<Vec<Value>, ManifestError> {
    let unexpected = |what: String| ManifestError::Unexpected { file: release.file, what };
    let mut objects = Vec::new();
    for mut object in documents {
        let is_certificate = object["apiVersion"].as_str().is_some_and(|version| version.starts_with(CERTIFICATES_GROUP));
        let is_namespace = object["kind"] == "Namespace" && object["metadata"]["name"] == ORIGINAL_NAMESPACE;
        if is_certificate || is_namespace {
            continue;
        }
        let name = format!("{} {}", word(&object["kind"]), word(&object["metadata"]["name"]));
        let rank = rank(&object).ok_or_else(|| unexpected(name.clone()))?;
        relocate(&mut object, KINDS[rank].namespaced, placement.namespace).map_err(|what| unexpected(format!("{name}: {what}")))?;
        pin(&mut object, release.images, placement).map_err(|what| unexpected(format!("{name}: {what}")))?;
        if KINDS[rank].kind != "CustomResourceDefinition" && mentions(&object, ORIGINAL_NAMESPACE) {
            return Err(unexpected(format!("{name} names {ORIGINAL_NAMESPACE} at a place that is not known")));
        }
        objects.push((rank, object));
    }
    if release.component == Component::Operator {
        let configuration = configuration(placement.namespace);
        objects.push((rank(&configuration).unwrap_or_default(), configuration));
    }
    // Stable: within a kind they stay in the manifest's order.
    objects.sort_by_key(|(rank, _)| *rank);
    let release = format!("{} {}", release.component, release.version);
    Ok(objects.into_iter().map(|(_, object)| marked(object, &release)).collect())
}

/// How the operator follows its own upgrades: it changes the instance managers in place, without a restart of PostgreSQL, and where
/// it must restart, one instance and one database after the other.
fn configuration(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "cnpg-controller-manager-config", "namespace": namespace },
        "data": {
            "ENABLE_INSTANCE_MANAGER_INPLACE_UPDATES": "true",
            "CLUSTERS_ROLLOUT_DELAY": CLUSTERS_DELAY_SECONDS.to_string(),
            "INSTANCES_ROLLOUT_DELAY": INSTANCES_DELAY_SECONDS.to_string(),
        },
    })
}

fn marked(mut object: Value, release: &str) -> Value {
    object["metadata"]["annotations"][RELEASE] = json!(release);
    object
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("something without a name")
}

/// Moves an object and everything by which it names its namespace.
fn relocate(object: &mut Value, namespaced: bool, namespace: &str) -> Result<(), String> {
    let mut places: Vec<&mut Value> = Vec::new();
    let Value::Object(fields) = object else { return Err("it is no object".to_owned()) };
    for (key, value) in fields.iter_mut() {
        match key.as_str() {
            "metadata" => match value.get_mut("namespace") {
                Some(place) if namespaced => places.push(place),
                None if !namespaced => {}
                _ => return Err("its namespace is missing, or one too many".to_owned()),
            },
            "subjects" => places.extend(value.as_array_mut().into_iter().flatten().filter_map(|subject| subject.get_mut("namespace"))),
            "webhooks" => {
                places.extend(value.as_array_mut().into_iter().flatten().filter_map(|hook| hook.pointer_mut("/clientConfig/service/namespace")))
            }
            "spec" => places.extend(value.pointer_mut("/conversion/webhook/clientConfig/service/namespace")),
            _ => {}
        }
    }
    for place in places {
        if place != ORIGINAL_NAMESPACE {
            return Err(format!("the namespace {place}"));
        }
        *place = json!(namespace);
    }
    Ok(())
}

/// Puts the pinned image wherever one is named: containers, their environment, and Secrets that tell of a sidecar.
fn pin(object: &mut Value, images: &[Image], placement: &Placement<'_>) -> Result<(), String> {
    let pinned = |reference: &str| {
        let name = reference.split('@').next()?;
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        images.iter().find(|image| image.named == name).map(|image| image.reference(placement.registry))
    };
    if let Some(pod) = object.pointer_mut("/spec/template/spec") {
        if !placement.pull_secrets.is_empty() {
            pod["imagePullSecrets"] = placement.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
        }
        for list in ["initContainers", "containers"] {
            for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let reference = word(&container["image"]);
                container["image"] = json!(pinned(reference).ok_or_else(|| format!("the image {reference}"))?);
                container["imagePullPolicy"] = json!("IfNotPresent");
                for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
                    if let Some(image) = variable["value"].as_str().and_then(pinned) {
                        variable["value"] = json!(image);
                    }
                }
            }
        }
    }
    if object["kind"] == "Secret" {
        for (key, value) in object.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten() {
            let text = plain(value).ok_or_else(|| format!("the key {key} is no text"))?;
            *value = json!(encoded(&pinned(&text).ok_or_else(|| format!("the key {key}"))?));
        }
    }
    Ok(())
}

/// What a Secret's value says; in a manifest it may be broken into lines.
fn plain(value: &Value) -> Option<String> {
    let text: String = value.as_str()?.split_whitespace().collect();
    let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(text)).ok()?;
    String::from_utf8(bytes.0).ok()
}

fn encoded(text: &str) -> k8s_openapi::ByteString {
    k8s_openapi::ByteString(text.as_bytes().to_vec())
}

fn mentions(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text.contains(word),
        Value::Array(list) => list.iter().any(|inner| mentions(inner, word)),
        Value::Object(map) => map.values().any(|inner| mentions(inner, word)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
