//! The SaaS: table, queues, organization and key, and the shipped functions under the local Lambda.
use super::customer::{principal, sdk};
use super::folder::Folder;
use super::keys::Keys;
use super::{KIVEN_KEY, Options, REGION};
use crate::aws::{Endpoints, NowMs};
use crate::lambda::{EventSource, Function, FunctionConfig, HttpFront, Schedule, TICK};
use anyhow::Context;
use kiven_aws::store::{Store, StoreConfig, bucket_ensure, table_ensure};
use kiven_model::organization::{ApiKey, Organization, Role};
use kiven_ports::{Records, Write};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const TABLE: &str = "kiven";
const BUCKET: &str = "kiven-payloads";
/// One machine has one partition: more would only cost the sweep queries.
pub(crate) const DUE_SHARDS: u32 = 1;
/// Instances of the API at once: each costs memory, and near the store two serve hundreds of requests a second.
const API_INSTANCES: usize = 2;
/// The same where each call of the store waits for its way: then there are more at once, as Lambda would start more.
const API_INSTANCES_AWAY: usize = 8;
/// How long a drive's lease is: longer than any local step, short enough to wait out after a kill.
const LEASE_SECONDS: u64 = 4;
/// How long a message is hidden while a function works on it.
const VISIBILITY_SECONDS: u32 = 5;

/// The running functions.
pub(crate) struct Backend {
    pub(crate) store: Store,
    pub(crate) api: HttpFront,
    pub(crate) reports_url: String,
    _enrol: HttpFront,
    _sources: [EventSource; 2],
    _schedule: Schedule,
    functions: Vec<Arc<Function>>,
}

impl Backend {
    /// Takes no more events and ends every function.
    pub(crate) fn shut_down(&self) {
        self.functions.iter().for_each(|function| function.shut_down());
    }
}

/// A binary that was built beside this one.
pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.is_file(), "{} is missing: build it with `cargo build --workspace`", path.display());
    Ok(path)
}

/// Environment of everything that speaks to Kiven's own AWS.
pub(crate) fn aws_environment(endpoints: &Endpoints, options: &Options) -> BTreeMap<String, String> {
    let pairs = [
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", KIVEN_KEY),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &endpoints.dynamodb),
        ("AWS_ENDPOINT_URL_SQS", &endpoints.sqs),
        ("AWS_ENDPOINT_URL_S3", &endpoints.s3),
        ("AWS_ENDPOINT_URL_STS", &endpoints.sts),
        ("AWS_ENDPOINT_URL_IAM", &endpoints.iam),
        ("AWS_ENDPOINT_URL_EKS", &endpoints.eks),
        ("KIVEN_TABLE", TABLE),
        ("KIVEN_PAYLOAD_BUCKET", BUCKET),
    ];
    let mut environment: BTreeMap<String, String> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    if let Some(failpoints) = &options.failpoints {
        environment.insert("KIVEN_FAILPOINTS".to_owned(), failpoints.clone());
    }
    environment.extend(options.clock_environment.clone());
    environment
}

/// Makes what is missing and starts every function.
pub(crate) async fn start(folder: &Folder, keys: &Keys, endpoints: &Endpoints, options: &Options) -> anyhow::Result<Backend> {
    let sdk = sdk(endpoints, KIVEN_KEY);
    table_ensure(&sdk, TABLE).await.context("the table could not be made")?;
    bucket_ensure(&sdk, BUCKET, REGION).await.context("the bucket of payloads could not be made")?;
    let store = Store::new(&sdk, &StoreConfig { table: TABLE.to_owned(), bucket: BUCKET.to_owned(), due_shards: DUE_SHARDS });
    found_organization(&store, keys).await?;
    let queues = endpoints.queues();
    let doorbell_url = queues.queue_ensure("doorbell", VISIBILITY_SECONDS).await.context("the doorbell's queue could not be made")?;
    let reports_url = queues.queue_ensure("reports", VISIBILITY_SECONDS).await.context("the queue of reports could not be made")?;
    let environment = environment(folder, endpoints, options, &doorbell_url);
    let function = |name: &str, timeout: u64, concurrency_max: usize| -> anyhow::Result<Arc<Function>> {
        let config = FunctionConfig {
            name: name.to_owned(),
            binary: sibling(&format!("lambda-{name}"))?,
            arguments: Vec::new(),
            env: environment.clone(),
            log: Some(folder.path(&format!("logs/{name}.jsonl"))),
            timeout: Duration::from_secs(timeout),
            concurrency_max,
        };
        Ok(Function::new(config, now()))
    };
    let api_instances = if options.store_latency.is_zero() { API_INSTANCES } else { API_INSTANCES_AWAY };
    let (api, worker, sweep) = (function("api", 10, api_instances)?, function("worker", 60, 3)?, function("sweep", 10, 1)?);
    let (reports, enrol) = (function("reports", 10, 1)?, function("enrol", 10, 1)?);
    api.warm(1).await.context("the API did not start")?;
    Ok(Backend {
        store,
        api: HttpFront::start(folder.ports.api, Arc::clone(&api), now()).await.context("the API's port is taken: another stack may be running")?,
        _enrol: HttpFront::start(folder.ports.enrol, Arc::clone(&enrol), now()).await?,
        _sources: [
            EventSource::start(queues.clone(), "doorbell", Arc::clone(&worker), 1, 3),
            EventSource::start(queues.clone(), "reports", Arc::clone(&reports), 10, 1),
        ],
        _schedule: Schedule::start(Arc::clone(&sweep), TICK),
        reports_url,
        functions: vec![api, worker, sweep, reports, enrol],
    })
}

fn now() -> NowMs {
    #[expect(clippy::disallowed_methods, reason = "the local stack is a shell")]
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}

fn environment(folder: &Folder, endpoints: &Endpoints, options: &Options, doorbell_url: &str) -> BTreeMap<String, String> {
    let mut environment = aws_environment(endpoints, options);
    let path = |name: &str| folder.path(name).display().to_string();
    environment.extend(
        [
            ("KIVEN_DUE_SHARDS", DUE_SHARDS.to_string()),
            ("KIVEN_DOORBELL_URL", doorbell_url.to_owned()),
            ("KIVEN_PRINCIPAL_ARN", principal()),
            ("KIVEN_RELAY_ADDRESS", format!("localhost:{}", folder.ports.relay)),
            ("KIVEN_AGENT_API_URL", format!("http://127.0.0.1:{}", folder.ports.enrol)),
            ("KIVEN_LEASE_SECONDS", LEASE_SECONDS.to_string()),
            ("KIVEN_CA_CERTIFICATE_PATH", path("secrets/ca.crt")),
            ("KIVEN_CA_KEY_PATH", path("secrets/ca.key")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    environment
}

/// The one organization and its key; only the key's digest is stored.
async fn found_organization(store: &Store, keys: &Keys) -> anyhow::Result<()> {
    let organization = Organization { id: keys.organization_id.clone(), name: "local".to_owned() };
    let key = ApiKey {
        id: keys.api_key_id()?,
        organization_id: keys.organization_id.clone(),
        role: Role::Owner,
        key_sha256: hex::encode(Sha256::digest(keys.api_key.as_bytes())),
        expires_at: None,
    };
    store.records_commit(vec![Write::Organization(organization), Write::ApiKey(key)]).await.context("the organization could not be recorded")
}
