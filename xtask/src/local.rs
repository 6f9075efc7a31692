//! The local stack for a demo or a measurement: built, started in a folder of its own, ended, removed.
use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Everything that the stack runs.
const PACKAGES: [&str; 6] = ["kiven-local", "kiven-lambdas", "kiven-relay", "kiven-agent", "kiven-terraform-provider", "kiven-cli"];
/// How long the stack may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long it may take to end.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Builds every binary and answers their folder.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.arg("build").arg("--bins").current_dir(crate::root());
    if release {
        command.arg("--release");
    }
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    println!("building Kiven (the first time takes a few minutes)");
    anyhow::ensure!(command.status()?.success(), "the build failed");
    Ok(target()?.join(if release { "release" } else { "debug" }))
}

/// Builds the named targets as they are shipped; the folder of their binaries.
pub(crate) fn release_of(targets: &[&str]) -> Result<PathBuf> {
    built("release", targets)
}

/// Builds the named targets under a profile; the folder of their binaries.
pub(crate) fn built(profile: &str, targets: &[&str]) -> Result<PathBuf> {
    let status = Command::new(env!("CARGO")).args(["build", "--profile", profile]).args(targets).current_dir(crate::root()).status()?;
    anyhow::ensure!(status.success(), "the build failed");
    Ok(target()?.join(profile))
}

fn target() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(crate::root()).exec()?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// A running stack.
pub(crate) struct Stack {
    child: Child,
    /// Everything of it.
    pub(crate) folder: PathBuf,
    /// `kiven-local`.
    program: PathBuf,
    /// What it says of itself.
    pub(crate) ready: serde_json::Value,
    /// From start to ready as seen from outside.
    pub(crate) ready_ms: u128,
}

impl Stack {
    /// Starts it in a folder of its own, which PostgreSQL's user can reach; in virtual time that begins at `clock` where it is given.
    pub(crate) fn start(binaries: &Path, clock: Option<Timestamp>) -> Result<Self> {
        Self::start_with(binaries, clock, &[])
    }

    /// The same with these environment variables.
    pub(crate) fn start_with(binaries: &Path, clock: Option<Timestamp>, environment: &[(&str, String)]) -> Result<Self> {
        let base = if is_root() { PathBuf::from("/var/lib") } else { std::env::temp_dir() };
        let folder = base.join(format!("kiven-demo-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("config"))?;
        let began = Instant::now();
        let child = Command::new(binaries.join("kiven-local"))
            .args(["dev", "--state"])
            .arg(folder.join("state"))
            .args(clock.iter().flat_map(|time| ["--clock".to_owned(), time.to_string()]))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .spawn()
            .context("kiven-local cannot be started")?;
        let mut stack = Self { child, folder, program: binaries.join("kiven-local"), ready: serde_json::Value::Null, ready_ms: 0 };
        while began.elapsed() < READY_MAX {
            if let Some(status) = stack.child.try_wait()? {
                bail!("kiven-local ended ({status})");
            }
            let said = std::fs::read_to_string(stack.state().join("stack.json")).ok();
            if let Some(ready) = said.and_then(|text| serde_json::from_str(&text).ok()) {
                stack.ready = ready;
                stack.ready_ms = began.elapsed().as_millis();
                return Ok(stack);
            }
            pause(10);
        }
        bail!("kiven-local was not ready within {} s: look at {}", READY_MAX.as_secs(), stack.state().join("logs").display())
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn config_home(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// What makes a program read the stack's clock; nothing in real time.
    pub(crate) fn clock_environment(&self) -> Vec<(String, String)> {
        let pairs = self.ready["clock"].as_object().into_iter().flatten();
        pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// What the stack's virtual clock shows.
    pub(crate) fn clock(&self) -> Result<Timestamp> {
        self.clock_command(&[])
    }

    /// Moves the stack's virtual clock on.
    pub(crate) fn clock_set(&self, time: Timestamp) -> Result<()> {
        self.clock_command(&["set", &time.to_string()]).map(drop)
    }

    fn clock_command(&self, arguments: &[&str]) -> Result<Timestamp> {
        let output = Command::new(&self.program).args(["dev", "clock"]).args(arguments).arg("--state").arg(self.state()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8_lossy(&output.stdout).trim().parse().context("the clock shows no time")
    }

    /// One of the API's answers.
    pub(crate) fn api_get(&self, path: &str) -> Result<serde_json::Value> {
        let key = std::fs::read_to_string(self.state().join("secrets/api-key"))?;
        let url = self.ready["api_url"].as_str().context("the stack names no API")?;
        let output = Command::new("curl").args(["-sf", "-H", &format!("Authorization: Bearer {key}"), &format!("{url}{path}")]).output()?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("GET {path} cannot be read"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and removes its folder.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()?;
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    fn end(&mut self) -> Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let began = Instant::now();
        while began.elapsed() < STOP_MAX {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            pause(20);
        }
        self.child.kill().context("kiven-local does not end")
    }
}

impl Drop for Stack {
    /// A failed run leaves its folder for whoever looks, but no process.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let ended = self.end();
            for pid in crate::measure::postgres_under(&self.folder) {
                let stopped = Command::new("kill").args(["-INT", &pid.to_string()]).status();
                eprintln!("ended PostgreSQL {pid}: {}", stopped.is_ok());
            }
            eprintln!("the stack ended ({}); its state is left in {}", ended.is_ok(), self.folder.display());
        }
    }
}

pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0"))
}

/// A short pause between two looks.
pub(crate) fn pause(milliseconds: u64) {
    #[expect(clippy::disallowed_methods, reason = "xtask waits for processes")]
    std::thread::sleep(Duration::from_millis(milliseconds));
}
