//! The long-lived processes beside this one: started again when they end, ended when a former stack left them behind.
use super::Options;
use super::backend::{Backend, DUE_SHARDS, METRICS_BUCKET, aws_environment, sibling};
use super::folder::Folder;
use crate::aws::Endpoints;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Pause before a process that ended is started again.
const RESTART: Duration = Duration::from_millis(200);
/// How often, and how long, a port is tried.
const PORT_LOOK: Duration = Duration::from_millis(10);
const PORT_LOOKS_MAX: u32 = 1_000;

/// Starts a program and starts it again whenever it ends, until the task is aborted, which ends the program.
pub(crate) fn supervise(folder: &Folder, name: &str, program: PathBuf, environment: BTreeMap<String, String>) -> JoinHandle<()> {
    let (name, log, pid_file) = (name.to_owned(), folder.path(&format!("logs/{name}.jsonl")), folder.path(&format!("run/{name}.pid")));
    tokio::spawn(async move {
        loop {
            match run_once(&program, &environment, &log, &pid_file).await {
                Ok(status) => tracing::warn!(name, %status, "a process ended and is started again"),
                Err(error) => tracing::error!(name, error = format!("{error:#}"), "a process cannot be started"),
            }
            tokio::time::sleep(RESTART).await;
        }
    })
}

async fn run_once(program: &Path, environment: &BTreeMap<String, String>, log: &Path, pid_file: &Path) -> anyhow::Result<std::process::ExitStatus> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = tokio::process::Command::new(program);
    command.env_clear().envs(environment).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(pid) = child.id() {
        std::fs::write(pid_file, format!("{pid}\n{}", program.display()))?;
    }
    Ok(child.wait().await?)
}

/// Ends what a stack that was killed has left behind.
pub(crate) fn end_leftovers(folder: &Folder) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder.path("run"))?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "pid") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        if let Some((pid, program)) = text.split_once('\n') {
            let running = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
            // A rebuilt program shows as deleted; another program that got the number shows as itself.
            if running.is_some_and(|exe| exe.display().to_string().starts_with(program)) {
                std::process::Command::new("kill").args(["-KILL", pid]).status()?;
            }
        }
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

/// Starts the relay.
pub(crate) fn relay(folder: &Folder, endpoints: &Endpoints, backend: &Backend, options: &Options) -> JoinHandle<()> {
    let mut environment = aws_environment(endpoints, options);
    let path = |name: &str| folder.path(name).display().to_string();
    environment.extend(
        [
            ("KIVEN_RELAY_LISTEN", format!("127.0.0.1:{}", folder.ports.relay)),
            ("KIVEN_RELAY_CERTIFICATE_PATH", path("secrets/relay.crt")),
            ("KIVEN_RELAY_KEY_PATH", path("secrets/relay.key")),
            ("KIVEN_CA_CERTIFICATE_PATH", path("secrets/ca.crt")),
            ("KIVEN_REPORTS_URL", backend.reports_url.clone()),
            ("KIVEN_METRICS_BUCKET", METRICS_BUCKET.to_owned()),
            ("KIVEN_DUE_SHARDS", DUE_SHARDS.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let program = sibling("kiven-relay").unwrap_or_default();
    supervise(folder, "relay", program, environment)
}

/// Waits until somebody listens.
pub(crate) async fn await_port(port: u16) -> anyhow::Result<()> {
    for _ in 0..PORT_LOOKS_MAX {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PORT_LOOK).await;
    }
    let context = "look at `logs/relay.jsonl` in the state folder";
    Err(anyhow::anyhow!("nobody listens on port {port}")).context(context).or_else(|error| bail!("the relay did not start: {error:#}"))
}
