//! Services as loopback ports: one listener each, that leads every new connection to a ready Pod of its selector.
use super::Operator;
use super::error::OperatorError;
use super::instance::{PORT, free_port};
use super::view::{is_true, text};
use kiven_fake_kube::{Handle, Selector, kinds};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Connections that one Service carries at a time.
const CONNECTIONS_MAX: usize = 1000;

/// The listeners, by the Service's uid.
#[derive(Default)]
pub(crate) struct Forwarders(HashMap<String, (u16, JoinHandle<()>)>);

impl Drop for Forwarders {
    fn drop(&mut self) {
        self.0.values().for_each(|(_, task)| task.abort());
    }
}

impl Operator {
    /// One pass: every Service that selects our Pods has its listener, and no other.
    pub(crate) async fn settle_services(&self, forwarders: &mut Forwarders) -> Result<(), OperatorError> {
        let services = self.kube.list(&kinds::SERVICES, None, &Selector::all());
        let ours: Vec<_> = services.iter().filter(|service| selects_databases(service)).collect();
        forwarders.0.retain(|uid, (port, task)| {
            let keep = !task.is_finished() && ours.iter().any(|service| text(service, "/metadata/uid") == uid);
            if !keep {
                tracing::info!(port = *port, "a Service's port was closed");
                task.abort();
            }
            keep
        });
        for service in ours {
            let (uid, namespace, name) = (text(service, "/metadata/uid"), text(service, "/metadata/namespace"), text(service, "/metadata/name"));
            if forwarders.0.contains_key(uid) {
                continue;
            }
            let kept = service["metadata"]["annotations"].get(PORT).and_then(Value::as_str).and_then(|port| port.parse().ok());
            let port = match kept {
                Some(port) => port,
                None => {
                    let port = self.port_of(service)?;
                    self.kube.patch(&kinds::SERVICES, namespace, name, &json!({ "metadata": { "annotations": { PORT: port.to_string() } } }))?;
                    port
                }
            };
            let listener = TcpListener::bind(("127.0.0.1", port)).await?;
            let ingress = json!({ "loadBalancer": { "ingress": [{ "ip": "127.0.0.1", "ports": [{ "port": port, "protocol": "TCP" }] }] } });
            self.kube.patch_status(&kinds::SERVICES, namespace, name, &ingress)?;
            tracing::info!(service = name, namespace, port, "a Service's port is open");
            let task = tokio::spawn(forward(self.kube.clone(), listener, namespace.to_owned(), name.to_owned()));
            forwarders.0.insert(uid.into(), (port, task));
        }
        Ok(())
    }
}

impl Operator {
    /// The port that a database's Service had before, when it was deleted with its database and has come back with it; else a new
    /// one. Databases that are gone are forgotten.
    fn port_of(&self, service: &Value) -> Result<u16, OperatorError> {
        let path = self.state_dir.join("service-ports.json");
        let database = |object: &Value| text(object, "/metadata/labels/kiven.io~1database").to_owned();
        let known = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<BTreeMap<String, BTreeMap<String, u16>>>(&text).ok());
        let mut known = known.unwrap_or_default();
        let live: Vec<String> = self.kube.list(&kinds::CLUSTERS, None, &Selector::all()).iter().map(|cluster| database(cluster)).collect();
        known.retain(|database, _| live.contains(database));
        let ports = known.entry(database(service)).or_default();
        let port = match ports.get(text(service, "/metadata/name")) {
            Some(port) => *port,
            None => free_port()?,
        };
        ports.insert(text(service, "/metadata/name").to_owned(), port);
        std::fs::write(&path, serde_json::to_string(&known).map_err(std::io::Error::from)?)?;
        Ok(port)
    }
}

fn selects_databases(service: &Value) -> bool {
    let selector = &service["spec"]["selector"];
    selector["cnpg.io/poolerName"].is_string() || (selector["cnpg.io/cluster"].is_string() && selector["cnpg.io/instanceRole"].is_string())
}

async fn forward(kube: Handle, listener: TcpListener, namespace: String, name: String) {
    let (room, turn) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), AtomicUsize::new(0));
    while let Ok(permit) = room.clone().acquire_owned().await {
        let mut client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(service = name, %error, "a connection was not accepted");
                continue;
            }
        };
        let Some(port) = endpoint(&kube, &namespace, &name, turn.fetch_add(1, Ordering::Relaxed)) else {
            tracing::debug!(service = name, "no Pod is ready: the connection was closed");
            continue;
        };
        tokio::spawn(async move {
            let _permit = permit;
            if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                client.set_nodelay(true).ok();
                server.set_nodelay(true).ok();
                copy_bidirectional(&mut client, &mut server).await.ok();
            }
        });
    }
}

/// The port of a ready Pod that the Service selects now, in turns.
fn endpoint(kube: &Handle, namespace: &str, name: &str, turn: usize) -> Option<u16> {
    let service = kube.get(&kinds::SERVICES, namespace, name).ok()?;
    let labels = service["spec"]["selector"].as_object()?;
    let selector = labels.iter().fold(Selector::all(), |all, (key, value)| all.and_label(key, value.as_str().unwrap_or_default()));
    let pods = kube.list(&kinds::PODS, Some(namespace), &selector);
    let ready: Vec<_> = pods.iter().filter(|pod| is_true(pod, "Ready")).collect();
    let pod = ready.get(turn.checked_rem(ready.len())?)?;
    pod["metadata"]["annotations"].get(PORT)?.as_str()?.parse().ok()
}
