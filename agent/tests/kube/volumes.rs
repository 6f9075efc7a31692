//! What the agent may do to volumes, attempted one by one under its own name: the table is `chart/tests/volume-policy.yaml`.
use crate::cluster::{Admin, resource, until, variable};
use crate::installed;
use crate::relay::Kiven;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long the API server may take until it enforces a policy that was just applied.
const ENFORCED_SECONDS_MAX: u64 = 60;
const AGENT: &str = "system:serviceaccount:kiven-system:kiven-agent";
const POLICY: &str = "kiven-agent-volumes";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    volume: Value,
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    name: String,
    #[serde(default)]
    from: Value,
    #[serde(default)]
    verb: Verb,
    #[serde(default, rename = "as")]
    who: Who,
    #[serde(default)]
    patch: Value,
    refused: Option<String>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Verb {
    #[default]
    Patch,
    PatchStatus,
    Replace,
    Create,
    Delete,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Who {
    #[default]
    Agent,
    Admin,
}

fn volumes(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource("v1", "PersistentVolume"))
}

/// A merge patch as RFC 7396 has it.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else { return target.clone_from(patch) };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], change);
        }
    }
}

/// A new volume for an attempt: some of what a policy that is not enforced yet lets through cannot be taken back.
async fn create(admin: &Client, base: &Value, from: &Value) -> DynamicObject {
    let mut wanted = json!({ "apiVersion": "v1", "kind": "PersistentVolume" });
    merge(&mut wanted, base);
    if !from.is_null() {
        merge(&mut wanted, from);
    }
    wanted["metadata"]["generateName"] = json!("volume-policy-");
    volumes(admin).create(&PostParams::default(), &serde_json::from_value(wanted).unwrap()).await.unwrap()
}

async fn attempt(client: &Client, attempt: &Attempt, before: DynamicObject) -> kube::Result<()> {
    let (api, name) = (volumes(client), before.name_any());
    let mut after = serde_json::to_value(&before).unwrap();
    merge(&mut after, if attempt.patch.is_null() { &before.data } else { &attempt.patch });
    let patch = Patch::Merge(&attempt.patch);
    match attempt.verb {
        Verb::Patch => api.patch(&name, &PatchParams::default(), &patch).await.map(drop),
        Verb::PatchStatus => api.patch_status(&name, &PatchParams::default(), &patch).await.map(drop),
        Verb::Replace => api.replace(&name, &PostParams::default(), &serde_json::from_value(after).unwrap()).await.map(drop),
        Verb::Delete => api.delete(&name, &DeleteParams::default()).await.map(drop),
        Verb::Create => {
            after["metadata"] = json!({ "name": format!("{name}-created") });
            api.create(&PostParams::default(), &serde_json::from_value(after).unwrap()).await.map(drop)
        }
    }
}

/// What does not go as the table says.
async fn differences(admin: &Client, agent: &Client, table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for one in &table.attempts {
        let before = create(admin, &table.volume, &one.from).await;
        let name = before.name_any();
        let client = if one.who == Who::Admin { admin } else { agent };
        let outcome = attempt(client, one, before).await.map_err(|error| match error {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        });
        volumes(admin).delete(&name, &DeleteParams::default()).await.unwrap();
        match (&one.refused, outcome) {
            (None, Ok(())) => {}
            (Some(why), Err(message)) if message.contains(why) => {}
            (None, Err(message)) => found.push(format!("{}: refused: {message}", one.name)),
            (Some(why), Ok(())) => found.push(format!("{}: allowed, should be refused with `{why}`", one.name)),
            (Some(why), Err(message)) => found.push(format!("{}: should be refused with `{why}`, was with: {message}", one.name)),
        }
    }
    found
}

#[tokio::test]
async fn the_agent_does_to_volumes_what_the_table_allows_and_nothing_else() {
    let admin = Admin::connect().await;
    let mut impersonating = admin.config.clone();
    impersonating.auth_info.impersonate = Some(AGENT.to_owned());
    let (client, agent) = (&admin.client, Client::try_from(impersonating).unwrap());
    let table: Table = serde_yaml_ng::from_str(include_str!("../../chart/tests/volume-policy.yaml")).unwrap();
    let kiven = Kiven::start(&admin, "").await;
    installed::install(&installed::values(&kiven));
    let began = Instant::now();
    loop {
        let found = differences(client, &agent, &table).await;
        if found.is_empty() {
            break;
        }
        // The policy takes effect a moment after it was applied.
        assert!(began.elapsed() < Duration::from_secs(ENFORCED_SECONDS_MAX), "{} differences:\n{}", found.len(), found.join("\n"));
    }
    if variable("KIVEN_KUBE_CONTROLLERS").is_some() {
        let policies = admin.all("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
        let checked = until("the policy's types are checked", async || {
            let policy = policies.get(POLICY).await.unwrap();
            let status = policy.data["status"].clone();
            (status["observedGeneration"].as_i64() == policy.metadata.generation).then_some(status)
        })
        .await;
        let warnings = &checked["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "the policy's expressions do not fit the type: {warnings}");
    } else {
        println!("\nskipped: types of the policy on volumes: no controller checks them here");
    }
    assert!(volumes(&agent).list(&ListParams::default()).await.is_ok(), "the agent finds volumes by their claims");
    installed::uninstall(&admin).await;
    println!("{} attempts went as the table says", table.attempts.len());
}
