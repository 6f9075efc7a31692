//! The agent's process, alone.
use crate::kiven::Kiven;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks of /proc in a second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
/// Lines of its log that are shown when something does not come.
const TAIL: usize = 20;

/// A running agent; it ends with this value.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// Starts it with the files that [`crate::cluster::Cluster`] has written.
    pub(crate) fn start(program: &str, folder: &Path, kiven: &Kiven, statistics_seconds: u64) -> anyhow::Result<Self> {
        let path = |name: &str| folder.join(name).display().to_string();
        let log = folder.join(format!("agent-{statistics_seconds}.log"));
        let child = Command::new(program)
            .env_clear()
            .envs([
                ("KUBECONFIG", path("kubeconfig")),
                ("KIVEN_ENVIRONMENT_ID", kiven.environment.to_string()),
                ("KIVEN_RELAY_ADDRESS", format!("localhost:{}", kiven.relay.port())),
                ("KIVEN_API_URL", format!("http://{}", kiven.api)),
                ("KIVEN_TOKEN_PATH", path("token")),
                ("KIVEN_STATISTICS_SECONDS", statistics_seconds.to_string()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child, log })
    }

    /// What it said last.
    pub(crate) fn tail(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Memory in MiB.
    pub(crate) fn rss_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("the agent has ended")?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("the agent has no memory")? / 1024.0)
    }

    /// Seconds of CPU that it has used.
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("the agent has ended")?;
        let after = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        // proc(5): utime and stime are the fields 14 and 15; the third is the first after the name.
        let fields: Vec<f64> = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        let [user, system] = fields[..] else { bail!("/proc has another form") };
        Ok((user + system) / TICKS)
    }

    /// How many cores it keeps busy for a while.
    pub(crate) async fn cores_over(&self, time: Duration) -> anyhow::Result<f64> {
        let (began, before) = (Instant::now(), self.cpu_seconds()?);
        tokio::time::sleep(time).await;
        Ok((self.cpu_seconds()? - before) / began.elapsed().as_secs_f64())
    }
}
