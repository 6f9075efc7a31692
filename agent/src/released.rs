//! Whether Kiven has let this cluster go: a mark in a ConfigMap that only the customer removes. While it is there the agent
//! opens no session and touches nothing.
use crate::objects::{api, apply, resource};
use kiven_model::EnvironmentId;
use kiven_model::names::SYSTEM_NAMESPACE;
use kube::Client;
use kube::api::{Api, DynamicObject};
use serde_json::json;

/// The ConfigMap's name.
const NAME: &str = "kiven-released";

fn maps(client: &Client) -> Api<DynamicObject> {
    api(client, SYSTEM_NAMESPACE, &resource("", "v1", "ConfigMap", "configmaps"))
}

/// Whether this environment was released.
pub(crate) async fn is(client: &Client, environment: &EnvironmentId) -> kube::Result<bool> {
    let found = maps(client).get_opt(NAME).await?;
    Ok(found.is_some_and(|map| map.data["data"]["environment_id"] == environment.as_str()))
}

/// Notes that it is released now.
pub(crate) async fn note(client: &Client, environment: &EnvironmentId) -> kube::Result<()> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME },
        "data": {
            "environment_id": environment.as_str(),
            "about": "Kiven has let this cluster go. Its agent keeps the backup plugin's certificates good and does nothing else until this ConfigMap is deleted and the agent restarted.",
        },
    });
    apply(&maps(client), &map).await.map(drop)
}
