//! The chart's hooks, run as Helm and a kubelet would: with the variables of their Jobs, under their own ServiceAccounts.
use crate::cluster::{Admin, DATABASES, SYSTEM, manifests, variable};
use crate::process::{kubeconfig, token};
use crate::relay::Kiven;
use crate::rights::{self, Audit};
use crate::{installed, operator};
use kiven_model::preflight::{ClusterFacts, Isolation};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Between two looks for pods that nobody runs yet.
const LOOK: Duration = Duration::from_millis(200);
/// What the newest listed operator is applied from.
const NEWEST: &str = "cnpg-1.29.2.yaml";
/// The preflight's probe, and where it listens.
const PROBE: &str = "kiven-probe";
const PROBE_PORT: u16 = 8432;
const HOOKS: [&str; 2] = ["kiven-installer", "kiven-catalog"];

/// A web server with the manifests.
async fn mirror(folder: PathBuf) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&request[..read]).split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            let body = std::fs::read(folder.join(&asked)).unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        }
    });
    address
}

/// As a kubelet for whatever waits in kiven-system: pods of Jobs are run and end, others are ready at once.
async fn kubelet(admin: Admin) {
    let pods = admin.of(SYSTEM, "v1", "Pod");
    let mut taken: BTreeSet<String> = BTreeSet::new();
    loop {
        for pod in pods.list(&ListParams::default()).await.unwrap().items {
            if pod.data["status"]["phase"] == "Pending" && taken.insert(pod.name_any()) {
                let (admin, pods) = (admin.clone(), pods.clone());
                tokio::spawn(async move {
                    let status = if pod.labels().contains_key("job-name") { run(&admin, &pod).await } else { ready(&pod) };
                    // One that has gone meanwhile needs no status.
                    let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await;
                });
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn ready(pod: &DynamicObject) -> Value {
    let name = &pod.data["spec"]["containers"][0]["name"];
    json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }, { "type": "ContainersReady", "status": "True" }],
        "containerStatuses": [{ "name": name, "image": "x", "imageID": "x", "ready": true, "restartCount": 0, "state": { "running": {} } }] })
}

/// Runs a pod's one container: this very agent, with its arguments and variables, under its account's token.
async fn run(admin: &Admin, pod: &DynamicObject) -> Value {
    let (spec, folder) = (&pod.data["spec"], tempfile::tempdir().unwrap());
    let container = &spec["containers"][0];
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("token"), token(admin, spec["serviceAccountName"].as_str().unwrap(), &json!([])).await).unwrap();
    let server = admin.config.cluster_url.to_string();
    std::fs::write(at("kubeconfig"), kubeconfig(admin, &server, &at("ca.crt"), &at("token")).to_string()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_kiven-agent"));
    program.env_clear().env("KUBECONFIG", at("kubeconfig")).stdin(Stdio::null());
    for word in container["args"].as_array().into_iter().flatten() {
        program.arg(word.as_str().unwrap());
    }
    for one in container["env"].as_array().into_iter().flatten() {
        program.env(one["name"].as_str().unwrap(), one["value"].as_str().unwrap_or_default());
    }
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    let code = output.status.code().unwrap_or(1);
    if code != 0 {
        eprintln!("{} ended with {code}:\n{}", pod.name_any(), String::from_utf8_lossy(&output.stderr));
    }
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    json!({ "phase": phase, "containerStatuses": [{ "name": container["name"], "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": code } } }] })
}

/// Takes away what the installer brings and an uninstall leaves: without an operator its webhooks would refuse everything.
async fn take_away(admin: &Admin) {
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let api = admin.all("admissionregistration.k8s.io/v1", kind);
        let name = format!("cnpg-{}-webhook-configuration", kind.trim_end_matches("WebhookConfiguration").to_lowercase());
        admin.remove(&api, &name).await;
    }
    for name in ["cnpg-controller-manager", "barman-cloud"] {
        admin.remove(&admin.of(SYSTEM, "apps/v1", "Deployment"), name).await;
    }
}

