//! The customer's cluster alone: its API server, its operator with real PostgreSQL, and what a kubelet gives the agent. For suites
//! whose Kiven and AWS are elsewhere; the agent is theirs to start.
use super::folder::Folder;
use super::keys::Keys;
use super::reach::Reach;
use super::{Options, cluster};
use crate::operator::{self, Postgres, User, find_pgbouncer};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// How long the agent's tokens are good: longer than any suite.
const TOKEN_SECONDS: i64 = 3_600;

/// Runs until a signal ends it; says what it is in `cluster.json` once it is ready. WAL and backups go to `s3`.
///
/// # Errors
/// One clear sentence when something is missing.
pub async fn run(options: &Options, s3: &str) -> anyhow::Result<()> {
    let postgres = Postgres::find(options.pg_bin_dir.as_deref(), &options.path, User::to_run_as("postgres")?).await?;
    let folder = Folder::open(&options.state, 0)?;
    let keys = Keys::open(&folder)?;
    let kube = cluster::start(&folder, &keys, postgres.major).await?;
    let operator = operator::start(operator::Config {
        kube: kube.clone(),
        postgres,
        state_dir: folder.root.join("cluster"),
        s3_endpoint: s3.to_owned(),
        archive_program: std::env::current_exe()?,
        pgbouncer: find_pgbouncer(&options.path),
        clock: kiven_fake_kube::system_clock(),
    })?;
    Reach::Own(kube.clone()).write_tokens(&folder, TOKEN_SECONDS).await?;
    let ready = json!({
        "kube_url": kube.url(), "kubeconfig": folder.path("run/agent-kubeconfig"), "kiven_token": folder.path("run/agent-kiven-token"),
    });
    folder.write("cluster.json", &ready.to_string(), 0o600)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    operator.stop().await;
    kube.stop().await;
    folder.remove("cluster.json");
    Ok(())
}
