//! A small Kubernetes API server, in memory or on SQLite, for the local stack and for tests.
//!
//! Invariants: it names neither kube nor any operator; no Secret's data is ever written to SQLite; a resource
//! version is never used twice, not even across restarts; every write that changes nothing leaves the version alone;
//! a list is one field to server-side apply, owned whole (stricter than the real server, which merges some lists by key).

mod disk;
mod engine;
mod error;
mod http;
pub mod kinds;
mod logs;
mod object;
mod ownership;
mod patch;
mod selector;
mod token;

pub use engine::{Change, Clock, Event};
pub use error::ApiError;
pub use kinds::Kind;
pub use logs::{LogLine, PodLog, PodLogs};
pub use selector::Selector;
pub use token::Identity;

use disk::Disk;
use engine::{Engine, Target};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// How long a stop waits for open requests.
const STOP_SECONDS_MAX: u64 = 2;

/// Where objects are kept.
#[derive(Debug, Clone)]
pub enum Storage {
    /// Gone with the process.
    Memory,
    /// Kept in a SQLite file (its tables begin with `kube_`) and, for Secrets' data and the issuer's key, a folder.
    Files {
        /// SQLite file.
        database: PathBuf,
        /// Folder of 0600 files.
        secrets: PathBuf,
    },
}

/// What a server needs to start.
#[derive(Clone)]
pub struct Config {
    /// Loopback address; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where objects are kept.
    pub storage: Storage,
    /// Bearer token of the administrator.
    pub admin_token: String,
    /// Issuer in ServiceAccount tokens; the server's own address when absent.
    pub issuer: Option<String>,
    /// Wall clock.
    pub clock: Clock,
}

/// The machine's clock, for a [`Config`] outside simulations.
#[expect(clippy::disallowed_methods, reason = "the one place where this crate meets the machine's clock")]
pub fn system_clock() -> Clock {
    Arc::new(jiff::Timestamp::now)
}

/// The server.
#[derive(Debug)]
pub struct Server;

pub(crate) struct Shared {
    engine: Engine,
    issuer: token::Issuer,
    admin_token: String,
    stopping: watch::Sender<bool>,
    logs: OnceLock<Arc<dyn PodLogs>>,
}

impl Server {
    /// Opens the store, binds, and serves until the handle stops it.
    pub async fn start(config: Config) -> Result<Handle, ApiError> {
        let listener = tokio::net::TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let (disk, folder) = match &config.storage {
            Storage::Memory => (None, None),
            Storage::Files { database, secrets } => (Some(Disk::open(database, secrets)?), Some(secrets.as_path())),
        };
        let url = config.issuer.unwrap_or_else(|| format!("http://{address}"));
        let issuer = token::Issuer::open(url, folder)?;
        let engine = Engine::new(disk, config.clock);
        let shared = Arc::new(Shared { engine, issuer, admin_token: config.admin_token, stopping: watch::Sender::new(false), logs: OnceLock::new() });
        let handle = Handle { shared: shared.clone(), address };
        for name in ["default", "kube-system"] {
            match handle.create(&kinds::NAMESPACES, json!({ "metadata": { "name": name } })) {
                Ok(_) | Err(ApiError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut stopping = shared.stopping.subscribe();
        let done = async move { drop(stopping.wait_for(|stop| *stop).await) };
        let service = axum::serve(listener, http::router(shared)).with_graceful_shutdown(done);
        tokio::spawn(async move {
            if let Err(error) = service.await {
                tracing::error!(%error, "the Kubernetes API server ended");
            }
        });
        tracing::info!(%address, "the Kubernetes API server listens");
        Ok(handle)
    }
}

/// The server's store, in process: the same rules as over HTTP, without HTTP.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Handle {
    /// Address listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base URL for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says who knows what containers wrote; the first who says so.
    pub fn logs_from(&self, logs: Arc<dyn PodLogs>) {
        self.shared.logs.set(logs).ok();
    }

    /// Ends watches and stops accepting; open requests get a bounded time.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        let closed = self.shared.stopping.closed();
        drop(tokio::time::timeout(Duration::from_secs(STOP_SECONDS_MAX), closed).await);
    }

    fn target<'a>(kind: &'static Kind, namespace: &'a str, name: &'a str, manager: &'a str) -> Target<'a> {
        Target { kind, namespace, name, status: false, manager }
    }

    /// One object.
    pub fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Arc<Value>, ApiError> {
        self.shared.engine.get(Self::target(kind, namespace, name, ""))
    }

    /// Matching objects of a namespace, or of all.
    pub fn list(&self, kind: &'static Kind, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<Value>> {
        self.shared.engine.list(kind, namespace, selector, (usize::MAX, "")).items
    }

    /// Makes an object; its namespace and name are read from its metadata.
    pub fn create(&self, kind: &'static Kind, object: Value) -> Result<Arc<Value>, ApiError> {
        let namespace = object::text(&object, "/metadata/namespace").to_owned();
        self.shared.engine.create(Self::target(kind, &namespace, "", "local"), object)
    }

    /// Server-side apply with force, as a controller that owns what it names.
    pub fn apply(&self, kind: &'static Kind, object: Value, manager: &str) -> Result<Arc<Value>, ApiError> {
        let (namespace, name) = (object::text(&object, "/metadata/namespace").to_owned(), object::text(&object, "/metadata/name").to_owned());
        self.shared.engine.apply(Self::target(kind, &namespace, &name, manager), object, true).map(|(object, _)| object)
    }

    /// Merge patch of everything but status.
    pub fn patch(&self, kind: &'static Kind, namespace: &str, name: &str, patch: &Value) -> Result<Arc<Value>, ApiError> {
        self.merge(Self::target(kind, namespace, name, "local"), patch)
    }

    /// Merge patch of the status subresource: `patch` is the status itself.
    pub fn patch_status(&self, kind: &'static Kind, namespace: &str, name: &str, patch: &Value) -> Result<Arc<Value>, ApiError> {
        let target = Target { status: kind.status, ..Self::target(kind, namespace, name, "local") };
        self.merge(target, &json!({ "status": patch }))
    }

    fn merge(&self, target: Target<'_>, patch: &Value) -> Result<Arc<Value>, ApiError> {
        self.shared.engine.update(target, |live| {
            let mut next = live.clone();
            patch::merge(&mut next, patch);
            Ok(next)
        })
    }

    /// Deletes, or marks while finalizers are left; dependents go with it.
    pub fn delete(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Arc<Value>, ApiError> {
        self.shared.engine.delete(Self::target(kind, namespace, name, ""), &Value::Null)
    }

    /// Watches a kind from now on.
    pub fn watch(&self, kind: &'static Kind, namespace: Option<&str>, selector: Selector) -> Watch {
        let from = *self.shared.engine.ticks().borrow();
        Watch::new(self.shared.clone(), kind, namespace, selector, from)
    }

    /// The version of the store: wakes its holder on every change of any object.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.engine.ticks()
    }

    /// A token of a ServiceAccount, as TokenRequest gives it.
    pub fn service_account_token(&self, namespace: &str, name: &str, audiences: &[String], seconds: i64) -> Result<String, ApiError> {
        self.shared.token(namespace, name, audiences, seconds).map(|(token, _)| token)
    }
}

impl Shared {
    pub(crate) fn token(&self, namespace: &str, name: &str, audiences: &[String], seconds: i64) -> Result<(String, i64), ApiError> {
        let account = self.engine.get(Target { kind: &kinds::SERVICE_ACCOUNTS, namespace, name, status: false, manager: "" })?;
        let subject = token::Subject { namespace, name, uid: object::text(&account, "/metadata/uid") };
        self.issuer.issue(&subject, audiences, seconds, self.engine.now().as_second())
    }

