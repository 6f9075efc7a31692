//! Generated code: committed, made again by `cargo xtask gen`, and compared by `cargo xtask gen --check`.
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// The API's document, printed by an example of its crate, so that neither xtask nor any function carries the generator.
const DOCUMENT: &str = "crates/api/openapi.json";
const GENERATED: &str = "proto/src/generated";
const FILE: &str = "kiven.agent.v1.rs";

/// Generates into the tree, or compares with what is there.
pub(crate) fn run(check: bool) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("kiven-gen-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let made = generate(&scratch);
    let fresh = made.and_then(|()| std::fs::read_to_string(scratch.join(FILE)).context("nothing was generated"));
    std::fs::remove_dir_all(&scratch)?;
    settle(check, &Path::new(GENERATED).join(FILE), &fresh?, "the .proto")?;
    settle(check, Path::new("onboarding-module/README.md"), &crate::audit::readme()?, "the table of permissions")?;
    settle(check, Path::new(DOCUMENT), &document()?, "the table of routes")?;
    crate::provider_docs::generate(check)
}

/// Writes what was generated, or compares it with what is committed.
pub(crate) fn settle(check: bool, target: &Path, fresh: &str, source: &str) -> Result<()> {
    if check {
        let committed = std::fs::read_to_string(target).unwrap_or_default();
        ensure!(committed == fresh, "{} is not what {source} gives: run `cargo xtask gen`", target.display());
        return Ok(());
    }
    std::fs::create_dir_all(target.parent().context("no folder for generated code")?)?;
    std::fs::write(target, fresh).with_context(|| format!("cannot write {}", target.display()))
}

fn document() -> Result<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "-p", "kiven-api", "--example", "openapi"]).current_dir(crate::root()).stderr(Stdio::inherit());
    let printed = cargo.output().context("cargo cannot be started")?;
    ensure!(printed.status.success(), "the OpenAPI document cannot be made");
    String::from_utf8(printed.stdout).context("the OpenAPI document is not UTF-8")
}

fn generate(out: &Path) -> Result<()> {
    let files = protox::compile(["proto/kiven/agent/v1/agent.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::LeanCodec")
        .out_dir(out)
        .compile_fds(files)
        .context("the contract cannot be compiled")?;
    // Formatted like everything else, so that `cargo fmt` leaves it alone.
    let formatted = Command::new("rustfmt").args(["--edition", "2024", "--config-path", "."]).arg(out.join(FILE)).status()?;
    ensure!(formatted.success(), "rustfmt failed on the generated code");
    Ok(())
}
