//! Terraform (or OpenTofu) against one stack, with the provider under test in a filesystem mirror.
use crate::{Stack, cache, variable};
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long one run may take.
const RUN_MAX: Duration = Duration::from_secs(120);
/// The version under which the provider lies in the mirror.
const VERSION: &str = "0.1.0";

/// A module's folder, initialised.
#[derive(Debug)]
pub struct Terraform {
    program: PathBuf,
    /// The module's folder.
    pub folder: PathBuf,
    settings: PathBuf,
    config: PathBuf,
}

/// A run's end.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Both outputs.
    pub said: String,
}

/// Terraform or OpenTofu, or one sentence saying that a test is skipped.
#[must_use]
pub fn find(test: &str) -> Option<PathBuf> {
    let runs = |program: &Path| {
        std::process::Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let named = variable("KIVEN_TERRAFORM").map(PathBuf::from);
    let found =
        named.into_iter().chain(["terraform".into(), "tofu".into()]).chain(cache().map(|cache| cache.join("bin/tofu"))).find(|program| runs(program));
    if found.is_none() {
        println!("skipped: {test}: neither Terraform nor OpenTofu is installed (set KIVEN_TERRAFORM, put one on PATH, or run `cargo xtask install`)");
    }
    found
}

impl Terraform {
    /// Copies `examples/quickstart` beside the stack and initialises it.
    ///
    /// # Errors
    /// When `init` fails.
    pub async fn quickstart(program: PathBuf, stack: &Stack) -> anyhow::Result<Self> {
        let base = stack.base();
        let (folder, mirror, settings) = (base.join("quickstart"), base.join("mirror"), base.join("terraform.tfrc"));
        mirrored(&mirror, &stack.binaries.join("terraform-provider-kiven"))?;
        std::fs::write(
            &settings,
            format!("disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n"),
        )?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&source).with_context(|| format!("{} is missing", source.display()))?.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "tf") {
                std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
        }
        let terraform = Self { program, folder, settings, config: stack.config() };
        terraform.ok(&["init", "-input=false"]).await?;
        Ok(terraform)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.env("TF_CLI_CONFIG_FILE", &self.settings).env("XDG_CONFIG_HOME", &self.config).env("TF_IN_AUTOMATION", "1").env("NO_COLOR", "1");
        command.env("TF_CLI_ARGS", "-no-color").env_remove("KIVEN_ENDPOINT").env_remove("KIVEN_API_KEY");
        command
    }

    /// Starts a run; its output is in a file of the folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let output = std::fs::File::create(self.folder.join("spawned.log"))?;
        Ok(self.command(arguments).stdout(output.try_clone()?).stderr(output).spawn()?)
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let output = tokio::time::timeout(RUN_MAX, self.command(arguments).output()).await;
        let output = output.with_context(|| format!("terraform {arguments:?} took more than {RUN_MAX:?}"))??;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok(Ran { code: output.status.code(), said })
    }

    /// Runs to a good end and answers what was said.
    ///
    /// # Errors
    /// With what was said when the end was not good.
    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let ran = self.run(arguments).await?;
        ensure!(ran.code == Some(0), "terraform {arguments:?} ended with {:?}:\n{}", ran.code, ran.said);
        Ok(ran.said)
    }

    /// Applies, with power on or off.
    ///
    /// # Errors
    /// See [`Terraform::ok`].
    pub async fn apply(&self, power: &str) -> anyhow::Result<String> {
        self.ok(&["apply", "-auto-approve", "-input=false", "-var", &format!("power={power}")]).await
    }

    /// Proves that a plan says "No changes".
    ///
    /// # Errors
    /// With the plan when there are some.
    pub async fn clean(&self, power: &str) -> anyhow::Result<()> {
        let ran = self.run(&["plan", "-detailed-exitcode", "-input=false", "-var", &format!("power={power}")]).await?;
        match ran.code {
            Some(0) => Ok(()),
            code => bail!("the plan is not clean ({code:?}):\n{}", ran.said),
        }
    }
}

/// Puts the provider where both clients' default registries would have it.
fn mirrored(mirror: &Path, provider: &Path) -> anyhow::Result<()> {
    let architecture = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };
    for host in ["registry.terraform.io", "registry.opentofu.org"] {
        let folder = mirror.join(host).join("kiven/kiven").join(VERSION).join(architecture);
        std::fs::create_dir_all(&folder)?;
        let copy = folder.join(format!("terraform-provider-kiven_v{VERSION}"));
        std::fs::copy(provider, &copy).with_context(|| format!("{} is missing", provider.display()))?;
    }
    Ok(())
}
