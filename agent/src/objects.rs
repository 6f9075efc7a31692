//! The kinds the agent may touch, and how it applies, reads and removes them.
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::Value;

/// The field manager of everything that commands apply.
pub(crate) const MANAGER: &str = "kiven";

/// Group, version, kind and plural of each namespaced kind that commands may apply.
pub(crate) const APPLICABLE: [(&str, &str, &str, &str); 7] = [
    ("postgresql.cnpg.io", "v1", "Cluster", "clusters"),
    ("postgresql.cnpg.io", "v1", "Pooler", "poolers"),
    ("postgresql.cnpg.io", "v1", "ScheduledBackup", "scheduledbackups"),
    ("postgresql.cnpg.io", "v1", "Database", "databases"),
    ("barmancloud.cnpg.io", "v1", "ObjectStore", "objectstores"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("", "v1", "Service", "services"),
];

/// The API resource of a group, version, kind and plural.
pub(crate) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The API resource of an object, if commands may apply its kind.
pub(crate) fn applicable(object: &Value) -> Option<ApiResource> {
    let api_version = object["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let known = APPLICABLE.iter().find(|(g, v, kind, _)| *g == group && *v == version && object["kind"] == *kind)?;
    Some(resource(known.0, known.1, known.2, known.3))
}

/// Objects of one kind in one namespace.
pub(crate) fn api(client: &Client, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, resource)
}

/// A short-hand for a kind of the database operator.
pub(crate) fn cnpg(client: &Client, namespace: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    api(client, namespace, &resource("postgresql.cnpg.io", "v1", kind, plural))
}

/// Server-side apply under Kiven's own name.
pub(crate) async fn apply(api: &Api<DynamicObject>, object: &Value) -> kube::Result<DynamicObject> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await
}

/// Sets annotations without touching anything else.
pub(crate) async fn annotate(api: &Api<DynamicObject>, name: &str, annotations: Value) -> kube::Result<DynamicObject> {
    let patch = serde_json::json!({ "metadata": { "annotations": annotations } });
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await
}

/// Deletes an object if it is there.
pub(crate) async fn delete(api: &Api<DynamicObject>, name: &str) -> kube::Result<()> {
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Names of the objects that carry a label.
pub(crate) async fn labelled(api: &Api<DynamicObject>, selector: &str) -> kube::Result<Vec<DynamicObject>> {
    Ok(api.list(&ListParams::default().labels(selector)).await?.items)
}

/// Deletes every object that carries a label.
pub(crate) async fn delete_labelled(api: &Api<DynamicObject>, selector: &str) -> kube::Result<()> {
    for object in labelled(api, selector).await? {
        delete(api, &object.name_any()).await?;
    }
    Ok(())
}
