//! The suite `deploy`: the module `deploy/` applied with the real zips to an emulated AWS.
use crate::local::is_root;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the suite starts beside Terraform and the emulation.
const PACKAGES: [&str; 3] = ["kiven-local", "kiven-relay", "kiven-agent"];

/// Runs the suite, in a mount namespace where a file of ours lies over /etc/hosts: the deployed names lead to this
/// machine there, and nothing else on the machine sees it. An error says in one sentence why this machine cannot.
pub(crate) fn suite(mirror: &Path, run: impl FnOnce(&mut Command) -> Result<()>) -> Result<()> {
    let made = crate::package::make(Some("x86_64"))?;
    let mut build = Command::new(env!("CARGO"));
    build.arg("build").arg("--bins").current_dir(crate::root());
    for package in PACKAGES {
        build.args(["-p", package]);
    }
    ensure!(build.status()?.success(), "the build failed");
    let namespace = if is_root() { "-m" } else { "-rm" };
    let tried = Command::new("unshare").args([namespace, "true"]).status();
    ensure!(
        tried.is_ok_and(|status| status.success()),
        "this machine gives no mount namespace (`unshare {namespace} true`), so names cannot be resolved"
    );
    let hosts = hosts()?;
    let mut command = Command::new("unshare");
    command.args([namespace, "sh", "-c", "mount --bind \"$KIVEN_HOSTS\" /etc/hosts && exec \"$@\"", "sh", env!("CARGO")]);
    command.args(["test", "-p", "kiven-tests", "--test", "deploy", "--", "--nocapture"]);
    command.env("KIVEN_HOSTS", &hosts).env("KIVEN_PACKAGES", made.folder).env("KIVEN_PROVIDER_MIRROR", mirror).current_dir(crate::root());
    let ran = run(&mut command);
    std::fs::remove_file(&hosts).context("the file of names cannot be removed")?;
    ran
}

/// A copy of the machine's own names, to which the suite adds.
fn hosts() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("kiven-hosts-{}", std::process::id()));
    std::fs::copy("/etc/hosts", &path).context("there is no /etc/hosts")?;
    Ok(path)
}
