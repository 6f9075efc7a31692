//! DynamoDB Local: Amazon's own emulation, the oracle of the store's contract. It comes from Maven Central by its name.
use crate::{POLL, cache};
use anyhow::{Context, bail};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The list with the pinned version.
const POM: &str = include_str!("../dynamodb-local/pom.xml");
/// How long a start may take: a JVM.
const READY_MAX: Duration = Duration::from_secs(60);

/// The version in the list.
fn version() -> &'static str {
    POM.split_once("<artifactId>DynamoDBLocal</artifactId>")
        .and_then(|(_, rest)| rest.split_once("<version>"))
        .and_then(|(_, rest)| rest.split_once("</version>"))
        .map_or("", |(version, _)| version)
}

/// The folder with DynamoDB Local's classes, or one sentence saying that a test is skipped.
#[must_use]
pub fn find(test: &str) -> Option<PathBuf> {
    let folder = cache().map(|cache| cache.join(format!("dynamodb-local-{}", version()))).filter(|folder| folder.join("installed").exists());
    let java = std::process::Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if folder.is_none() || !java {
        println!("skipped: {test}: DynamoDB Local {} is not installed (run `cargo xtask install`, which needs Java and Maven)", version());
        return None;
    }
    folder
}

/// A running DynamoDB Local; it ends with its holder.
#[derive(Debug)]
pub struct DynamoDbLocal {
    /// Where it answers.
    pub url: String,
    _child: Child,
}

impl DynamoDbLocal {
    /// Starts it in memory and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn start(folder: &std::path::Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new("java");
        command.arg(format!("-Djava.library.path={}", folder.join("lib").display())).env("DDB_LOCAL_TELEMETRY", "0");
        command.args(["-Xmx256m", "-cp"]).arg(format!("{}/lib/*", folder.display()));
        command.args(["com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-inMemory", "-disableTelemetry", "-port", &port.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let deadline = Instant::now() + READY_MAX;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if child.try_wait()?.is_some() || Instant::now() >= deadline {
                let output = child.wait_with_output().await.context("DynamoDB Local cannot be asked")?;
                bail!("DynamoDB Local does not answer: {}", String::from_utf8_lossy(&output.stderr));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Self { url: format!("http://127.0.0.1:{port}"), _child: child })
    }
}
