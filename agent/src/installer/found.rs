//! Which operators and plugins run in the cluster, whoever installed them: Deployments by the image that they run.
use super::present::Found;
use crate::objects::resource;
use kiven_model::operators::{Component, version_of_image};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

/// Deployments in one page.
const PAGE: u32 = 200;
/// Most pages: a cluster with more Deployments is not looked through further.
const PAGES_MAX: u32 = 100;

/// Looks through the cluster's Deployments for operators and plugins.
pub(super) async fn look(client: &Client) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    each(client, |one| found.extend(judge(&one.namespace().unwrap_or_default(), &one.name_any(), &one.data))).await?;
    Ok(found)
}

/// Whether a Deployment runs an image of that name.
pub(super) async fn runs(client: &Client, image: &str) -> anyhow::Result<bool> {
    let mut runs = false;
    let named = |reference: &str| reference.rsplit('/').next().and_then(|last| last.split(['@', ':']).next()) == Some(image);
    each(client, |one| runs |= images(&one.data).any(named)).await?;
    Ok(runs)
}

async fn each(client: &Client, mut see: impl FnMut(&DynamicObject)) -> anyhow::Result<()> {
    let deployments = Api::<DynamicObject>::all_with(client.clone(), &resource("apps", "v1", "Deployment", "deployments"));
    let mut parameters = ListParams::default().limit(PAGE);
    for _ in 0..PAGES_MAX {
        let page = deployments.list(&parameters).await?;
        page.items.iter().for_each(&mut see);
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
            _ => return Ok(()),
        }
    }
    anyhow::bail!("there are more than {} Deployments: whether an operator is among them cannot be told", PAGE * PAGES_MAX)
}

fn images(deployment: &Value) -> impl Iterator<Item = &str> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    containers.into_iter().flatten().filter_map(|container| container["image"].as_str())
}

/// Whether a Deployment runs one of the two.
fn judge(namespace: &str, name: &str, deployment: &Value) -> Option<Found> {
    Component::ALL.into_iter().find_map(|component| {
        let version = images(deployment).find_map(|image| version_of_image(component, image));
        let labelled =
            component == Component::Operator && deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "cloudnative-pg";
        (version.is_some() || labelled).then(|| Found { component, namespace: namespace.to_owned(), name: name.to_owned(), version })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_operator_is_known_by_its_image_or_its_label() {
        let deployment = |image: &str, label: &str| json!({ "spec": { "template": { "metadata": { "labels": { "app.kubernetes.io/name": label } }, "spec": { "containers": [{ "image": image }] } } } });
        let kind = |image: &str, label: &str| judge("ns", "x", &deployment(image, label)).map(|found| (found.component, found.version));
        let version = |text: &str| Some(text.to_owned());
        assert_eq!(kind("mirror/cloudnative-pg:1.29.1", "renamed"), Some((Component::Operator, version("1.29.1"))));
        assert_eq!(kind("mirror/operator:7", "cloudnative-pg"), Some((Component::Operator, None)));
        assert_eq!(kind("ghcr.io/cloudnative-pg/plugin-barman-cloud:v0.14.0", ""), Some((Component::Plugin, version("0.14.0"))));
        assert_eq!(kind("ghcr.io/cloudnative-pg/postgresql:17", "shop"), None);
        assert_eq!(judge("ns", "x", &json!({})), None);
    }
}
