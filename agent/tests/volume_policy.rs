//! What the agent may do to volumes, attempted on a real API server: the table is `chart/tests/volume-policy.yaml`.
//!
//! Not run by default. It wants a throw-away cluster (no node is needed) in `KUBECONFIG`, where it applies the chart's cluster-wide
//! rights and makes and deletes volumes: `cargo test -p kiven-agent --test volume_policy`.
#![expect(clippy::unwrap_used, reason = "a test: helpers of integration tests are not known as such")]
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Config, ResourceExt};
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

fn api(client: &Client, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = kube::api::ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::all_with(client.clone(), &resource)
}

fn volumes(client: &Client) -> Api<DynamicObject> {
    api(client, "", "v1", "PersistentVolume", "persistentvolumes")
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

/// The objects of the template as `helm template` would print them; its labels are left out.
fn rendered() -> Vec<Value> {
    let template = include_str!("../chart/templates/rights-cluster.yaml").replace(r#"{{ include "kiven.namespace" . }}"#, "kiven-system");
    let lines: Vec<&str> = template.lines().filter(|line| line.trim() != "labels:" && !line.contains("kiven.labels")).collect();
    assert!(lines.iter().all(|line| !line.contains("{{")), "a template directive that this test does not know");
    lines.join("\n").split("\n---\n").map(|text| serde_yaml_ng::from_str(text).unwrap()).collect()
}

async fn install(admin: &Client) {
    for object in rendered() {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
        let plural = if kind.ends_with('y') { format!("{}ies", kind.trim_end_matches('y')) } else { format!("{kind}s") }.to_lowercase();
        let params = PatchParams::apply("volume-policy-test").force();
        api(admin, group, version, kind, &plural).patch(name, &params, &Patch::Apply(&object)).await.unwrap();
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
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::infer().await.expect("a cluster in KUBECONFIG");
    let mut impersonating = config.clone();
    impersonating.auth_info.impersonate = Some(AGENT.to_owned());
    let (admin, agent) = (Client::try_from(config).unwrap(), Client::try_from(impersonating).unwrap());
    let table: Table = serde_yaml_ng::from_str(include_str!("../chart/tests/volume-policy.yaml")).unwrap();
    install(&admin).await;
    let began = Instant::now();
    loop {
        let found = differences(&admin, &agent, &table).await;
        if found.is_empty() {
            break;
        }
        // The policy takes effect a moment after it was applied.
        assert!(began.elapsed() < Duration::from_secs(ENFORCED_SECONDS_MAX), "{} differences:\n{}", found.len(), found.join("\n"));
    }
    let policies = api(&admin, "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies");
    let checked = loop {
        let policy = policies.get(POLICY).await.unwrap();
        let status = policy.data["status"].clone();
        if status["observedGeneration"].as_i64() == policy.metadata.generation {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(ENFORCED_SECONDS_MAX), "nobody checks the policy's types");
    };
    let warnings = &checked["typeChecking"]["expressionWarnings"];
    assert!(warnings.is_null(), "the policy's expressions do not fit the type: {warnings}");
    assert!(volumes(&agent).list(&kube::api::ListParams::default()).await.is_ok(), "the agent finds volumes by their claims");
    println!("{} attempts went as the table says", table.attempts.len());
}
