//! Objects to the API server, in their order, and the waits between.
use super::manifest::{KINDS, rank};
use crate::objects::{api, resource};
use anyhow::Context;
use kiven_data_services::cnpg::OPERATOR_LABEL;
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::operators::Component;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// The field manager of what the installer applies.
const MANAGER: &str = "kiven-installer";
/// How long the API server may take to serve a new kind.
const ESTABLISHED_SECONDS_MAX: u64 = 60;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Applies objects that are in their order; kinds are served before anything else is applied.
pub(super) async fn apply(client: &Client, objects: Vec<Value>) -> anyhow::Result<()> {
    let (definitions, rest): (Vec<Value>, Vec<Value>) = objects.into_iter().partition(|object| rank(object) == Some(0));
    for object in &definitions {
        apply_one(client, object).await?;
    }
    for object in &definitions {
        established(client, object["metadata"]["name"].as_str().unwrap_or_default()).await?;
    }
    for object in &rest {
        apply_one(client, object).await?;
    }
    Ok(())
}

async fn apply_one(client: &Client, object: &Value) -> anyhow::Result<()> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let kind = &KINDS[rank(object).with_context(|| format!("{name} is of a kind that is not applied"))?];
    let resource = resource(kind.group, "v1", kind.kind, kind.plural);
    let api: Api<DynamicObject> = if kind.namespaced { api(client, SYSTEM_NAMESPACE, &resource) } else { Api::all_with(client.clone(), &resource) };
    let applied = api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await;
    applied.map(drop).with_context(|| format!("{} {name} was not applied", kind.kind))
}

async fn established(client: &Client, name: &str) -> anyhow::Result<()> {
    let definitions = resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
    let api = Api::<DynamicObject>::all_with(client.clone(), &definitions);
    let deadline = Instant::now() + Duration::from_secs(ESTABLISHED_SECONDS_MAX);
    loop {
        let definition = api.get(name).await?;
        let conditions = definition.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True") {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{name} is not served after {ESTABLISHED_SECONDS_MAX} s");
        tokio::time::sleep(LOOK).await;
    }
}

/// Labels the namespace of an operator that is used, so that the databases' network policies let it in.
pub(super) async fn label_namespace(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let namespaces = Api::<DynamicObject>::all_with(client.clone(), &resource("", "v1", "Namespace", "namespaces"));
    let patch = json!({ "metadata": { "labels": { OPERATOR_LABEL: "true" } } });
    let labelled = namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(&patch)).await;
    labelled.map(drop).with_context(|| format!("the namespace {namespace} was not labelled"))
}

/// Waits until a component answers.
pub(super) async fn await_ready(client: &Client, component: Component, wait: Duration) -> anyhow::Result<()> {
    let deployments = api(client, SYSTEM_NAMESPACE, &resource("apps", "v1", "Deployment", "deployments"));
    let deadline = Instant::now() + wait;
    while !wait.is_zero() {
        let found = deployments.get(component.deployment()).await?;
        if ready(&found.data, found.metadata.generation) {
            break;
        }
        let seconds = wait.as_secs();
        anyhow::ensure!(
            Instant::now() < deadline,
            "{component} is not ready after {seconds} s: look at `kubectl -n {SYSTEM_NAMESPACE} describe pods` for images that cannot be pulled, or nodes that are missing"
        );
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Whether a Deployment runs what was asked for last.
fn ready(deployment: &Value, generation: Option<i64>) -> bool {
    let status = &deployment["status"];
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    status["observedGeneration"].as_i64() == generation
        && number("updatedReplicas") == wanted
        && number("readyReplicas") == wanted
        && number("replicas") == wanted
}