/// Helm's answer, with somebody to run what it waits for.
async fn install(admin: &Admin, values: &[String]) -> Result<String, String> {
    let (kubelet, values) = (tokio::spawn(kubelet(admin.clone())), values.to_vec());
    let command = ["upgrade", "--install", "kiven-agent", "--create-namespace"];
    let answer = tokio::task::spawn_blocking(move || installed::with_values(&command, &values)).await.unwrap();
    kubelet.abort();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_hurts_databases_ends_the_release_before_anything_is_changed() {
    if variable("KIVEN_KUBE_CONTROLLERS").is_none() {
        println!("\nskipped: the chart's hooks refuse: there are no controllers");
        return;
    }
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    installed::uninstall(&admin).await;
    admin.namespace(SYSTEM, json!({})).await;
    operator::install_version(&admin, "1.30.0").await;
    let mut values = installed::values(&kiven);
    values.extend(["installer.enabled=true".to_owned(), "installer.mirror=http://127.0.0.1:1".to_owned()]);
    let refused = install(&admin, &values).await.unwrap_err();
    assert!(refused.contains("kiven-installer failed: PodFailurePolicy"), "{refused}");
    assert_eq!(admin.names(SYSTEM, "apps/v1", "Deployment").await, ["cnpg-controller-manager"], "nothing follows it");
    let roles = admin.all("rbac.authorization.k8s.io/v1", "ClusterRole");
    assert!(roles.get_opt("kiven-installer").await.unwrap().is_none(), "its rights are gone, though it has failed");
    installed::uninstall(&admin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_bring_operator_plugin_and_catalog_and_use_every_right_they_have() {
    if !manifests().join(NEWEST).exists() || variable("KIVEN_KUBE_CONTROLLERS").is_none() {
        println!("\nskipped: the chart's hooks: KIVEN_CNPG_MANIFESTS names no folder with {NEWEST}, or there are no controllers");
        return;
    }
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    let address = mirror(manifests()).await;
    let mut values = installed::values(&kiven);
    values.extend(["installer.enabled=true".to_owned(), format!("installer.mirror=http://{address}")]);
    // One that nobody needs here, so that the installer makes it.
    admin.remove(&admin.all("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "publications.postgresql.cnpg.io").await;
    let audit = HOOKS.map(|account| (account, Audit::begin()));
    let answer = install(&admin, &values).await;
    let (catalogs, deployments) =
        (admin.names(DATABASES, "postgresql.cnpg.io/v1", "ImageCatalog").await, admin.names(SYSTEM, "apps/v1", "Deployment").await);
    take_away(&admin).await;
    answer.unwrap();
    assert_eq!(catalogs, ["kiven-postgresql"]);
    assert_eq!(deployments, ["barman-cloud", "cnpg-controller-manager", "kiven-agent"]);
    // They and their rights are gone when they have succeeded.
    assert_eq!(admin.names(SYSTEM, "batch/v1", "Job").await, Vec::<String>::new());
    assert!(admin.all("rbac.authorization.k8s.io/v1", "ClusterRole").get_opt("kiven-installer").await.unwrap().is_none());
    let objects = installed::rendered(&values);
    for (account, audit) in audit {
        if let Some(audit) = audit {
            println!("the rights of {account}:");
            rights::equal(&rights::given_to(&objects, account), &audit.used_by(account));
        }
    }
    installed::uninstall(&admin).await;
}

/// The probe, or its policy, once it is there. Whoever waits ends with the preflight.
async fn appears(api: &Api<DynamicObject>) -> DynamicObject {
    loop {
        if let Some(found) = api.get_opt(PROBE).await.unwrap() {
            return found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// As a node for the preflight's probe: it listens at an address of its own, and a network that obeys policies lets nobody through once
/// there is one.
async fn play_probe(admin: Admin) {
    let (pods, policies) = (admin.of(DATABASES, "v1", "Pod"), admin.of(DATABASES, "networking.k8s.io/v1", "NetworkPolicy"));
    let pod = appears(&pods).await;
    // All of 127.0.0.0/8 is this machine: runs beside this one do not meet.
    let [.., a, b, c] = std::process::id().to_be_bytes();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::new(127, a | 1, b, c | 1), PROBE_PORT)).await.unwrap();
    let mut status = ready(&pod);
    status["podIP"] = json!(listener.local_addr().unwrap().ip().to_string());
    pods.patch_status(PROBE, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap();
    tokio::select! {
        () = async { loop { drop(listener.accept().await) } } => {}
        _ = appears(&policies) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preflight_writes_down_what_it_sees_and_uses_every_right_it_has() {
    if variable("KIVEN_KUBE_CONTROLLERS").is_none() {
        println!("\nskipped: the chart's preflight: there are no controllers");
        return;
    }
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    let mut values = installed::values(&kiven);
    // A registry that does not answer, so that nobody outside is asked.
    let registry = ["preflight.enabled=true", "installer.registry=localhost:1", "postgresql.images.17=localhost:1/pg:17"];
    values.extend(registry.map(str::to_owned).into_iter().chain(["postgresql.images.18=localhost:1/pg:18".to_owned()]));
    let (audit, probe) = (Audit::begin(), tokio::spawn(play_probe(admin.clone())));
    let answer = install(&admin, &values).await;
    probe.abort();
    answer.unwrap();
    let map = admin.of(SYSTEM, "v1", "ConfigMap").get("kiven-preflight").await.unwrap();
    let facts: ClusterFacts = serde_json::from_str(map.data["data"]["facts.json"].as_str().unwrap()).unwrap();
    assert_eq!((facts.network_isolation, facts.registries), (Isolation::Enforced, [("localhost:1".to_owned(), false)].into()));
    assert!(facts.refusals.is_empty() && facts.operators.is_empty(), "{:?}", facts.refusals);
    assert!(!admin.names(DATABASES, "v1", "Pod").await.contains(&PROBE.to_owned()), "the probe is taken away");
    assert!(!admin.names(DATABASES, "networking.k8s.io/v1", "NetworkPolicy").await.contains(&PROBE.to_owned()));
    if let Some(audit) = audit {
        println!("the rights of kiven-preflight:");
        rights::equal(&rights::given_to(&installed::rendered(&values), "kiven-preflight"), &audit.used_by("kiven-preflight"));
    }
    installed::uninstall(&admin).await;
}
