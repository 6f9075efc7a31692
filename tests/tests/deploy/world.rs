//! What is around the service: a customer's account and cluster, and the programs that the emulation does not run.
use crate::onboarding::{CLUSTER, Documents, Names, ROLE};
use crate::service::{SAAS, Service};
use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri};
use kiven_model::EnvironmentId;
use kiven_model::api::EnvironmentView;
use kiven_tests::ministack::{MiniStack, REGION};
use kiven_tests::{binaries, random, within};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The customer's account.
pub(crate) const CUSTOMER: &str = "111122223333";
/// What nodes need.
const NODE_POLICIES: [&str; 3] = ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"];
/// How long a program may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// Largest object that a cluster stores: a base backup of an empty database.
const OBJECT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A customer with an account and a cluster in it.
pub(crate) struct Customer {
    pub(crate) subnets: BTreeMap<String, String>,
    pub(crate) launch_template: String,
    issuer_host: String,
}

impl Customer {
    /// Makes the account's network and EKS cluster, and starts what plays the cluster.
    pub(crate) async fn new(aws: &MiniStack, processes: &mut Processes) -> anyhow::Result<Self> {
        let zones = ["eu-west-1a", "eu-west-1b"];
        let made = aws.switch("customer", &json!({ "account": CUSTOMER, "region": REGION, "zones": zones, "cluster": CLUSTER })).await?;
        let kube_url = processes.cluster(aws).await?;
        let issuer = json!({ "account": CUSTOMER, "region": REGION, "cluster": CLUSTER, "issuer": kube_url });
        aws.switch("issuer", &issuer).await?;
        Ok(Self {
            subnets: serde_json::from_value(made["subnets"].clone())?,
            launch_template: made["launch_template"].as_str().context("no launch template")?.to_owned(),
            issuer_host: kube_url.split_once("://").map_or("", |(_, host)| host).to_owned(),
        })
    }

    pub(crate) fn role_arn(&self) -> String {
        format!("arn:aws:iam::{CUSTOMER}:role/{ROLE}")
    }

    /// What the onboarding module makes in the account.
    pub(crate) async fn onboard(&self, aws: &MiniStack, documents: &Documents, environment: &EnvironmentView) -> anyhow::Result<()> {
        let names = Names {
            account: CUSTOMER.to_owned(),
            region: REGION.to_owned(),
            principal: environment.principal_arn.clone(),
            external_id: environment.external_id.clone(),
            environment: environment.id.to_string(),
            oidc_host: self.issuer_host.clone(),
            launch_template: self.launch_template.clone(),
        };
        let iam = aws.sdk(&MiniStack::root(CUSTOMER)).iam();
        iam.create_policy().policy_name("kiven-boundary").policy_document(documents.text("boundary", &names)).send().await?;
        iam.create_role().role_name("kiven-node").assume_role_policy_document(documents.text("node_trust", &names)).send().await?;
        for policy in NODE_POLICIES {
            iam.attach_role_policy().role_name("kiven-node").policy_arn(format!("arn:aws:iam::aws:policy/{policy}")).send().await?;
        }
        iam.create_role().role_name(ROLE).assume_role_policy_document(documents.text("trust", &names)).send().await?;
        iam.put_role_policy().role_name(ROLE).policy_name("kiven-access").policy_document(documents.text("access", &names)).send().await?;
        Ok(())
    }

    /// The account has so many node groups.
    pub(crate) async fn holds(&self, aws: &MiniStack, node_groups: usize) -> anyhow::Result<()> {
        let found = aws.sdk(&MiniStack::root(CUSTOMER)).eks().list_nodegroups().cluster_name(CLUSTER).send().await?;
        ensure!(found.nodegroups().len() == node_groups, "{node_groups} node groups expected: {:?}", found.nodegroups());
        Ok(())
    }
}

/// Programs beside the emulation; they end with their holder.
pub(crate) struct Processes {
    folder: PathBuf,
    binaries: PathBuf,
    relay_port: u16,
    cluster: Value,
    running: Vec<Child>,
    good: bool,
}

