//! What everything is held against: a plain PostgreSQL of the same build on the same machine, restarted by hand.
use crate::writer::{Target, Writer};
use anyhow::{Context, ensure};
use kiven_tests::Stack;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A plain server in a folder of its own, run by the user that runs the stack's servers.
pub struct Plain {
    bin: PathBuf,
    base: PathBuf,
    owner: (u32, u32),
}

impl Plain {
    /// Makes and starts it with the programs of a running server of the stack.
    pub fn start(stack: &Stack) -> anyhow::Result<Self> {
        let server = stack.processes("postgres").into_iter().next().context("the stack runs no PostgreSQL")?;
        let process = PathBuf::from(format!("/proc/{}", server.pid));
        let program = std::fs::read_link(process.join("exe"))?;
        let owner = std::fs::metadata(&process)?;
        let plain = Self {
            bin: program.parent().context("the program has no folder")?.to_owned(),
            base: stack.base().join("plain"),
            owner: (owner.uid(), owner.gid()),
        };
        std::fs::create_dir(&plain.base)?;
        std::fs::set_permissions(&plain.base, std::fs::Permissions::from_mode(0o777))?;
        plain.run("initdb", &["-D", &plain.data(), "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"])?;
        plain.control("start")?;
        Ok(plain)
    }

    /// How long writes stop while it restarts.
    pub async fn restart_gap(&self) -> anyhow::Result<Duration> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.base).user("postgres").dbname("postgres");
        let writer = Writer::start(Target { config, authority: None }, "writes").await?;
        ensure!(writer.settle().await, "nobody writes into the plain server");
        self.control("restart")?;
        let gap = writer.gap().await;
        writer.stop().await?;
        self.control("stop")?;
        Ok(gap)
    }

    fn data(&self) -> String {
        self.base.join("data").display().to_string()
    }

    fn control(&self, what: &str) -> anyhow::Result<()> {
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{}'", self.base.display());
        let log = self.base.join("log").display().to_string();
        self.run("pg_ctl", &[what, "-D", &self.data(), "-w", "-s", "-m", "fast", "-o", &options, "-l", &log])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = self.bin.join(program);
        let mut command = if self.owner.0 == std::fs::metadata(Path::new("/proc/self"))?.uid() {
            Command::new(&program)
        } else {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &self.owner.0.to_string(), "--regid", &self.owner.1.to_string(), "--clear-groups"]).arg(&program);
            command
        };
        let status = command.args(arguments).current_dir(&self.base).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{} {arguments:?} failed", program.display());
        Ok(())
    }
}
