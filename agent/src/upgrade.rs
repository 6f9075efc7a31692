//! Operator and plugin moved to another listed release: only forward, only while every database is well, only by the image and its
//! digest. What a release stands on (kinds, roles, webhooks) comes with the chart; nothing of that is the agent's to write.
use crate::objects::{api, resource};
use crate::watch::World;
use kiven_model::command::{CommandOutcome, CommandOutput};
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::operators::{Component, Release, Standing, order, standing, version_of_image};
use kiven_model::{Code, Problem};
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The operator's own settings, among them how it follows its upgrades.
const SETTINGS: &str = "cnpg-controller-manager-config";

/// What is to be done.
#[derive(Debug, PartialEq)]
enum Turn {
    /// It runs already.
    Nothing,
    /// It is on its way.
    Await(String),
    /// The Deployment changes so.
    Patch(Value),
}

fn refused(why: impl Into<String>) -> Problem {
    Problem::new(Code::AGENT_REFUSED, why).hint("The agent's guardrails do not allow it; see docs/security/guardrails.md.")
}

/// The release that a command names, if it is one to move to.
pub(crate) fn listed(component: Component, version: &str) -> Result<&'static Release, Problem> {
    match standing(component, version) {
        Standing::Listed(release) => Ok(release),
        Standing::KnownBad(why) => Err(refused(format!("{component} {version} is known to hurt databases: {why}"))),
        Standing::Unlisted => Err(refused(format!("{component} {version} is not listed"))),
    }
}

/// What a Deployment's state asks for.
fn turn(release: &Release, deployment: &Value) -> Result<Turn, Problem> {
    let component = release.component;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let (name, running) = (container["name"].as_str().unwrap_or_default(), container["image"].as_str().unwrap_or_default());
    let image = release.main_image().ok_or_else(|| refused(format!("{component} {} has no image", release.version)))?;
    if running.ends_with(image.digest) {
        let ready = ready(deployment);
        return Ok(if ready { Turn::Nothing } else { Turn::Await(format!("{component} {} to be ready", release.version)) });
    }
    let version =
        version_of_image(component, running).ok_or_else(|| refused(format!("{component} runs an image of which nobody knows the version")))?;
    if order(&version) >= order(release.version) {
        return Err(refused(format!("{component} {version} is never taken back to {}", release.version)));
    }
    if !ready(deployment) {
        return Ok(Turn::Await(format!("{component} {version} to be ready before it moves")));
    }
    let repository = running.split('@').next().and_then(|text| text.rsplit_once(':')).map_or(running, |(repository, _)| repository);
    let registry = repository.strip_suffix(image.repository).and_then(|text| text.strip_suffix('/'));
    let registry = registry.ok_or_else(|| refused(format!("{component} runs an image of another repository than the listed one")))?;
    let told = match component {
        Component::Operator => ("OPERATOR_IMAGE_NAME", image),
        Component::Plugin => match release.images.iter().find(|one| one.repository != image.repository) {
            Some(sidecar) => ("SIDECAR_IMAGE", sidecar),
            None => return Err(refused(format!("{component} {} has no sidecar", release.version))),
        },
    };
    let variable = json!({ "name": told.0, "value": told.1.reference(Some(registry)), "valueFrom": null });
    let container = json!({ "name": name, "image": image.reference(Some(registry)), "env": [variable] });
    Ok(Turn::Patch(json!({ "spec": { "template": { "spec": { "containers": [container] } } } })))
}

fn ready(deployment: &Value) -> bool {
    let status = &deployment["status"];
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    number("observedGeneration") == deployment["metadata"]["generation"].as_i64().unwrap_or(0)
        && [number("updatedReplicas"), number("readyReplicas"), number("replicas")].iter().all(|replicas| *replicas == wanted)
}

/// Whether the operator follows its own upgrades without restarting databases, and spaces the beginnings where it restarts them after all.
fn gentle(settings: &Value) -> bool {
    let seconds = settings["data"]["CLUSTERS_ROLLOUT_DELAY"].as_str().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    settings["data"]["ENABLE_INSTANCE_MANAGER_INPLACE_UPDATES"] == "true" && seconds > 0
}

