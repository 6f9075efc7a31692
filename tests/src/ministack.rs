//! MiniStack: an AWS in memory that enforces IAM, with what it lacks added by `tests/ministack/`; one process for each holder.
use crate::{POLL, cache, variable};
use anyhow::{Context, bail, ensure};
use kiven_aws::{Config, Credentials, Endpoints, Sdk};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// What is installed: the first line with a version is MiniStack's own.
const REQUIREMENTS: &str = include_str!("../ministack/requirements.txt");
/// How long a start may take.
const READY_MAX: Duration = Duration::from_secs(30);
/// How often another port is taken when somebody was faster.
const STARTS_MAX: u32 = 3;
/// The region of the suites.
pub const REGION: &str = "eu-west-1";

fn version() -> &'static str {
    REQUIREMENTS.lines().find_map(|line| line.strip_prefix("ministack==")).unwrap_or_default()
}

/// The Python that has MiniStack of the pinned version, or one sentence saying that a test is skipped. `KIVEN_MINISTACK_PYTHON`
/// names another one.
#[must_use]
pub fn find(test: &str) -> Option<PathBuf> {
    let installed = cache().map(|cache| cache.join(format!("ministack-{}/bin/python", version())));
    let named = variable("KIVEN_MINISTACK_PYTHON").map(PathBuf::from);
    let found = [named, installed].into_iter().flatten().find(|python| is_pinned(python));
    if found.is_none() {
        println!("skipped: {test}: MiniStack {} is not installed (run `cargo xtask install`, which needs Python 3.10 or newer)", version());
    }
    found
}

fn is_pinned(python: &Path) -> bool {
    let asked = "import importlib.metadata as m; print(m.version('ministack'))";
    let output = std::process::Command::new(python).args(["-c", asked]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == version())
}

/// Keys of one party.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token of temporary keys.
    pub token: Option<String>,
}

/// A running AWS; it ends with its holder, and with the process that started it.
#[derive(Debug)]
pub struct MiniStack {
    /// `http://127.0.0.1:PORT`: every service is here.
    pub url: String,
    // The pipe that the launcher watches is part of it.
    _child: Child,
    http: reqwest::Client,
}

impl MiniStack {
    /// Starts MiniStack and waits until it answers. Its record of calls goes to the folder that `KIVEN_AWS_WIRE` names, if any.
    ///
    /// # Errors
    /// When it does not answer in time; with the end of its log.
    pub async fn start(python: &Path) -> anyhow::Result<Self> {
        // One provider for the process; whoever was first has set the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut failed = None;
        for _ in 0..STARTS_MAX {
            match Self::try_start(python).await {
                Ok(started) => return Ok(started),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.context("MiniStack was not started")?)
    }

    async fn try_start(python: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = std::env::temp_dir().join(format!("kiven-ministack-{}-{port}.log", std::process::id()));
        let output = std::fs::File::create(&log)?;
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("ministack/launcher.py"));
        command.env("GATEWAY_PORT", port.to_string()).env("MINISTACK_REGION", REGION).env("PYTHONDONTWRITEBYTECODE", "1");
        for theirs in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "DOCKER_HOST", "LOG_LEVEL", "SERVICES"] {
            command.env_remove(theirs);
        }
        if let Some(folder) = variable("KIVEN_AWS_WIRE") {
            command.env("KIVEN_WIRE", Path::new(&folder).join(format!("{}-{port}.jsonl", std::process::id())));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true).spawn()?;
        let (url, http) = (format!("http://127.0.0.1:{port}"), reqwest::Client::builder().no_proxy().timeout(READY_MAX).build()?);
        let deadline = Instant::now() + READY_MAX;
        loop {
            let ready = http.get(format!("{url}/_ministack/ready")).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                std::fs::remove_file(&log)?;
                return Ok(Self { url, _child: child, http });
            }
            if child.try_wait()?.is_some() || Instant::now() >= deadline {
                let said = std::fs::read_to_string(&log)?;
                bail!("MiniStack does not answer on {url}:\n{}", said.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Everything of an account: its root's keys.
    #[must_use]
    pub fn root(account: &str) -> Keys {
        Keys { id: account.to_owned(), secret: "test".to_owned(), token: None }
    }

    /// Clients of the holder of keys.
    #[must_use]
    pub fn sdk(&self, keys: &Keys) -> Sdk {
        self.sdk_with(keys, &self.url)
    }

    /// The same with a DynamoDB of its own.
    #[must_use]
    pub fn sdk_with(&self, keys: &Keys, dynamodb: &str) -> Sdk {
        let here = || Some(self.url.clone());
        Sdk::new(&Config {
            region: REGION.to_owned(),
            credentials: Credentials::Static {
                access_key_id: keys.id.clone(),
                secret_access_key: keys.secret.clone(),
                session_token: keys.token.clone(),
            },
            endpoints: Endpoints {
                dynamodb: Some(dynamodb.to_owned()),
                sqs: here(),
                s3: here(),
                sts: here(),
                iam: here(),
                eks: here(),
                kms: here(),
                lambda: here(),
            },
        })
    }

    /// Turns one of the launcher's switches; they are listed in its `administer`.
    ///
    /// # Errors
    /// When the switch is unknown or refuses.
    pub async fn switch(&self, name: &str, data: &Value) -> anyhow::Result<Value> {
        let answer = self.http.post(format!("{}/_kiven/{name}", self.url)).body(data.to_string()).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{name}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// A session of an environment's role without a session policy: everything that its owner has allowed.
    ///
    /// # Errors
    /// When STS refuses.
    pub async fn assume(&self, keys: &Keys, role_arn: &str, external_id: &str, tags: &Value) -> anyhow::Result<Keys> {
        let asked = json!({"id": keys.id, "secret": keys.secret, "token": keys.token, "role": role_arn, "external_id": external_id, "tags": tags});
        let given = self.switch("assume", &asked).await?;
        let text = |name: &str| given[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        Ok(Keys { id: text("AccessKeyId")?, secret: text("SecretAccessKey")?, token: Some(text("SessionToken")?) })
    }

    /// The calls since an index, and the next index.
    ///
    /// # Errors
    /// See [`MiniStack::switch`].
    pub async fn calls(&self, since: u64) -> anyhow::Result<(Vec<Value>, u64)> {
        let mut answer = self.switch("wire", &json!({"index": since})).await?;
        let next = answer["next"].as_u64().context("no index")?;
        let calls = answer["calls"].as_array_mut().map(std::mem::take).context("no calls")?;
        Ok((calls, next))
    }
}