impl Processes {
    /// A folder that PostgreSQL's own user can reach; nothing runs yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("kiven-test-deploy-").tempdir()?.keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder, binaries: binaries()?, relay_port: free_port()?, cluster: Value::Null, running: Vec::new(), good: false })
    }

    fn start(&mut self, program: &str, arguments: &[&str], environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let log = std::fs::File::create(self.folder.join(format!("{program}.log")))?;
        let mut command = Command::new(self.binaries.join(program));
        for ours in ["AWS_PROFILE", "KIVEN_FAILPOINTS"] {
            command.env_remove(ours);
        }
        command.args(arguments).envs(environment).current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.running.push(command.kill_on_drop(true).spawn().with_context(|| format!("{program} cannot be started"))?);
        Ok(())
    }

    /// Starts the customer's cluster and answers its URL.
    async fn cluster(&mut self, aws: &MiniStack) -> anyhow::Result<String> {
        let (state, store) = (self.folder.join("state"), object_store(aws).await?);
        self.start("kiven-local", &["dev", "cluster", "--state", &state.display().to_string(), "--s3", &store], &BTreeMap::new())?;
        let said = async || std::fs::read_to_string(state.join("cluster.json")).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let ready = within(READY_MAX, async || said().await.is_some()).await;
        ensure!(ready, "the cluster is not ready:\n{}", self.log("kiven-local"));
        self.cluster = said().await.context("the cluster says nothing")?;
        Ok(self.cluster["kube_url"].as_str().context("the cluster has no URL")?.to_owned())
    }

    /// Starts the relay as its task is configured, with the rights of the task's role.
    pub(crate) async fn relay(&mut self, aws: &MiniStack, service: &Service) -> anyhow::Result<()> {
        let iam = aws.sdk(&MiniStack::root(SAAS)).iam();
        let role = service.text("relay_role_name")?;
        let policy = iam.get_role_policy().role_name(&role).policy_name("kiven").send().await?;
        let document = percent_encoding::percent_decode_str(policy.policy_document()).decode_utf8()?.into_owned();
        // ECS gives a task its role's credentials, and its trust allows nobody else: a user with the same policy stands for it.
        iam.create_user().user_name("relay-task").send().await?;
        iam.put_user_policy().user_name("relay-task").policy_name("kiven").policy_document(document).send().await?;
        let key = iam.create_access_key().user_name("relay-task").send().await?.access_key.context("no key")?;
        let mut environment: BTreeMap<String, String> = serde_json::from_value(service.output("relay_environment")?.clone())?;
        let ours = [
            ("KIVEN_RELAY_LISTEN", format!("127.0.0.1:{}", self.relay_port)),
            ("KIVEN_RELAY_HEALTH_LISTEN", "127.0.0.1:0".to_owned()),
            ("AWS_ACCESS_KEY_ID", key.access_key_id().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", key.secret_access_key().to_owned()),
            ("AWS_ENDPOINT_URL", aws.url.clone()),
        ];
        environment.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        self.start("kiven-relay", &[], &environment)?;
        let port = self.relay_port;
        let ready = within(READY_MAX, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        ensure!(ready, "the relay is not ready:\n{}", self.log("kiven-relay"));
        Ok(())
    }

    /// Starts the agent with what its chart is given; the port is the one that the load balancer would lead to.
    pub(crate) fn agent(&mut self, service: &Service, environment: &EnvironmentId) -> anyhow::Result<()> {
        let address = service.text("relay_address")?.replace(":443", &format!(":{}", self.relay_port));
        let path = |name: &str| self.cluster[name].as_str().unwrap_or_default().to_owned();
        let values = [
            ("KUBECONFIG", path("kubeconfig")),
            ("KIVEN_TOKEN_PATH", path("kiven_token")),
            ("KIVEN_ENVIRONMENT_ID", environment.to_string()),
            ("KIVEN_RELAY_ADDRESS", address),
            ("KIVEN_API_URL", service.text("api_url")?),
        ];
        self.start("kiven-agent", &[], &values.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Ends them all; nothing of them is of interest any more.
    pub(crate) fn end(mut self) {
        self.good = true;
    }

    fn log(&self, program: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{program}.log"))).unwrap_or_default()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.running {
            // One that has ended is what is wanted.
            let _ = child.start_kill();
        }
        for process in kiven_tests::processes::under(&self.folder) {
            kiven_tests::processes::kill(process.pid);
        }
        if !self.good {
            println!("the logs are in {}", self.folder.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            println!("{} is left: {error}", self.folder.display());
        }
    }
}

/// A port below those of outgoing connections (Linux: from 32768): one of these could take it before the relay does.
fn free_port() -> anyhow::Result<u16> {
    let mut random = random()?.into_iter().map(u16::from);
    let mut ports = std::iter::from_fn(|| Some(15_000 + ((random.next()? << 8) | random.next()?) % 17_000));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}

/// The customer's S3 for the cluster's operator, which signs nothing: each object is put as the customer.
async fn object_store(aws: &MiniStack) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let put = async |State(s3): State<aws_s3::Client>, uri: Uri, body: Bytes| {
        let Some((bucket, key)) = uri.path().trim_start_matches('/').split_once('/') else { return StatusCode::BAD_REQUEST };
        match s3.put(bucket, key, body.to_vec()).await {
            Ok(()) => StatusCode::OK,
            Err(error) => {
                println!("the cluster's object {key} was not stored: {error:#}");
                StatusCode::FORBIDDEN
            }
        }
    };
    let router =
        Router::new().fallback(put).layer(DefaultBodyLimit::max(OBJECT_BYTES_MAX)).with_state(aws_s3::Client(aws.sdk(&MiniStack::root(CUSTOMER))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

mod aws_s3 {
    //! One call of S3.
    use kiven_aws::Sdk;

    #[derive(Clone)]
    pub(crate) struct Client(pub(crate) Sdk);

    impl Client {
        pub(crate) async fn put(&self, bucket: &str, key: &str, body: Vec<u8>) -> anyhow::Result<()> {
            self.0.s3().put_object().bucket(bucket).key(key).body(body.into()).send().await?;
            Ok(())
        }
    }
}