    /// Who presents this bearer token; a token of a ServiceAccount that has gone is worth nothing.
    pub(crate) fn authenticate(&self, token: &str) -> Result<Identity, ApiError> {
        if ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref()
            == ring::digest::digest(&ring::digest::SHA256, self.admin_token.as_bytes()).as_ref()
        {
            return Ok(Identity { username: "system:admin".into() });
        }
        let claims = self.issuer.verify(token, self.engine.now().as_second())?;
        let namespace = object::text(&claims, "/kubernetes.io/namespace");
        let name = claims["kubernetes.io"]["serviceaccount"]["name"].as_str().unwrap_or_default();
        let uid = &claims["kubernetes.io"]["serviceaccount"]["uid"];
        let target = Target { kind: &kinds::SERVICE_ACCOUNTS, namespace, name, status: false, manager: "" };
        match self.engine.get(target) {
            Ok(account) if account["metadata"]["uid"] == *uid => Ok(Identity { username: format!("system:serviceaccount:{namespace}:{name}") }),
            _ => Err(ApiError::Unauthorized),
        }
    }
}

/// A watch of one kind. It reads the bounded history: falling behind ends in [`ApiError::Gone`].
pub struct Watch {
    shared: Arc<Shared>,
    kind: &'static Kind,
    namespace: Option<String>,
    selector: Selector,
    cursor: u64,
    ticks: watch::Receiver<u64>,
    ready: VecDeque<Event>,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, kind: &'static Kind, namespace: Option<&str>, selector: Selector, cursor: u64) -> Self {
        let ticks = shared.engine.ticks();
        Self { shared, kind, namespace: namespace.map(Into::into), selector, cursor, ticks, ready: VecDeque::new() }
    }

    /// Version up to which everything has been told.
    pub fn version(&self) -> u64 {
        self.cursor
    }

    /// The next change. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Event, ApiError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.ticks.borrow_and_update();
            let (events, version) = self.shared.engine.changes_after(self.kind, self.namespace.as_deref(), &self.selector, self.cursor)?;
            self.cursor = version;
            self.ready.extend(events);
            if self.ready.is_empty() && self.ticks.changed().await.is_err() {
                return Err(ApiError::Gone { asked: self.cursor, oldest: self.cursor });
            }
        }
    }
}
