//! The AWS of the local stack: loopback endpoints that the shipped adapters use like the real services.
//!
//! DynamoDB is dynoxide on SQLite, SQS is rustack in memory; S3, STS, IAM and EKS are written here.
//! STS reads trust policies, and what an assumed role may do is held to its role's, session's and
//! bucket's policies.

mod access;
mod dynamodb;
mod eks;
mod iam;
mod policy;
mod query;
mod s3;
mod sqs;
mod state;
mod sts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use access::{AccessKey, NowMs};
pub use eks::Cluster;
pub use kiven_sim::nodegroups::{Delays, NodeGroup};
pub use sqs::{BATCH_MESSAGES_MAX, Sqs, SqsRefused};
pub use state::{State, StateError};

/// How long a node group takes to change on the local stack.
pub const NODEGROUP_DELAY_MS: i64 = 150;

/// Fixed ports; 0 takes any free one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// DynamoDB.
    pub dynamodb: u16,
    /// SQS.
    pub sqs: u16,
    /// S3.
    pub s3: u16,
    /// STS.
    pub sts: u16,
    /// IAM.
    pub iam: u16,
    /// EKS.
    pub eks: u16,
}

/// What the endpoints are started with.
#[derive(Clone)]
pub struct Config {
    /// The state folder (`dynamodb.sqlite`, `local.sqlite`, `blobs/`); `None` keeps all but blobs in memory.
    pub folder: Option<PathBuf>,
    /// Where S3 bodies go when there is no state folder.
    pub blobs: PathBuf,
    /// The one region.
    pub region: String,
    /// Kiven's own account: the owner of queues and tables.
    pub saas_account: String,
    /// The customer's account: the owner of roles, clusters and groups.
    pub customer_account: String,
    /// Long-lived keys; one that stands for the customer's root may do everything there.
    pub keys: Vec<AccessKey>,
    /// EKS clusters that exist.
    pub clusters: Vec<Cluster>,
    /// Ports.
    pub ports: Ports,
    /// How long node groups take.
    pub delays: Delays,
    /// The clock.
    pub now_ms: NowMs,
}

/// An endpoint could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A port could not be bound or a folder not made.
    #[error("a loopback port or the state folder is not usable")]
    Io(#[from] std::io::Error),
    /// `local.sqlite` failed.
    #[error("the local account's state file failed")]
    State(#[from] StateError),
    /// `dynamodb.sqlite` failed.
    #[error("DynamoDB did not start: {0}")]
    Dynamodb(String),
}

/// The running endpoints; dropping this ends them.
pub struct Endpoints {
    /// DynamoDB's URL.
    pub dynamodb: String,
    /// SQS's URL.
    pub sqs: String,
    /// S3's URL (path style).
    pub s3: String,
    /// STS's URL.
    pub sts: String,
    /// IAM's URL.
    pub iam: String,
    /// EKS's URL.
    pub eks: String,
    queues: Sqs,
    groups: eks::Eks,
    state: State,
    tasks: Vec<JoinHandle<()>>,
}

impl Endpoints {
    /// Opens the state and serves every endpoint on loopback.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let Config { folder, blobs, region, saas_account, customer_account, keys, clusters, ports, delays, now_ms } = config;
        let (state, blobs) = match &folder {
            Some(folder) => {
                std::fs::create_dir_all(folder)?;
                (State::open(&folder.join("local.sqlite"))?, folder.join("blobs"))
            }
            None => (State::memory()?, blobs),
        };
        std::fs::create_dir_all(&blobs)?;
        let keys: BTreeMap<String, String> = keys.into_iter().map(|key| (key.id, key.principal_arn)).collect();
        let access = access::Access { state: state.clone(), account: customer_account, region: region.clone(), keys: Arc::new(keys), now_ms };
        let groups = eks::Eks::open(access.clone(), delays, &clusters)?;

        let (table_listener, dynamodb) = bind(ports.dynamodb).await?;
        let file = folder.map(|folder| folder.join("dynamodb.sqlite"));
        let mut tasks = vec![dynamodb::serve(table_listener, file.as_deref())?];
        let (queue_listener, sqs) = bind(ports.sqs).await?;
        let (queues, task) = Sqs::serve(queue_listener, &region, &saas_account)?;
        tasks.push(task);
        let s3 = serve(ports.s3, s3::S3::new(access.clone(), blobs).router(), &mut tasks).await?;
        let sts = serve(ports.sts, sts::router(access.clone()), &mut tasks).await?;
        let iam = serve(ports.iam, iam::router(access), &mut tasks).await?;
        let eks = serve(ports.eks, groups.clone().router(), &mut tasks).await?;
        Ok(Self { dynamodb, sqs, s3, sts, iam, eks, queues, groups, state, tasks })
    }

    /// The queues, for event sources.
    pub fn queues(&self) -> &Sqs {
        &self.queues
    }

    /// The key → JSON table, for what else the local stack must remember.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The cluster's node groups as they are now.
    pub fn node_groups(&self, cluster: &str) -> Vec<NodeGroup> {
        self.groups.node_groups(cluster)
    }

    /// Makes a subnet's zone run out of capacity, or have it again.
    pub fn capacity_set(&self, subnet: &str, available: bool) -> Result<(), StateError> {
        self.groups.capacity_set(subnet, available)
    }

    /// Adds or changes an EKS cluster.
    pub fn cluster_put(&self, cluster: &Cluster) -> Result<(), StateError> {
        self.groups.cluster_put(cluster)
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn bind(port: u16) -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    Ok((listener, url))
}

async fn serve(port: u16, router: Router, tasks: &mut Vec<JoinHandle<()>>) -> std::io::Result<String> {
    use axum::serve::ListenerExt;
    let (listener, url) = bind(port).await?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tasks.push(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a local endpoint ended");
        }
    }));
    Ok(url)
}

/// `bytes` random bytes in hex.
pub(crate) fn random_hex(bytes: usize) -> Result<String, query::Fault> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(|_| query::Fault::new("ServiceFailure", "no randomness"))?;
    Ok(hex::encode(buffer))
}
