//! The suite `provider`: the framework and Kiven's provider under the real clients, and under HashiCorp's test tool.
use crate::local::{Stack, build};
use crate::suites::{Count, cargo_test_with, one};
use crate::terraform::Terraform;
use anyhow::{Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Applies that the whole suite interrupts; in `cargo xtask test` it is the test's own few.
const INTERRUPTS: u32 = 50;

/// As part of all suites: Terraform or what is there, HashiCorp's test tool, and a smoke test of OpenTofu where it is there.
pub(crate) fn run(count: &mut Count) -> Result<()> {
    let client = crate::terraform::find()?;
    under(count, &client, &[])?;
    let tofu = crate::install::tofu_if_there();
    match tofu.filter(|tofu| *tofu != client) {
        Some(tofu) => {
            let client = [("TFPLUGIN_CLIENT", tofu.display().to_string())];
            cargo_test_with(
                count,
                &["-p", "kiven-tfplugin", "--test", "clients", "--", "--nocapture", "--test-threads", "1", "everything", "identity"],
                &client,
            )?;
            cargo_test_with(
                count,
                &["-p", "kiven-terraform-provider", "--test", "terraform", "--", "--nocapture", "agent_tokens", "functions"],
                &client,
            )?;
        }
        None => count.skipped.push("OpenTofu beside Terraform: it is not installed (`cargo xtask install --client tofu` builds it)".to_owned()),
    }
    documents(count);
    acceptance(count, &client)
}

/// The provider's documents under HashiCorp's own checker.
fn documents(count: &mut Count) {
    println!("-- tfplugindocs");
    match crate::provider_docs::validate() {
        Ok(Ok(())) => count.passed += 1,
        Ok(Err(why)) => count.skipped.push(why),
        Err(error) => {
            println!("{error:#}");
            count.failed += 1;
        }
    }
}

/// On demand: everything under one client, by default the one that is found, with every interrupt.
pub(crate) fn whole(client: Option<&str>) -> Result<()> {
    let program = match client {
        None => crate::terraform::find()?,
        Some("terraform") => PathBuf::from("terraform"),
        Some("tofu") => crate::install::tofu()?,
        Some(other) => bail!("there is no client `{other}`: terraform, tofu"),
    };
    let mut count = Count::default();
    under(&mut count, &program, &[("TFPLUGIN_INTERRUPTS", INTERRUPTS.to_string())])?;
    acceptance(&mut count, &program)?;
    count.skipped.iter().for_each(|skip| println!("skipped: {skip}"));
    println!("provider under {}: {} passed, {} failed, {} skipped", program.display(), count.passed, count.failed, count.skipped.len());
    ensure!(count.failed == 0, "{} tests failed", count.failed);
    Ok(())
}

/// The framework's tests and the provider's, each with this client. One at a time, so that a skip has a line of its own.
fn under(count: &mut Count, client: &Path, more: &[(&str, String)]) -> Result<()> {
    let mut environment = vec![("TFPLUGIN_CLIENT", client.display().to_string())];
    environment.extend_from_slice(more);
    cargo_test_with(count, &["-p", "kiven-tfplugin", "--", "--nocapture"], &environment)?;
    cargo_test_with(count, &["-p", "kiven-terraform-provider", "--", "--nocapture"], &environment)
}

/// HashiCorp's terraform-plugin-testing on our binary: create, import-verify, update, expected errors, of each resource.
fn acceptance(count: &mut Count, client: &Path) -> Result<()> {
    if !crate::install::has_go() {
        count.skipped.push("terraform-plugin-testing: there is no Go".to_owned());
        return Ok(());
    }
    let binaries = build(false)?;
    let stack = Stack::start(&binaries, None)?;
    let provider = binaries.join("terraform-provider-kiven");
    let terraform = Terraform::prepare(client.to_path_buf(), &stack.folder, "quickstart", &provider, &stack.config_home())?;
    let result = one(
        count,
        "terraform-plugin-testing",
        Command::new("go")
            .arg("-C")
            .arg(crate::root().join(ACCEPTANCE))
            .args(["test", "-count=1", "-v", "./..."])
            .envs(terraform.environment())
            .env("GOFLAGS", "-mod=mod")
            .env("TF_ACC", "1")
            .env("TF_ACC_TERRAFORM_PATH", which(client)?)
            .env("TF_ACC_PROVIDER_NAMESPACE", "kiven"),
    );
    let tested = result.and_then(|()| terraform.run(&["init", "-input=false"])).map(|()| {
        println!("-- terraform test examples/quickstart");
        count.judge("terraform test", terraform.run(&["test"]).is_ok());
    });
    stack.stop()?;
    tested
}

/// The Go module of the acceptance tests.
const ACCEPTANCE: &str = "terraform-provider/tests/acceptance";

/// A program's whole path.
fn which(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        return Ok(program.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file());
    found.ok_or_else(|| anyhow::anyhow!("{} is not on the PATH", program.display()))
}
