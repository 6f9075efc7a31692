//! The real client on a scratch copy of an example, with our provider from a filesystem mirror, as a user has it.
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The default registries of both clients.
const HOSTS: [&str; 2] = ["registry.terraform.io", "registry.opentofu.org"];
/// The oldest client that knows provider functions.
const OLDEST: (u32, u32) = (1, 8);

/// A client in a working folder.
pub(crate) struct Terraform {
    program: PathBuf,
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

/// Where a client that we built is kept.
pub(crate) fn own_client() -> PathBuf {
    crate::install::cache().join("bin/tofu")
}

/// Terraform or OpenTofu, 1.8 or newer: `KIVEN_TERRAFORM`, the PATH, or the one that we built.
pub(crate) fn find() -> Result<PathBuf> {
    let named = std::env::var_os("KIVEN_TERRAFORM").map(PathBuf::from);
    let candidates = named.into_iter().chain(["terraform".into(), "tofu".into(), own_client()]);
    candidates
        .into_iter()
        .find(|program| version(program).is_some_and(|version| version >= OLDEST))
        .context("Terraform or OpenTofu 1.8 or newer is needed: put one on the PATH, or run `cargo xtask install`")
}

/// A client's settings that take providers from this mirror and from nowhere else.
pub(crate) fn mirror_alone(mirror: &Path) -> String {
    format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n", mirror.display())
}

/// Whether a module is valid and its own tests pass, on a copy of these folders of it.
pub(crate) fn module_holds(terraform: &Path, mirror: &Path, module: &str, folders: &[&str]) -> Result<bool> {
    let scratch = std::env::temp_dir().join(format!("kiven-{module}-{}", std::process::id()));
    for folder in folders {
        std::fs::create_dir_all(scratch.join(folder))?;
        for entry in std::fs::read_dir(crate::root().join(module).join(folder))?.flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), scratch.join(folder).join(entry.file_name()))?;
        }
    }
    let settings = scratch.join("terraformrc");
    std::fs::write(&settings, mirror_alone(mirror))?;
    let run = |arguments: &[&str]| {
        Command::new(terraform).arg(format!("-chdir={}", scratch.display())).args(arguments).env("TF_CLI_CONFIG_FILE", &settings).status()
    };
    let good = run(&["init", "-backend=false", "-input=false"])?.success() && run(&["validate"])?.success() && run(&["test"])?.success();
    std::fs::remove_dir_all(&scratch).context("the scratch folder cannot be removed")?;
    Ok(good)
}

/// Copies the files of a folder that end like this.
fn copy(from: &Path, to: &Path, extension: &str) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            std::fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).args(["version", "-json"]).env_remove("TF_CLI_CONFIG_FILE").stderr(Stdio::null()).output().ok()?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let mut parts = said["terraform_version"].as_str()?.split('.').map_while(|part| part.parse().ok());
    Some((parts.next()?, parts.next()?))
}

impl Terraform {
    /// Copies an example into `folder` for this client and makes the mirror beside it.
    pub(crate) fn prepare(program: PathBuf, folder: &Path, example: &str, provider: &Path, config_home: &Path) -> Result<Self> {
        let work = folder.join("work");
        std::fs::create_dir_all(&work)?;
        let example = crate::root().join("examples").join(example);
        copy(&example, &work, "tf").with_context(|| format!("there is no example {}", example.display()))?;
        let tests = example.join("tests");
        if tests.is_dir() {
            std::fs::create_dir_all(work.join("tests"))?;
            copy(&tests, &work.join("tests"), "hcl")?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let mirror = folder.join("mirror");
        for host in HOSTS {
            let place = mirror.join(host).join("kiven/kiven").join(version).join("linux_amd64");
            let place = if cfg!(target_arch = "aarch64") { place.with_file_name("linux_arm64") } else { place };
            std::fs::create_dir_all(&place)?;
            std::fs::copy(provider, place.join(format!("terraform-provider-kiven_v{version}")))?;
        }
        let rc = folder.join("terraformrc");
        std::fs::write(&rc, mirror_alone(&mirror))?;
        let environment = [
            ("TF_CLI_CONFIG_FILE", rc.display().to_string()),
            ("XDG_CONFIG_HOME", config_home.display().to_string()),
            ("TF_IN_AUTOMATION", "1".to_owned()),
            ("CHECKPOINT_DISABLE", "1".to_owned()),
        ];
        Ok(Self { program, folder: work, environment: environment.map(|(name, value)| (name.to_owned(), value)).into() })
    }

    /// The provider sees these variables too.
    pub(crate) fn with_environment(mut self, more: Vec<(String, String)>) -> Self {
        self.environment.extend(more);
        self
    }

    /// What makes a client find the provider and the stack.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env_remove("KIVEN_ENDPOINT").env_remove("KIVEN_API_KEY");
        command
    }

    /// Runs to a good end, showing what the client says.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<()> {
        let status = self.command(arguments).status().context("the client cannot be started")?;
        ensure!(status.success(), "`{} {}` failed", self.program.display(), arguments.join(" "));
        Ok(())
    }

    /// Whether a plan finds nothing to do.
    pub(crate) fn no_changes(&self, variables: &[&str]) -> Result<bool> {
        let arguments = [&["plan", "-input=false", "-detailed-exitcode"], variables].concat();
        match self.command(&arguments).status()?.code() {
            Some(0) => Ok(true),
            Some(2) => Ok(false),
            _ => bail!("the plan failed"),
        }
    }

    /// One output, as it is.
    pub(crate) fn output(&self, name: &str) -> Result<String> {
        let output = self.command(&["output", "-raw", name]).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "there is no output `{name}`");
        Ok(String::from_utf8(output.stdout)?)
    }
}
