//! Generated code: committed, made again by `cargo xtask gen`, and compared by `cargo xtask gen --check`.
use anyhow::{Context, Result, ensure};
use std::path::Path;

const GENERATED: &str = "proto/src/generated";
const FILE: &str = "kiven.agent.v1.rs";

/// Generates into the tree, or compares with what is there.
pub(crate) fn run(check: bool) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("kiven-gen-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let made = generate(&scratch);
    let fresh = made.and_then(|()| std::fs::read_to_string(scratch.join(FILE)).context("nothing was generated"));
    std::fs::remove_dir_all(&scratch)?;
    let (fresh, target) = (fresh?, Path::new(GENERATED).join(FILE));
    if !check {
        std::fs::create_dir_all(GENERATED)?;
        return std::fs::write(&target, fresh).context("cannot write the generated code");
    }
    let committed = std::fs::read_to_string(&target).unwrap_or_default();
    ensure!(committed == fresh, "{} is not what the .proto gives: run `cargo xtask gen`", target.display());
    Ok(())
}

fn generate(out: &Path) -> Result<()> {
    let files = protox::compile(["proto/kiven/agent/v1/agent.proto"], ["proto"])?;
    tonic_prost_build::configure().out_dir(out).compile_fds(files).context("the contract cannot be compiled")?;
    // Formatted like everything else, so that `cargo fmt` leaves it alone.
    let formatted = std::process::Command::new("rustfmt").args(["--edition", "2024", "--config-path", "."]).arg(out.join(FILE)).status()?;
    ensure!(formatted.success(), "rustfmt failed on the generated code");
    Ok(())
}
