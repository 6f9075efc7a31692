//! Two probes that show whether network policies have an effect: a pod that listens where databases live, and this very process, which
//! reaches it first without a policy and then under one.
use super::config::Config;
use crate::objects::{api, apply, delete, resource};
use anyhow::Context;
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::preflight::Isolation;
use kube::Client;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// The probe's and its policy's name.
const NAME: &str = "kiven-probe";
/// Where it listens.
const PORT: u16 = 8432;
/// How long it may take to be there: an image may have to be pulled.
const STARTED_SECONDS_MAX: u64 = 90;
/// How long a policy may take to have its effect.
const ENFORCED_SECONDS_MAX: u64 = 30;
/// Attempts in a row that must fail before a policy is said to have an effect.
const MISSED_LEAST: u32 = 3;
/// How long one attempt to reach it may take.
const REACHED: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_secs(1);
/// The longest that the listening pod lives, whatever becomes of who made it.
const LISTEN_SECONDS_MAX: u64 = 300;

/// Tries it, and takes away what it made.
pub(super) async fn isolation(client: &Client, config: &Config) -> Isolation {
    let Some(image) = &config.agent_image else { return Isolation::Unknown };
    clean(client).await;
    let found = attempt(client, image, &config.image_pull_secrets).await;
    clean(client).await;
    found.unwrap_or_else(|error| {
        tracing::warn!(error = format!("{error:#}"), "whether network policies have an effect could not be tried");
        Isolation::Unknown
    })
}

async fn attempt(client: &Client, image: &str, pull_secrets: &[String]) -> anyhow::Result<Isolation> {
    let pods = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    let wanted: DynamicObject = serde_json::from_value(pod(NAME, image, pull_secrets))?;
    pods.create(&PostParams::default(), &wanted).await.context("the probe was not made")?;
    let deadline = Instant::now() + Duration::from_secs(STARTED_SECONDS_MAX);
    // Reached once without a policy: else nothing follows from not reaching it later.
    let address = loop {
        let pod = pods.get(NAME).await?.data;
        if let Some(address) = address(&pod)
            && is_ready(&pod)
            && reached(address).await
        {
            break address;
        }
        anyhow::ensure!(Instant::now() < deadline, "the probe was not reached within {STARTED_SECONDS_MAX} s");
        sleep(LOOK).await;
    };
    apply(&api(client, DATABASE_NAMESPACE, &resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")), &policy()).await?;
    let deadline = Instant::now() + Duration::from_secs(ENFORCED_SECONDS_MAX);
    let mut missed = Missed::default();
    while Instant::now() < deadline {
        let reached = reached(address).await;
        // A pod that has gone is not reached either, and nothing follows from that.
        let stands = pods.get(NAME).await.is_ok_and(|pod| is_ready(&pod.data));
        anyhow::ensure!(reached || stands, "the probe has gone before it was known");
        if missed.note(reached) {
            return Ok(Isolation::Enforced);
        }
        sleep(LOOK).await;
    }
    Ok(Isolation::NotEnforced)
}

/// Attempts in a row that did not reach a pod which is ready: one may be lost by chance.
#[derive(Default)]
struct Missed(u32);

impl Missed {
    /// Whether so many are no chance any more.
    fn note(&mut self, reached: bool) -> bool {
        self.0 = if reached { 0 } else { self.0 + 1 };
        self.0 >= MISSED_LEAST
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Takes the probe and its policy away; what is not there is gone already.
async fn clean(client: &Client) {
    let pods = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    let policies = api(client, DATABASE_NAMESPACE, &resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"));
    for api in [pods, policies] {
        if let Err(error) = delete(&api, NAME).await {
            tracing::warn!(%error, "a probe was left behind");
        }
    }
}

fn address(pod: &Value) -> Option<SocketAddr> {
    let ip: IpAddr = pod["status"]["podIP"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, PORT))
}

async fn reached(address: SocketAddr) -> bool {
    matches!(timeout(REACHED, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// A pod as careful as a database's: no rights, no privileges, nothing to write to.
pub(super) fn pod(name: &str, image: &str, pull_secrets: &[String]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": DATABASE_NAMESPACE, "labels": { "app.kubernetes.io/name": NAME } },
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "activeDeadlineSeconds": LISTEN_SECONDS_MAX,
            "imagePullSecrets": pull_secrets.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "probe", "image": image, "args": ["listen"],
                "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } },
                "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "32Mi" } },
            }],
        },
    })
}

fn policy() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": NAME, "namespace": DATABASE_NAMESPACE },
        "spec": { "podSelector": { "matchLabels": { "app.kubernetes.io/name": NAME } }, "policyTypes": ["Ingress"] },
    })
}

/// `kiven-agent listen`: the probe itself. It says nothing to who reaches it.
pub(super) async fn listen() -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.context("the probe cannot listen")?;
    let accept = async {
        loop {
            drop(listener.accept().await);
        }
    };
    // Its time is over: nobody asks any more.
    timeout(Duration::from_secs(LISTEN_SECONDS_MAX), accept).await.or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_attempt_is_no_policy() {
        let said = |attempts: &[bool]| {
            let mut missed = Missed::default();
            attempts.iter().any(|reached| missed.note(*reached))
        };
        assert!(!said(&[true, false, false, true, false, true]) && said(&[true, false, false, false]));
        let pod = |status: &str| json!({ "status": { "conditions": [{ "type": "Initialized", "status": "True" }, { "type": "Ready", "status": status }] } });
        assert!(is_ready(&pod("True")) && !is_ready(&pod("False")) && !is_ready(&json!({})));
    }

    #[tokio::test]
    async fn a_pod_is_reached_where_something_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        assert!(reached(open).await);
        drop(listener);
        assert!(!reached(open).await);
        assert_eq!(address(&json!({ "status": { "podIP": "10.0.0.7" } })), Some("10.0.0.7:8432".parse().unwrap()));
        assert_eq!(address(&json!({ "status": {} })), None);
    }
}