/// Moves a component; asked again until it is there.
pub(crate) async fn move_to(client: &Client, world: &World, component: Component, version: &str) -> kube::Result<CommandOutcome> {
    let release = match listed(component, version) {
        Ok(release) => release,
        Err(problem) => return Ok(CommandOutcome::Refused(problem)),
    };
    let later = |on: String| Ok(CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, format!("waiting for {on}"))));
    let deployments = api(client, SYSTEM_NAMESPACE, &resource("apps", "v1", "Deployment", "deployments"));
    let Some(found) = deployments.get_opt(component.deployment()).await? else {
        return Ok(CommandOutcome::Refused(refused(format!("{component} is not Kiven's in this cluster"))));
    };
    let found = serde_json::to_value(found).map_err(kube::Error::SerdeError)?;
    let patch = match turn(release, &found) {
        Ok(Turn::Nothing) => return Ok(CommandOutcome::Done(CommandOutput::Nothing)),
        Ok(Turn::Await(on)) => return later(on),
        Ok(Turn::Patch(patch)) => patch,
        Err(problem) => return Ok(CommandOutcome::Refused(problem)),
    };
    if !world.settled() {
        return later("every database to be well or paused".to_owned());
    }
    let settings = api(client, SYSTEM_NAMESPACE, &resource("", "v1", "ConfigMap", "configmaps")).get_opt(SETTINGS).await?;
    if !settings.is_some_and(|settings| gentle(&settings.data)) {
        let problem = refused("the operator would restart every database at once");
        return Ok(CommandOutcome::Refused(problem.hint(format!("Run `helm upgrade`: the installer writes {SETTINGS}."))));
    }
    deployments.patch(component.deployment(), &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    tracing::info!(%component, version, "moved");
    later(format!("{component} {version} to be ready"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(image: &str, ready: u32) -> Value {
        json!({
            "metadata": { "generation": 3 },
            "spec": { "replicas": 1, "template": { "spec": { "containers": [{ "name": "manager", "image": image }] } } },
            "status": { "observedGeneration": 3, "updatedReplicas": 1, "replicas": 1, "readyReplicas": ready },
        })
    }

    fn check(version: &str, image: &str, ready: u32, expected: &str) {
        let said = match listed(Component::Operator, version).and_then(|release| turn(release, &deployment(image, ready))) {
            Ok(Turn::Nothing) => "nothing".to_owned(),
            Ok(Turn::Await(on)) => format!("await {on}"),
            Ok(Turn::Patch(patch)) => {
                let container = &patch["spec"]["template"]["spec"]["containers"][0];
                assert_eq!(container["image"], container["env"][0]["value"]);
                container["image"].as_str().unwrap().split('@').next().unwrap().to_owned()
            }
            Err(problem) => problem.message,
        };
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn only_forward_only_listed_and_from_the_registry_that_is_used() {
        let origin = |version: &str| format!("ghcr.io/cloudnative-pg/cloudnative-pg:{version}");
        check("1.29.2", &origin("1.29.1"), 1, "ghcr.io/cloudnative-pg/cloudnative-pg:1.29.2");
        check(
            "1.29.2",
            "mirror.example:5000/a/cloudnative-pg/cloudnative-pg:1.29.1@sha256:00",
            1,
            "mirror.example:5000/a/cloudnative-pg/cloudnative-pg:1.29.2",
        );
        check("1.29.2", &origin("1.29.1"), 0, "await CloudNativePG 1.29.1 to be ready before");
        check("1.29.2", &origin("1.30.0"), 1, "never taken back");
        check("1.29.1", &origin("1.29.2"), 1, "never taken back");
        check("1.30.0", &origin("1.29.1"), 1, "known to hurt");
        check("1.31.0", &origin("1.29.1"), 1, "not listed");
        check("1.29.2", "evil/operator:1.0.0", 1, "nobody knows the version");
        check("1.29.2", "evil.example/other/cloudnative-pg:1.29.1", 1, "another repository");
        let there = listed(Component::Operator, "1.29.2").unwrap().main_image().unwrap().reference(None);
        check("1.29.2", &there, 1, "nothing");
        check("1.29.2", &there, 0, "await CloudNativePG 1.29.2");
    }

    #[test]
    fn the_sidecar_moves_with_the_plugin() {
        let release = Release { version: "0.99.0", ..*listed(Component::Plugin, "0.14.0").unwrap() };
        let Ok(Turn::Patch(patch)) = turn(&release, &deployment("ghcr.io/cloudnative-pg/plugin-barman-cloud:v0.13.0", 1)) else { panic!("it moves") };
        let variable = &patch["spec"]["template"]["spec"]["containers"][0]["env"][0];
        assert!(variable["name"] == "SIDECAR_IMAGE" && variable["value"].as_str().unwrap().contains("plugin-barman-cloud-sidecar:v0.14.0@sha256:"));
    }

    #[test]
    fn an_operator_that_restarts_all_at_once_is_not_moved() {
        let settings =
            |in_place: &str, delay: &str| json!({ "data": { "ENABLE_INSTANCE_MANAGER_INPLACE_UPDATES": in_place, "CLUSTERS_ROLLOUT_DELAY": delay } });
        assert!(gentle(&settings("true", "600")));
        assert!(!gentle(&settings("false", "600")) && !gentle(&settings("true", "0")) && !gentle(&json!({})));
    }
}
