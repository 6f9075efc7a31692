//! The relay's process, alone.
use anyhow::{Context, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How often it is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(20);
/// Clock ticks of /proc in a second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// A running relay.
pub(crate) struct Relay {
    program: String,
    folder: PathBuf,
    records: u16,
    /// Where agents connect.
    pub(crate) port: u16,
    health: u16,
    child: Child,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn spawn(program: &str, folder: &Path, records: u16, port: u16, health: u16) -> anyhow::Result<Child> {
    let endpoint = format!("http://127.0.0.1:{records}");
    let path = |name: &str| folder.join(name).display().to_string();
    let log = std::fs::File::create(folder.join("relay.log"))?;
    Command::new(program)
        .env_clear()
        .envs([
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoint.clone()),
            ("AWS_ENDPOINT_URL_SQS", endpoint.clone()),
            ("AWS_ENDPOINT_URL_S3", endpoint.clone()),
            ("KIVEN_TABLE", "kiven".to_owned()),
            ("KIVEN_PAYLOAD_BUCKET", "kiven".to_owned()),
            ("KIVEN_METRICS_BUCKET", "kiven".to_owned()),
            ("KIVEN_REPORTS_URL", format!("{endpoint}/000000000000/reports")),
            ("KIVEN_RELAY_LISTEN", format!("127.0.0.1:{port}")),
            ("KIVEN_RELAY_HEALTH_LISTEN", format!("127.0.0.1:{health}")),
            ("KIVEN_RELAY_CERTIFICATE_PATH", path("relay.crt")),
            ("KIVEN_RELAY_KEY_PATH", path("relay.key")),
            ("KIVEN_CA_CERTIFICATE_PATH", path("ca.crt")),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("{program} cannot be started"))
}

impl Relay {
    /// Starts it.
    pub(crate) fn start(program: &str, folder: &Path, records: u16) -> anyhow::Result<Self> {
        let (port, health) = (free_port()?, free_port()?);
        let child = spawn(program, folder, records, port, health)?;
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), records, port, health, child })
    }

    /// Starts it where it was.
    pub(crate) fn again(mut self) -> anyhow::Result<Self> {
        self.child = spawn(&self.program, &self.folder, self.records, self.port, self.health)?;
        Ok(self)
    }

    /// Ends it as a broken machine would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it takes sessions.
    pub(crate) async fn await_ready(&mut self, most: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + most;
        while !self.is_ready().await {
            if self.child.try_wait()?.is_some() || Instant::now() >= deadline {
                let log = std::fs::read_to_string(self.folder.join("relay.log"))?;
                bail!("the relay is not ready: {}", log.lines().last().unwrap_or_default());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", self.health)).await else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").await.is_ok();
        asked && stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200")
    }

    /// Its memory, in KiB.
    pub(crate) fn rss_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the relay has no memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The processor's time that it has used.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(") ").context("the relay has no time")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Ok((ticks(11) + ticks(12)) as f64 / TICKS)
    }
}
