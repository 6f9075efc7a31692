//! One local stack: its own state, ports, credentials and failpoints; ended whole when dropped.
use crate::processes::{self, Process};
use crate::{POLL, variable, within};
use anyhow::{Context, bail, ensure};
use kiven_client::{Client, Credentials};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a stack may take to be ready.
const READY_MAX: Duration = Duration::from_secs(20);
/// How often teardown looks for processes that are left.
const TEARDOWN_ROUNDS_MAX: u32 = 40;
/// Lines of each log that a failure shows.
const TAIL_LINES: usize = 15;

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    base: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// Where the binaries under test are.
    pub binaries: PathBuf,
    child: Option<Child>,
    clock: Option<String>,
    statistics_seconds: Option<u64>,
    /// What else the stack is started with.
    arguments: Vec<String>,
}

/// The folder of the binaries under test: `KIVEN_BIN_DIR`, or where this test was built.
///
/// # Errors
/// When they have not been built.
pub fn binaries() -> anyhow::Result<PathBuf> {
    if let Some(folder) = variable("KIVEN_BIN_DIR") {
        return Ok(folder.into());
    }
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("the test is in no target folder")?.to_owned();
    ensure!(
        folder.join("kiven-local").is_file(),
        "{} has no kiven-local: run `cargo build --workspace` first, or set KIVEN_BIN_DIR",
        folder.display()
    );
    Ok(folder)
}

impl Stack {
    /// Starts a stack in a new folder that PostgreSQL's own user can reach.
    ///
    /// # Errors
    /// When binaries are missing or it is not ready in time.
    pub async fn start(label: &str) -> anyhow::Result<Self> {
        Self::begin(label, None, Vec::new(), None).await
    }

    /// The same in virtual time that begins at `clock`.
    ///
    /// # Errors
    /// When binaries or the package `faketime` are missing, or it is not ready in time.
    pub async fn start_at(label: &str, clock: &str) -> anyhow::Result<Self> {
        Self::begin(label, Some(clock.to_owned()), Vec::new(), None).await
    }

    /// The same with databases on a given cluster, and WAL and backups at an S3 that its pods reach.
    ///
    /// # Errors
    /// When binaries are missing, the cluster lacks something, or it is not ready in time.
    pub async fn start_on(label: &str, kubeconfig: &Path, s3: &str) -> anyhow::Result<Self> {
        let arguments = ["--kubeconfig".to_owned(), kubeconfig.display().to_string(), "--s3".to_owned(), s3.to_owned()];
        Self::begin(label, None, arguments.into(), None).await
    }

    /// The same with an agent that asks for statistics this often.
    ///
    /// # Errors
    /// When binaries are missing or it is not ready in time.
    pub async fn start_asking(label: &str, statistics_seconds: u64) -> anyhow::Result<Self> {
        Self::begin(label, None, Vec::new(), Some(statistics_seconds)).await
    }

