//! The functions as they are shipped: one zip each for `provided.al2023`, built for the glibc that it has, and held to its size.
use crate::elf::newest_glibc;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The functions.
pub(crate) const FUNCTIONS: [&str; 5] = ["api", "worker", "sweep", "reports", "enrol"];
/// What Lambda calls an architecture, and what Rust calls it.
const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "x86_64-unknown-linux-gnu"), ("arm64", "aarch64-unknown-linux-gnu")];
/// The glibc of `provided.al2023`.
const GLIBC: (u32, u32) = (2, 34);
/// Largest zip, in bytes.
const ZIP_BYTES_MAX: usize = 6_000_000;
/// The profile in the root manifest.
const PROFILE: &str = "function";

/// What was made.
pub(crate) struct Packages {
    /// The folder of the zips, as the module `deploy` takes it.
    pub(crate) folder: PathBuf,
    /// The folder of the programs in the zips, of the last architecture.
    pub(crate) binaries: PathBuf,
    /// The architectures that are in it.
    pub(crate) architectures: Vec<&'static str>,
    /// Each zip's name and bytes.
    pub(crate) sizes: Vec<(String, usize)>,
    /// What could not be made, and why.
    pub(crate) skipped: Vec<String>,
}

/// Makes all that this machine can.
pub(crate) fn run() -> Result<()> {
    let made = make(None)?;
    made.skipped.iter().for_each(|skip| println!("skipped: {skip}"));
    println!("{} zips in {}", made.sizes.len(), made.folder.display());
    Ok(())
}

/// Makes the zips of every architecture, or of one, that this machine can build.
pub(crate) fn make(only: Option<&str>) -> Result<Packages> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(crate::root()).exec()?;
    let target = metadata.target_directory.into_std_path_buf();
    let folder = target.join("functions");
    std::fs::create_dir_all(&folder)?;
    let mut made = Packages { folder, binaries: PathBuf::new(), architectures: Vec::new(), sizes: Vec::new(), skipped: Vec::new() };
    for (architecture, triple) in ARCHITECTURES.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        match build(&target, architecture, triple)? {
            Ok(binaries) => {
                for function in FUNCTIONS {
                    pack(&binaries, function, architecture, &mut made)?;
                }
                made.binaries = binaries;
                made.architectures.push(architecture);
            }
            Err(why) => made.skipped.push(format!("package {architecture}: {why}")),
        }
    }
    ensure!(!made.architectures.is_empty(), "no architecture can be built here: {}", made.skipped.join("; "));
    Ok(made)
}

/// Builds the functions and answers their folder, or why this machine cannot.
fn build(target: &Path, architecture: &str, triple: &str) -> Result<Result<PathBuf, String>> {
    if !has_standard_library(triple)? {
        return Ok(Err(format!("this Rust has no standard library for it: `rustup target add {triple}`")));
    }
    let tools = crate::install::python_folder("cargo-zigbuild", crate::install::PACKAGING);
    let zig = tools.as_ref().is_ok_and(|folder| folder.join("bin/cargo-zigbuild").exists());
    let native = std::env::consts::ARCH == triple.split('-').next().unwrap_or_default();
    let mut command = Command::new(env!("CARGO"));
    match (zig, native) {
        (true, _) => {
            let bin = tools?.join("bin");
            let path = crate::install::path_with(bin)?;
            command.env("PATH", path).args(["zigbuild", "--target", &format!("{triple}.{}.{}", GLIBC.0, GLIBC.1)]);
        }
        // The linker of this machine: what it links against is checked below, as with the other.
        (false, true) => {
            println!("cargo-zigbuild is not installed (`cargo xtask install`), so the functions are linked against this machine's glibc");
            command.args(["build", "--target", triple]);
        }
        (false, false) => return Ok(Err("cargo-zigbuild is not installed: run `cargo xtask install`".to_owned())),
    }
    println!("building the functions for {architecture} (the first time takes minutes)");
    let status = command.args(["--profile", PROFILE, "--locked", "-p", "kiven-lambdas", "--bins"]).current_dir(crate::root()).status()?;
    ensure!(status.success(), "the functions do not build for {architecture}");
    Ok(Ok(target.join(triple).join(PROFILE)))
}

/// Whether this Rust can build for it.
pub(crate) fn has_standard_library(triple: &str) -> Result<bool> {
    let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).stderr(Stdio::null()).output()?;
    Ok(asked.status.success() && Path::new(String::from_utf8(asked.stdout)?.trim()).is_dir())
}

fn pack(binaries: &Path, function: &str, architecture: &str, made: &mut Packages) -> Result<()> {
    let path = binaries.join(format!("lambda-{function}"));
    let program = std::fs::read(&path).with_context(|| format!("{} is missing", path.display()))?;
    if let Some((major, minor)) = newest_glibc(&program).filter(|needed| *needed > GLIBC) {
        bail!("lambda-{function} needs GLIBC_{major}.{minor}, but provided.al2023 has {}.{}", GLIBC.0, GLIBC.1);
    }
    let zip = crate::zip::one_file("bootstrap", &program)?;
    let name = format!("lambda-{function}-{architecture}.zip");
    println!("{name:<28} {:>9} bytes  sha256 {}", zip.len(), hex(&Sha256::digest(&zip)));
    ensure!(zip.len() < ZIP_BYTES_MAX, "{name} has {} bytes, at most {ZIP_BYTES_MAX} are allowed", zip.len());
    std::fs::write(made.folder.join(&name), &zip)?;
    made.sizes.push((name, zip.len()));
    Ok(())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
