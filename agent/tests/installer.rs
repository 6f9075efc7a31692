//! The installer on a real API server: what it applies, that a second run changes nothing, and what it refuses.
//!
//! The suite `kube` runs it on an API server of its own, which `KUBECONFIG` names; no node is needed. The manifests of the listed
//! releases are in the folder `KIVEN_CNPG_MANIFESTS`, which it serves as a mirror. With `KIVEN_INSTALLER_KUBECONFIG` the installer
//! itself runs under another identity, such as the chart's ServiceAccount. Where `KIVEN_RENDERED_CHART` names what `helm template`
//! prints, the agent's policy is tried on what was installed.
#![expect(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test: helpers of integration tests are not known as such")]
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the API server may take until it enforces a policy that was just applied.
const POLICY_SECONDS_MAX: u64 = 60;
const NEWEST: &str = "cnpg-1.29.2.yaml";

/// Serves the folder's files; of the newest operator one byte too many where it is told to lie.
async fn mirror(folder: PathBuf, lies: bool) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let path = String::from_utf8_lossy(&request[..read]).split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            let (status, mut body) = match std::fs::read(folder.join(&path)) {
                Ok(bytes) => ("200 OK", bytes),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            if lies && path == NEWEST {
                body.push(b'\n');
            }
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    });
    address
}

async fn install(mirror: SocketAddr, more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiven-agent"));
    command.arg("install").env("KIVEN_INSTALL_MIRROR", format!("http://{mirror}")).env("KIVEN_INSTALL_WAIT_SECONDS", "0");
    if let Ok(identity) = std::env::var("KIVEN_INSTALLER_KUBECONFIG") {
        command.env("KUBECONFIG", identity);
    }
    command.envs(more.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn objects(client: &Client, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural))
}

fn namespaced(client: &Client, namespace: &str, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural))
}

async fn apply(api: &Api<DynamicObject>, object: Value) {
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap();
}

/// Resource versions of everything that was installed.
async fn versions(client: &Client) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for (group, kind, plural) in [
        ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions"),
        ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings"),
        ("", "Secret", "secrets"),
        ("", "Service", "services"),
        ("", "ConfigMap", "configmaps"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ] {
        for object in objects(client, group, kind, plural).list(&Default::default()).await.unwrap().items {
            if object.annotations().contains_key("kiven.io/release")
                || object.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "kiven-agent")
            {
                versions.push((format!("{kind} {}", object.name_any()), object.resource_version().unwrap()));
            }
        }
    }
    versions
}

/// A Deployment that nobody runs, of this image.
fn deployment(namespace: &str, image: &str) -> Value {
    let labels = json!({ "app.kubernetes.io/name": "cloudnative-pg" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "somebodys", "namespace": namespace },
        "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "m", "image": image }] } } },
    })
}