    async fn begin(label: &str, clock: Option<String>, arguments: Vec<String>, statistics_seconds: Option<u64>) -> anyhow::Result<Self> {
        let base = tempfile::Builder::new().prefix(&format!("kiven-test-{label}-")).tempdir()?.keep();
        std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o755))?;
        let mut stack = Self { state: base.join("state"), binaries: binaries()?, base, child: None, clock, arguments, statistics_seconds };
        std::fs::create_dir(stack.failpoints())?;
        stack.launch().await?;
        Ok(stack)
    }

    /// Its folder; everything is in it.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    fn failpoints(&self) -> PathBuf {
        self.base.join("failpoints")
    }

    /// Where provider and CLI look for credentials.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.base.join("config")
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let output = std::fs::OpenOptions::new().create(true).append(true).open(self.base.join("out.log"))?;
        let program = self.binaries.join("kiven-local");
        let child = Command::new(&program)
            .args(["dev", "--state"])
            .arg(&self.state)
            // A folder that began in virtual time stays in it.
            .args(self.clock.take().iter().flat_map(|time| ["--clock", time]))
            .args(&self.arguments)
            .env("XDG_CONFIG_HOME", self.config())
            .env("KIVEN_FAILPOINTS", self.failpoints())
            .envs(self.statistics_seconds.map(|seconds| ("KIVEN_STATISTICS_SECONDS", seconds.to_string())))
            .current_dir(&self.base)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id();
        self.child = Some(child);
        let ready = within(READY_MAX, async || self.ready().is_ok_and(|ready| ready["pid"] == pid)).await;
        ensure!(ready, "the stack is not ready after {READY_MAX:?}\n{}", self.tail());
        Ok(())
    }

    /// Moves the stack's virtual clock on.
    ///
    /// # Errors
    /// With what the program says when it refuses.
    pub fn clock_set(&self, time: &str) -> anyhow::Result<()> {
        let output = Command::new(self.binaries.join("kiven-local")).args(["dev", "clock", "set", time, "--state"]).arg(&self.state).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn ready(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.state.join("stack.json"))?)?)
    }

    /// What `stack.json` says under a name.
    ///
    /// # Errors
    /// When the stack has not written it.
    pub fn said(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.ready()?[name].as_str().with_context(|| format!("stack.json has no {name}"))?.to_owned())
    }

    /// A port of `ports.json`.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn port(&self, name: &str) -> anyhow::Result<u64> {
        let ports: Value = serde_json::from_slice(&std::fs::read(self.state.join("ports.json"))?)?;
        ports[name].as_u64().with_context(|| format!("ports.json has no {name}"))
    }

    /// A file of `secrets/`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.state.join("secrets").join(name)).with_context(|| format!("secrets/{name}"))
    }

    /// A client with the organization's own key.
    ///
    /// # Errors
    /// When the stack's files are missing.
    pub fn client(&self) -> anyhow::Result<Client> {
        let credentials = Credentials { endpoint: self.said("api_url")?, api_key: self.secret("api-key")? };
        Ok(Client::new(credentials, "kiven-tests")?)
    }

    /// SDK clients of the holder of a key.
    ///
    /// # Errors
    /// When the ports are not known.
    pub fn sdk(&self, key: &str) -> anyhow::Result<kiven_aws::Sdk> {
        let of = |name: &str| self.port(name).map(|port| Some(format!("http://127.0.0.1:{port}")));
        Ok(kiven_aws::Sdk::new(&kiven_aws::Config {
            region: "eu-west-1".to_owned(),
            credentials: kiven_aws::Credentials::Static { access_key_id: key.to_owned(), secret_access_key: "local".to_owned(), session_token: None },
            endpoints: kiven_aws::Endpoints {
                dynamodb: of("dynamodb")?,
                sqs: of("sqs")?,
                s3: of("s3")?,
                sts: of("sts")?,
                iam: of("iam")?,
                eks: of("eks")?,
                ..kiven_aws::Endpoints::default()
            },
        }))
    }

    /// Living processes of this stack with a program's name.
    #[must_use]
    pub fn processes(&self, name: &str) -> Vec<Process> {
        processes::under(&self.base).into_iter().filter(|process| process.name == name).collect()
    }

    /// Asks every process of a program to end; answers how many there were.
    #[must_use]
    pub fn end_all(&self, name: &str) -> usize {
        let found = self.processes(name);
        found.iter().for_each(|process| processes::end(process.pid));
        found.len()
    }

    /// `kill -9` of every process of a program; answers how many there were.
    #[must_use]
    pub fn kill_all(&self, name: &str) -> usize {
        let found = self.processes(name);
        found.iter().for_each(|process| processes::kill(process.pid));
        found.len()
    }

    /// `kill -9` of the stack itself; its functions, relay, agent and PostgreSQL go on as they can.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same folder.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.launch().await
    }

    /// Arms a failpoint `process.point.detail`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn arm(&self, failpoint: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.failpoints().join(failpoint), "")?)
    }

    /// Takes a failpoint back; answers whether it was still armed.
    #[must_use]
    pub fn disarm(&self, failpoint: &str) -> bool {
        std::fs::remove_file(self.failpoints().join(failpoint)).is_ok()
    }

    /// The last lines of every log.
    #[must_use]
    pub fn tail(&self) -> String {
        let mut logs = vec![self.base.join("out.log")];
        logs.extend(std::fs::read_dir(self.state.join("logs")).into_iter().flatten().flatten().map(|entry| entry.path()));
        let mut shown = String::new();
        for log in logs {
            let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n");
            shown.push_str(&format!("--- {}\n{last}\n", log.display()));
        }
        shown
    }

    /// Ends everything and removes the folder.
    ///
    /// # Errors
    /// When processes are left.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.kill();
        for _ in 0..TEARDOWN_ROUNDS_MAX {
            let left = processes::under(&self.base);
            if left.is_empty() {
                return Ok(());
            }
            left.iter().for_each(|process| processes::kill(process.pid));
            tokio::time::sleep(POLL).await;
        }
        bail!("processes are left: {:?}", processes::under(&self.base));
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.kill();
        // Each round catches what the last one's victims had started.
        for _ in 0..TEARDOWN_ROUNDS_MAX {
            let left = processes::under(&self.base);
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|process| processes::kill(process.pid));
        }
        if variable("KIVEN_KEEP").is_none() {
            // What cannot be removed is in the system's temporary folder.
            let _ = std::fs::remove_dir_all(&self.base);
        }
    }
}
