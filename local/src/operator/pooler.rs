//! Poolers: a real PgBouncer per Pod when one is installed, else Pods whose port is the primary's own.
use super::Operator;
use super::error::OperatorError;
use super::instance::{Instance, MANAGER, PORT, free_port};
use super::process::lives;
use super::view::{Spec, decode, text};
use kiven_fake_kube::{Selector, kinds};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const INSTANCES_MAX: u64 = 10;
const LISTEN_SECONDS_MAX: u64 = 5;

impl Operator {
    /// One pass over every Pooler, and over what is left of those that have gone.
    pub(crate) async fn settle_poolers(&self) -> Result<(), OperatorError> {
        let poolers = self.kube.list(&kinds::POOLERS, None, &Selector::all());
        let mut kept: Vec<PathBuf> = Vec::new();
        for pooler in &poolers {
            kept.extend(self.settle_pooler(pooler).await?);
        }
        let root = self.state_dir.join("poolers");
        for entry in fs::read_dir(&root).into_iter().flatten().flatten().filter(|entry| !kept.contains(&entry.path())) {
            if let Some(pid) = bouncer(&entry.path()) {
                self.postgres.run("pg_ctl", &["kill", "TERM", &pid.to_string()]).await?;
                self.processes.gone(pid).await?;
                tracing::info!(pid, "a pooler stopped");
            }
            fs::remove_dir_all(entry.path())?;
        }
        Ok(())
    }

    /// Answers the folders in use.
    async fn settle_pooler(&self, pooler: &Value) -> Result<Vec<PathBuf>, OperatorError> {
        let (namespace, name) = (text(pooler, "/metadata/namespace"), text(pooler, "/metadata/name"));
        let wanted = pooler["spec"]["instances"].as_u64().unwrap_or(1).min(INSTANCES_MAX);
        let cluster = self.kube.get(&kinds::CLUSTERS, namespace, text(pooler, "/spec/cluster/name"));
        let spec = cluster.as_ref().ok().map(|cluster| Spec::of(cluster));
        let current = cluster.as_ref().ok().map(|cluster| text(cluster, "/status/currentPrimary").to_owned()).unwrap_or_default();
        let primary = spec.as_ref().and_then(|spec| self.instances(spec).into_iter().find(|instance| instance.name == current));
        let pods = self.kube.list(&kinds::PODS, Some(namespace), &Selector::label("cnpg.io/poolerName", name));
        let names: Vec<String> = (1..=wanted).map(|number| format!("{name}-{number}")).collect();
        for pod in pods.iter().filter(|pod| !names.iter().any(|name| name == text(pod, "/metadata/name"))) {
            self.remove(&kinds::PODS, namespace, text(pod, "/metadata/name"))?;
        }
        let mut folders = Vec::new();
        if let Some(primary) = primary {
            for pod in &names {
                let port = match &self.pgbouncer {
                    Some(program) => {
                        let folder = self.state_dir.join("poolers").join(format!("{}-{pod}", text(pooler, "/metadata/uid")));
                        folders.push(folder.clone());
                        self.bounce(program, &folder, pooler, &primary).await?
                    }
                    None => primary.port,
                };
                self.show_pooler_pod(pooler, pod, port, primary.server().is_up())?;
            }
        }
        self.kube.patch_status(&kinds::POOLERS, namespace, name, &json!({ "instances": wanted }))?;
        Ok(folders)
    }

