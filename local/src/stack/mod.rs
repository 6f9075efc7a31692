//! The stack: what the cloud, the customer's account and the customer's cluster are on one machine.
//!
//! Invariants: the functions, the relay and the agent are the shipped binaries; all state is in one folder; a restart
//! adopts what runs; nothing here is reachable from another machine.
mod agents;
pub mod alone;
mod away;
mod backend;
mod children;
mod clock;
mod cluster;
mod customer;
mod folder;
mod given;
mod keys;
mod nodes;
mod passwords;
mod pool;
mod reach;
mod side;

use crate::aws::{AccessKey, Cluster, Config, Delays, Endpoints, NODEGROUP_DELAY_MS, NowMs};
use crate::operator::{User, find_pgbouncer};
use anyhow::Context;
pub use clock::VirtualClock;
use folder::Folder;
use serde::Serialize;
use side::Side;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The one region.
pub(crate) const REGION: &str = "eu-west-1";
/// Kiven's own account.
pub(crate) const SAAS_ACCOUNT: &str = "999999999999";
/// The customer's account, as the quickstart's defaults name it.
pub(crate) const CUSTOMER_ACCOUNT: &str = "000000000000";
/// The customer's one EKS cluster.
pub(crate) const EKS_CLUSTER: &str = "local";
/// The access key that stands for Kiven.
pub(crate) const KIVEN_KEY: &str = "KIVENLOCAL";
/// The access key that stands for the customer's administrator.
pub(crate) const CUSTOMER_KEY: &str = "CUSTOMERLOCAL";

/// What the stack is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state folder.
    pub state: PathBuf,
    /// The API's port; 0 keeps the last one, or takes any free one.
    pub port: u16,
    /// Folder of PostgreSQL's programs, if named.
    pub pg_bin_dir: Option<PathBuf>,
    /// Where programs are looked for.
    pub path: OsString,
    /// The credentials file that provider and CLI read.
    pub credentials: PathBuf,
    /// Passed on to every process, for the kill matrix.
    pub failpoints: Option<String>,
    /// How often the agent asks for statistics, in seconds; as it does by itself when not set.
    pub statistics_seconds: Option<String>,
    /// Where WAL and backups are kept, for a cluster that is alone or given; the stack has its own.
    pub s3: String,
    /// Opens a cluster that is given; the stack makes its own when there is none.
    pub kubeconfig: Option<PathBuf>,
    /// Where virtual time is to begin, or to be moved on to.
    pub clock: Option<jiff::Timestamp>,
    /// What makes a process read the virtual clock; empty in real time.
    pub clock_environment: BTreeMap<String, String>,
    /// How much later than on this machine the store answers, for measurements.
    pub store_latency: Duration,
}

impl Options {
    /// The defaults: under root `/var/lib/kiven`, which PostgreSQL's own user can reach; else the user's data folder.
    ///
    /// # Errors
    /// When there is no home folder.
    pub fn default_with(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = set("HOME").map(PathBuf::from).context("HOME is not set")?;
        let root = User::to_run_as("postgres").ok().flatten().is_some();
        let data = set("XDG_DATA_HOME").map_or_else(|| home.join(".local/share"), PathBuf::from);
        let config = set("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        Ok(Self {
            state: if root { PathBuf::from("/var/lib/kiven") } else { data.join("kiven") },
            port: 0,
            pg_bin_dir: set("PG_BIN_DIR").map(PathBuf::from),
            path: set("PATH").unwrap_or_default().into(),
            credentials: config.join("kiven").join("credentials.json"),
            failpoints: set("KIVEN_FAILPOINTS"),
            statistics_seconds: set("KIVEN_STATISTICS_SECONDS"),
            s3: String::new(),
            kubeconfig: None,
            clock: None,
            clock_environment: match set("FAKETIME_TIMESTAMP_FILE") {
                Some(_) => clock::VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), set(name)?))).collect(),
                None => BTreeMap::new(),
            },
            store_latency: match set("KIVEN_STORE_LATENCY_MS") {
                Some(text) => Duration::from_millis(text.parse().with_context(|| format!("KIVEN_STORE_LATENCY_MS is not a number: {text}"))?),
                None => Duration::ZERO,
            },
        })
    }

    /// Whether this process reads the virtual clock of the state folder already.
    #[must_use]
    pub fn reads(&self, environment: &BTreeMap<String, String>) -> bool {
        self.clock_environment == *environment
    }

    /// The stack's own log; its folder is made.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn state_log(&self) -> anyhow::Result<PathBuf> {
        let logs = self.state.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make the state folder {}", self.state.display()))?;
        Ok(logs.join("kiven-local.jsonl"))
    }
}