#[tokio::test]
async fn on_a_real_api_server() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = PathBuf::from(std::env::var("KIVEN_CNPG_MANIFESTS").unwrap());
    let client = Client::try_default().await.unwrap();
    for name in ["kiven-system", "theirs"] {
        apply(&objects(&client, "", "Namespace", "namespaces"), json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
            .await;
    }
    let (honest, lying) = (mirror(folder.clone(), false).await, mirror(folder, true).await);

    let output = install(lying, &[]).await;
    assert!(output.status.code() == Some(2) && said(&output).contains("KV-415"), "{}", said(&output));
    assert!(versions(&client).await.is_empty(), "nothing of a manifest that differs");

    let theirs = namespaced(&client, "theirs", "apps", "Deployment", "deployments");
    for (image, told) in
        [("ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0", "11202"), ("ghcr.io/cloudnative-pg/cloudnative-pg:1.29.1", "operatorNamespace: theirs")]
    {
        apply(&theirs, deployment("theirs", image)).await;
        let output = install(honest, &[]).await;
        assert!(output.status.code() == Some(2) && said(&output).contains("KV-414") && said(&output).contains(told), "{}", said(&output));
    }
    theirs.delete("somebodys", &Default::default()).await.unwrap();

    let output = install(honest, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    let first = versions(&client).await;
    assert!(first.len() > 30, "{first:?}");
    let output = install(honest, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(versions(&client).await, first, "a second run changes nothing");

    let secrets = namespaced(&client, "kiven-system", "", "Secret", "secrets");
    for name in ["kiven-plugin-authority", "barman-cloud-server-tls", "barman-cloud-client-tls"] {
        assert_eq!(secrets.get(name).await.unwrap().data["type"], "kubernetes.io/tls", "{name}");
    }
    // What runs a listed version stays there until a maintenance window; what it stands on is brought along.
    let ours = namespaced(&client, "kiven-system", "apps", "Deployment", "deployments");
    let older = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "manager", "image": "ghcr.io/cloudnative-pg/cloudnative-pg:1.29.1" }] } } } });
    ours.patch("cnpg-controller-manager", &PatchParams::default(), &Patch::Strategic(&older)).await.unwrap();
    let output = install(honest, &[]).await;
    assert!(output.status.success() && said(&output).contains("kept until a maintenance window"), "{}", said(&output));
    let image = ours.get("cnpg-controller-manager").await.unwrap().data["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, "ghcr.io/cloudnative-pg/cloudnative-pg:1.29.1");
    match std::env::var("KIVEN_RENDERED_CHART") {
        Ok(rendered) => the_policy_holds_the_agent(&client, &std::fs::read_to_string(rendered).unwrap()).await,
        Err(_) => println!("\nskipped: the agent's policy over operator and plugin: KIVEN_RENDERED_CHART names no rendered chart"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    name: String,
    deployment: String,
    patch: Value,
    refused: Option<String>,
}

/// Makes the attempts of the table as the agent, on what the installer has installed.
async fn the_policy_holds_the_agent(client: &Client, rendered: &str) {
    let table = include_str!("../chart/tests/operator-policy.yaml");
    let listed = include_str!("../chart/templates/operator-policy.yaml").split("'@").nth(1).unwrap().split('\'').next().unwrap();
    let attempts: Vec<Attempt> = serde_yaml_ng::from_str(&table.replace("LISTED", listed)).unwrap();
    for document in serde_yaml_ng::Deserializer::from_str(rendered) {
        let object = Value::deserialize(document).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match object["kind"].as_str() {
            Some("ValidatingAdmissionPolicy") if name == "kiven-agent-operator" => {
                apply(&objects(client, "admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies"), object).await;
            }
            Some("ValidatingAdmissionPolicyBinding") if name == "kiven-agent-operator" => {
                let bindings =
                    objects(client, "admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings");
                apply(&bindings, object).await;
            }
            Some("Role" | "RoleBinding") if name == "kiven-agent" && object["metadata"]["namespace"] == "kiven-system" => {
                let kind = object["kind"].as_str().unwrap().to_owned();
                let plural = if kind == "Role" { "roles" } else { "rolebindings" };
                apply(&namespaced(client, "kiven-system", "rbac.authorization.k8s.io", &kind, plural), object).await;
            }
            _ => {}
        }
    }
    let mut config = kube::Config::infer().await.unwrap();
    config.auth_info.impersonate = Some("system:serviceaccount:kiven-system:kiven-agent".to_owned());
    let deployments = namespaced(&Client::try_from(config).unwrap(), "kiven-system", "apps", "Deployment", "deployments");
    // A policy has its effect a moment after it was applied; until then the first refusal would be a success.
    let deadline = Instant::now() + Duration::from_secs(POLICY_SECONDS_MAX);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    while deployments.patch("barman-cloud", &dry, &Patch::Merge(json!({ "spec": { "replicas": 0 } }))).await.is_ok() {
        assert!(Instant::now() < deadline, "the policy has no effect");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for attempt in attempts {
        let made = deployments.patch(&attempt.deployment, &PatchParams::default(), &Patch::Strategic(&attempt.patch)).await;
        match (made, attempt.refused) {
            (Ok(_), None) => {}
            (Err(kube::Error::Api(status)), Some(part)) => assert!(status.message.contains(&part), "{}: {}", attempt.name, status.message),
            (made, refused) => panic!("{}: {made:?}, expected {refused:?}", attempt.name),
        }
    }
}