    fn show_pooler_pod(&self, pooler: &Value, pod: &str, port: u16, ready: bool) -> Result<(), OperatorError> {
        let name = &pooler["metadata"]["name"];
        let owner =
            json!({ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Pooler", "name": name, "uid": pooler["metadata"]["uid"], "controller": true });
        let pod = self.kube.apply(
            &kinds::PODS,
            json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": pod, "namespace": pooler["metadata"]["namespace"], "ownerReferences": [owner],
                "labels": { "cnpg.io/poolerName": name, "cnpg.io/cluster": pooler["spec"]["cluster"]["name"], "cnpg.io/podRole": "pooler" },
                "annotations": { PORT: port.to_string() } },
            "spec": { "nodeName": "local", "containers": [{ "name": "pgbouncer", "image": "pgbouncer" }] } }),
            MANAGER,
        )?;
        self.show_pod_status(&pod, ready)
    }

    /// Keeps one PgBouncer running with the configuration of now; answers its port.
    async fn bounce(&self, program: &Path, folder: &Path, pooler: &Value, primary: &Instance) -> Result<u16, OperatorError> {
        self.postgres.folder(folder)?;
        let kept = fs::read_to_string(folder.join("port")).ok().and_then(|port| port.trim().parse().ok());
        let port = kept.map_or_else(free_port, Ok)?;
        let secret = format!("{}-server", text(pooler, "/spec/cluster/name"));
        let secret = self.kube.get(&kinds::SECRETS, text(pooler, "/metadata/namespace"), &secret)?;
        let mut changed = self.postgres.write(&folder.join("port"), &port.to_string())?;
        for (file, key) in [("server.crt", "tls.crt"), ("server.key", "tls.key")] {
            changed |= self.postgres.write(&folder.join(file), &decode(&secret, key).unwrap_or_default())?;
        }
        let config = folder.join("pgbouncer.ini");
        changed |= self.postgres.write(&config, &pgbouncer_ini(pooler, primary, folder, port))?;
        match bouncer(folder) {
            Some(pid) if changed => drop(self.postgres.run("pg_ctl", &["kill", "HUP", &pid.to_string()]).await?),
            Some(_) => {}
            None => {
                let mut command = self.postgres.command(program);
                command.current_dir(folder).arg("-q").arg(&config);
                let pid = self.processes.spawn(command, &folder.join("output.log"))?;
                // Our own file: PgBouncer writes its own only when it has become a daemon.
                self.postgres.write(&folder.join("pid"), &pid.to_string())?;
                let end = Instant::now() + Duration::from_secs(LISTEN_SECONDS_MAX);
                while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                    if Instant::now() > end || !lives(pid) {
                        return Err(OperatorError::Timeout("a pooler to listen".into()));
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                tracing::info!(pooler = text(pooler, "/metadata/name"), pid, port, "a pooler listens");
            }
        }
        Ok(port)
    }
}

/// The living PgBouncer of a folder.
fn bouncer(folder: &Path) -> Option<u32> {
    let pid = fs::read_to_string(folder.join("pid")).ok()?.trim().parse().ok()?;
    let here = fs::read_link(format!("/proc/{pid}/cwd")).ok() == fs::canonicalize(folder).ok();
    (lives(pid) && here).then_some(pid)
}

/// pgbouncer.ini: passwords are looked up in PostgreSQL over its private socket, none is written here.
fn pgbouncer_ini(pooler: &Value, primary: &Instance, folder: &Path, port: u16) -> String {
    let bouncer = &pooler["spec"]["pgbouncer"];
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.insert("ignore_startup_parameters".into(), "extra_float_digits,options".into());
    for (name, value) in bouncer["parameters"].as_object().into_iter().flatten() {
        all.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), Into::into));
    }
    let folder = folder.display();
    for (name, value) in [
        ("listen_addr", "127.0.0.1".to_owned()),
        ("listen_port", port.to_string()),
        ("unix_socket_dir", String::new()),
        ("auth_type", "scram-sha-256".into()),
        ("auth_user", "postgres".into()),
        ("auth_query", "SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1".into()),
        ("client_tls_sslmode", "require".into()),
        ("client_tls_key_file", format!("{folder}/server.key")),
        ("client_tls_cert_file", format!("{folder}/server.crt")),
        ("pool_mode", bouncer["poolMode"].as_str().unwrap_or("session").into()),
    ] {
        all.insert(name.into(), value);
    }
    let settings: String = all.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    format!("[databases]\n* = host={} port={}\n[pgbouncer]\n{settings}", primary.run.display(), primary.port)
}
