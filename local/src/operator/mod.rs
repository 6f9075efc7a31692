//! The local cluster's operator: it plays CloudNativePG, the Barman plugin and the kubelet with real PostgreSQL processes.
//!
//! Invariants: the objects in fake-kube and the folders on disk are the only state, so a restart adopts what runs;
//! a data directory appears whole or not at all; an old primary can write nothing more before a standby is promoted; nothing here
//! loses a volume whose reclaim policy is Retain; servers outlive this process.

pub mod archive;
mod backup;
mod cluster;
mod data;
pub mod eckey;
mod error;
mod failover;
mod instance;
mod logs;
mod nodes;
mod pooler;
mod process;
mod services;
mod settings;
mod sql;
mod status;
mod tls;
mod view;
mod volumes;

pub use error::OperatorError;
pub use process::{Postgres, User};

use cluster::{Memory, Outcome};
use kiven_fake_kube::{Clock, Handle, Selector, kinds};
use process::Processes;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use view::text;

/// Changes come in bursts: a pass waits this long for the burst to end.
const BURST: Duration = Duration::from_millis(20);
/// How often adopted processes are looked at; started ones tell their end.
const LOOK: Duration = Duration::from_millis(200);
/// How often a settled Cluster is looked at again, for what no object tells: archiving, time lines.
const REVIEW: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(300);

/// What the operator needs.
pub struct Config {
    /// The API server, in process.
    pub kube: Handle,
    /// The installed PostgreSQL.
    pub postgres: Postgres,
    /// Folder of `volumes`, `run`, `poolers` and `bin`; the servers' user must be able to reach it.
    pub state_dir: PathBuf,
    /// Local S3 endpoint, as `http://host:port`.
    pub s3_endpoint: String,
    /// Binary whose subcommand [`archive::SUBCOMMAND`] calls [`archive::run`].
    pub archive_program: PathBuf,
    /// PgBouncer, if installed: see [`find_pgbouncer`].
    pub pgbouncer: Option<PathBuf>,
    /// Wall clock.
    pub clock: Clock,
}

pub(crate) struct Operator {
    kube: Handle,
    postgres: Postgres,
    state_dir: PathBuf,
    s3_endpoint: String,
    archive_program: PathBuf,
    pgbouncer: Option<PathBuf>,
    clock: Clock,
    processes: Processes,
}

/// A running operator. Dropping it ends its work and leaves every server running.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Running {
    /// Ends the operator's work; servers keep running and are adopted by the next start.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            task.await.ok();
        }
    }
}

/// PgBouncer in the folders of `PATH`, or where Debian puts it.
pub fn find_pgbouncer(path: &std::ffi::OsStr) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}

/// Prepares the folders and starts the loops.
pub fn start(config: Config) -> Result<Running, OperatorError> {
    let Config { kube, postgres, state_dir, s3_endpoint, archive_program, pgbouncer, clock } = config;
    for folder in ["volumes", "run", "poolers", "backups", "bin"] {
        let folder = state_dir.join(folder);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    }
    let state_dir = fs::canonicalize(state_dir)?;
    let archive_program = reachable(&archive_program, &state_dir.join("bin"))?;
    let processes = Processes::default();
    let operator = Arc::new(Operator { kube, postgres, state_dir, s3_endpoint, archive_program, pgbouncer, clock, processes });
    operator.kube.logs_from(Arc::new(logs::Logs(Arc::clone(&operator))));
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = operator.supervise() => {}
            _ = stopped => tracing::info!("the operator stops; servers keep running"),
        }
    });
    Ok(Running { stop: Some(stop), task: Some(task) })
}