/// What a running stack writes into `stack.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// The stack's process.
    pub pid: u32,
    /// The API.
    pub api_url: String,
    /// The API server of the local cluster.
    pub kube_url: String,
    /// Where WAL and backups go.
    pub s3_url: String,
    /// PostgreSQL's major; a given cluster has those of its catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres_version: Option<u32>,
    /// Whether poolers are real.
    pub pgbouncer: bool,
    /// Milliseconds from start to ready.
    pub ready_ms: u128,
    /// What makes a program read the stack's virtual clock; empty in real time.
    pub clock: BTreeMap<String, String>,
}

/// Runs until a signal ends it. PostgreSQL's processes go on and are adopted by the next start.
///
/// # Errors
/// One clear sentence when something is missing.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let folder = Folder::open(&options.state, options.port)?;
    children::end_leftovers(&folder)?;
    let keys = keys::Keys::open(&folder)?;
    let side = Side::open(&folder, &keys, &options).await?;
    let mut endpoints = endpoints(&folder, &side).await?;
    if side.own.is_none() && !options.s3.is_empty() {
        endpoints.s3.clone_from(&options.s3);
    }
    if !options.store_latency.is_zero() {
        endpoints.dynamodb = away::behind(&endpoints.dynamodb, options.store_latency).await?;
    }
    let endpoints = Arc::new(endpoints);
    let pooled = side.own.is_some() && find_pgbouncer(&options.path).is_some();
    let (major, url, reach) = (side.own.as_ref().map(|own| own.postgres.major), side.url.clone(), side.reach.clone());
    let cluster = side.start(&folder, &endpoints, &options)?;
    let backend = backend::start(&folder, &keys, &endpoints, &options).await?;
    let relay = children::relay(&folder, &endpoints, &backend, &options);
    let agents = tokio::spawn(agents::look_after(
        folder.clone(),
        reach,
        Arc::clone(&endpoints),
        backend.store.clone(),
        keys.organization_id.clone(),
        agents::Inherited {
            failpoints: options.failpoints.clone(),
            statistics_seconds: options.statistics_seconds.clone(),
            clock: options.clock_environment.clone(),
        },
    ));
    children::await_port(folder.ports.relay).await?;
    keys.write_credentials(&options.credentials, &backend.api.url, &folder.root)?;
    let ready = Ready {
        pid: std::process::id(),
        api_url: backend.api.url.clone(),
        kube_url: url,
        s3_url: endpoints.s3.clone(),
        postgres_version: major,
        pgbouncer: pooled,
        ready_ms: started.elapsed().as_millis(),
        clock: options.clock_environment.clone(),
    };
    announce(&folder, &ready)?;
    until_signalled().await?;
    agents.abort();
    relay.abort();
    backend.shut_down();
    cluster.stop().await;
    folder.remove("stack.json");
    Ok(())
}

async fn until_signalled() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn announce(folder: &Folder, ready: &Ready) -> anyhow::Result<()> {
    folder.write("stack.json", &serde_json::to_string_pretty(ready)?, 0o644)?;
    println!("Kiven is ready in {} ms: API {}, state in {}", ready.ready_ms, ready.api_url, folder.root.display());
    match ready.postgres_version {
        None => println!("databases run on the given cluster {}", ready.kube_url),
        Some(major) if ready.pgbouncer => println!("PostgreSQL {major}; poolers are real"),
        Some(major) => println!("PostgreSQL {major}; pgbouncer is not installed: a pooler's address leads to the server"),
    }
    Ok(())
}

/// Subnets of the local cluster by zone.
fn subnets() -> [(String, String); 3] {
    ["a", "b", "c"].map(|zone| (format!("{REGION}{zone}"), format!("subnet-local-{zone}")))
}

/// Both accounts' AWS.
async fn endpoints(folder: &Folder, side: &Side) -> anyhow::Result<Endpoints> {
    #[expect(clippy::disallowed_methods, reason = "the local stack is a shell")]
    let now_ms: NowMs = Arc::new(|| jiff::Timestamp::now().as_millisecond());
    let key = |id: &str, principal_arn: String| AccessKey { id: id.to_owned(), principal_arn };
    let config = Config {
        folder: Some(folder.root.clone()),
        blobs: folder.root.join("blobs"),
        region: REGION.to_owned(),
        saas_account: SAAS_ACCOUNT.to_owned(),
        customer_account: CUSTOMER_ACCOUNT.to_owned(),
        keys: vec![key(KIVEN_KEY, customer::principal()), key(CUSTOMER_KEY, format!("arn:aws:iam::{CUSTOMER_ACCOUNT}:root"))],
        clusters: vec![Cluster {
            name: EKS_CLUSTER.to_owned(),
            version: "1.34".to_owned(),
            endpoint: side.url.clone(),
            ca_data: String::new(),
            oidc_issuer: side.issuer.clone(),
            subnets: side.subnets.clone(),
        }],
        ports: folder.ports.aws(),
        delays: Delays::all(NODEGROUP_DELAY_MS),
        now_ms,
    };
    Endpoints::start(config).await.context("the local AWS did not start")
}