/// A copy of a program where the servers' user may run it: a build folder under root's home is closed to it.
fn reachable(program: &Path, folder: &Path) -> Result<PathBuf, OperatorError> {
    let copy = folder.join(program.file_name().unwrap_or_else(|| "archive".as_ref()));
    let (ours, theirs) = (fs::metadata(program)?, fs::metadata(&copy));
    if theirs.is_ok_and(|theirs| theirs.len() == ours.len() && theirs.mtime() >= ours.mtime()) {
        return Ok(copy);
    }
    let draft = copy.with_extension("draft");
    fs::copy(program, &draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
    fs::rename(&draft, &copy)?;
    Ok(copy)
}

/// A worker of one Cluster, ended when dropped.
struct Worker(JoinHandle<()>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Operator {
    fn stamp(&self) -> String {
        (self.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The loop over everything that is not a Cluster, which also keeps one worker a Cluster.
    async fn supervise(self: &Arc<Self>) {
        let mut changes = self.kube.changes();
        let mut workers: HashMap<String, Worker> = HashMap::new();
        let (mut forwarders, mut backups) = (services::Forwarders::default(), backup::Backups::default());
        loop {
            changes.borrow_and_update();
            self.settle_workers(&mut workers).await;
            let passes = [
                ("services", self.settle_services(&mut forwarders).await),
                ("volumes", self.settle_volumes().await),
                ("poolers", self.settle_poolers().await),
                ("backups", self.settle_backups(&mut backups)),
            ];
            for (what, outcome) in passes {
                if let Err(error) = outcome {
                    tracing::warn!(what, error = error.chain(), "a pass failed and will be repeated");
                }
            }
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => sleep(BURST).await,
                    Err(_) => return,
                },
                () = self.processes.ended.notified() => {}
                () = sleep(REVIEW) => {}
            }
        }
    }

    /// One worker for each living Cluster; the worker of one that has gone is ended before its volumes are looked at.
    async fn settle_workers(self: &Arc<Self>, workers: &mut HashMap<String, Worker>) {
        let clusters = self.kube.list(&kinds::CLUSTERS, None, &Selector::all());
        let uids: Vec<&str> = clusters.iter().map(|cluster| text(cluster, "/metadata/uid")).collect();
        let gone: Vec<String> = workers.keys().filter(|uid| !uids.contains(&uid.as_str())).cloned().collect();
        for uid in gone {
            if let Some(mut worker) = workers.remove(&uid) {
                worker.0.abort();
                (&mut worker.0).await.ok();
            }
        }
        workers.retain(|_, worker| !worker.0.is_finished());
        for cluster in &clusters {
            let uid = text(cluster, "/metadata/uid");
            if !workers.contains_key(uid) {
                let (op, namespace, name) =
                    (self.clone(), text(cluster, "/metadata/namespace").to_owned(), text(cluster, "/metadata/name").to_owned());
                workers.insert(uid.into(), Worker(tokio::spawn(async move { op.work(&namespace, &name).await })));
            }
        }
    }

    /// The loop over one Cluster, until it is gone.
    async fn work(&self, namespace: &str, name: &str) {
        let (mut changes, mut memory) = (self.kube.changes(), Memory::default());
        loop {
            let seen = self.fingerprint(namespace, name);
            let wait = match self.pass(namespace, name, &mut memory).await {
                Ok(Outcome::Gone) => return,
                Ok(Outcome::Again) => continue,
                Ok(Outcome::Settled) => REVIEW,
                Err(error) => {
                    tracing::warn!(cluster = name, error = error.chain(), "a pass failed and will be repeated");
                    RETRY
                }
            };
            self.rest(namespace, name, &mut changes, seen, wait).await;
        }
    }

    /// Waits until something that this Cluster depends on has changed, within a bound.
    async fn rest(&self, namespace: &str, name: &str, changes: &mut watch::Receiver<u64>, seen: (String, Vec<u32>), most: Duration) {
        let end = Instant::now() + most;
        while Instant::now() < end {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = self.processes.ended.notified() => {}
                () = sleep(LOOK.min(end - Instant::now())) => {}
            }
            let now = self.fingerprint(namespace, name);
            if now.0 != seen.0 || now.1 != seen.1 {
                return sleep(BURST).await;
            }
        }
    }

    /// Everything that a pass reads, in short: versions of objects and pids of servers.
    fn fingerprint(&self, namespace: &str, name: &str) -> (String, Vec<u32>) {
        let version = |object: &Value| format!("{}@{} ", text(object, "/metadata/name"), text(object, "/metadata/resourceVersion"));
        let mut seen = self.kube.get(&kinds::CLUSTERS, namespace, name).map(|cluster| version(&cluster)).unwrap_or_default();
        let of_cluster = Selector::label("cnpg.io/cluster", name);
        for (kind, selector) in [
            (&kinds::VOLUME_CLAIMS, &of_cluster),
            (&kinds::PODS, &of_cluster),
            (&kinds::SECRETS, &Selector::all()),
            (&kinds::OBJECT_STORES, &Selector::all()),
            (&kinds::DATABASES, &Selector::all()),
        ] {
            seen.extend(self.kube.list(kind, Some(namespace), selector).iter().map(|object| version(object)));
        }
        // A node that goes from under a pod is seen at once, not with the next review.
        for pod in self.kube.list(&kinds::PODS, Some(namespace), &of_cluster) {
            seen.push(if self.has_node(&pod) { '+' } else { '-' });
        }
        let claims = self.kube.list(&kinds::VOLUME_CLAIMS, Some(namespace), &of_cluster);
        let pids = claims.iter().filter_map(|claim| self.instance(claim)).map(|instance| match instance.server() {
            process::Server::Up(pid) => pid,
            process::Server::Busy(_) | process::Server::Down => 0,
        });
        (seen, pids.collect())
    }
}
