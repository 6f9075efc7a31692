//! The provider as the registry wants it: a zip for each platform, checksums, their signature, and the manifest.
//!
//! `KIVEN_RELEASE_KEY` names the key that gpg signs with; without it the signature is skipped by name.
use crate::elf::{libraries, newest_glibc};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "kiven-terraform-provider";
const NAME: &str = "terraform-provider-kiven";
/// What the registry calls a platform, and what Rust calls it.
const PLATFORMS: [(&str, &str); 2] = [("linux_amd64", "x86_64-unknown-linux-gnu"), ("linux_arm64", "aarch64-unknown-linux-gnu")];
/// The oldest glibc that it must run with: that of RHEL 7 and everything since.
const GLIBC: (u32, u32) = (2, 17);
/// glibc's own libraries; nothing else may be asked for.
const LIBRARIES: [&str; 8] =
    ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
/// The protocol that the registry tells clients of.
const PROTOCOL: &str = "6.0";
/// Largest binary, in bytes.
const BINARY_BYTES_MAX: usize = 10_000_000;
const HOSTS: [&str; 2] = ["registry.terraform.io", "registry.opentofu.org"];

/// Makes the release of one thing.
pub(crate) fn run(what: &str) -> Result<()> {
    ensure!(what == "provider", "there is no release of `{what}`: provider");
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(crate::root()).exec()?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == PACKAGE).context("the provider's package is missing")?;
    let (version, target) = (package.version.to_string(), metadata.target_directory.into_std_path_buf().join("release-provider"));
    let folder = target.join("registry").join(&version);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let mut skipped = Vec::new();
    let mut sums = String::new();
    for (platform, triple) in PLATFORMS {
        let Some(program) = build(&target, triple)? else {
            skipped.push(format!("release {platform}: this Rust has no standard library for it: `rustup target add {triple}`"));
            continue;
        };
        let bytes = std::fs::read(&program).with_context(|| format!("{} is missing", program.display()))?;
        hold(&bytes, platform)?;
        if std::env::consts::ARCH == triple.split('-').next().unwrap_or_default() {
            println!("{NAME} starts in {:.1} ms", crate::provider_bench::start_ms(&program)?);
        }
        let zip = crate::zip::one_file(&format!("{NAME}_v{version}"), &bytes)?;
        put(&folder, &format!("{NAME}_{version}_{platform}.zip"), &zip, &mut sums)?;
    }
    ensure!(!sums.is_empty(), "no platform can be built here: {}", skipped.join("; "));
    let manifest = format!("{:#}\n", serde_json::json!({ "version": 1, "metadata": { "protocol_versions": [PROTOCOL] } }));
    put(&folder, &format!("{NAME}_{version}_manifest.json"), manifest.as_bytes(), &mut sums)?;
    let list = folder.join(format!("{NAME}_{version}_SHA256SUMS"));
    std::fs::write(&list, sums)?;
    match key() {
        Some(key) => println!("signed by {key}: {}", sign(&list, &key, None)?.display()),
        None => skipped.push("release signature: KIVEN_RELEASE_KEY names no key".to_owned()),
    }
    match crate::terraform::find() {
        Ok(client) => installs(&client, &folder, &version)?,
        Err(error) => skipped.push(format!("release installed from a mirror: {error:#}")),
    }
    skipped.iter().for_each(|skip| println!("skipped: {skip}"));
    println!("the release is in {}", folder.display());
    Ok(())
}

fn key() -> Option<String> {
    let named = std::env::var_os("KIVEN_RELEASE_KEY")?;
    named.into_string().ok().filter(|key| !key.is_empty())
}

/// Writes a file of the release, and its line in the list of checksums.
fn put(folder: &Path, name: &str, bytes: &[u8], sums: &mut String) -> Result<()> {
    std::fs::write(folder.join(name), bytes)?;
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{name:<52} {:>9} bytes  sha256 {digest}", bytes.len());
    sums.push_str(&format!("{digest}  {name}\n"));
    Ok(())
}

/// Builds for one platform with zig as the linker, which knows the symbols of every glibc. The same source gives the same bytes
/// wherever it lies: no path of this machine is in them. Nothing where this Rust has no standard library for it.
fn build(target: &Path, triple: &str) -> Result<Option<PathBuf>> {
    if !crate::package::has_standard_library(triple)? {
        return Ok(None);
    }
    let bin = crate::install::packaging()?.join("bin");
    let path = crate::install::path_with(bin)?;
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let places = [(Some(crate::root()), "kiven"), (cargo_home, "cargo")];
    let flags = places.into_iter().filter_map(|(place, name)| Some(format!("--remap-path-prefix={}={name}", place?.display())));
    println!("building {NAME} for {triple} and glibc {}.{} (the first time takes minutes)", GLIBC.0, GLIBC.1);
    let status = Command::new(env!("CARGO"))
        .args(["zigbuild", "--release", "--locked", "-p", PACKAGE, "--target", &format!("{triple}.{}.{}", GLIBC.0, GLIBC.1), "--target-dir"])
        .arg(target)
        .env("PATH", path)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.collect::<Vec<_>>().join("\x1f"))
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(crate::root())
        .status()?;
    ensure!(status.success(), "the provider does not build for {triple}");
    Ok(Some(target.join(triple).join("release").join(NAME)))
}

/// Refuses a binary that would not run where it must.
fn hold(program: &[u8], platform: &str) -> Result<()> {
    let foreign: Vec<String> = libraries(program)?.into_iter().filter(|name| !LIBRARIES.contains(&name.as_str())).collect();
    ensure!(foreign.is_empty(), "{platform}: it needs {}, which not every machine has", foreign.join(", "));
    let newest = newest_glibc(program).context("it asks for no glibc at all, which cannot be")?;
    ensure!(newest <= GLIBC, "{platform}: it needs GLIBC_{}.{}, at most {}.{} is allowed", newest.0, newest.1, GLIBC.0, GLIBC.1);
    ensure!(program.len() < BINARY_BYTES_MAX, "{platform}: it has {} bytes, at most {BINARY_BYTES_MAX} are allowed", program.len());
    println!("{platform}: {} bytes, glibc {}.{} or newer, libraries {}", program.len(), newest.0, newest.1, libraries(program)?.join(", "));
    Ok(())
}

/// Signs a file beside it, with a key of gpg's own folder or of another.
fn sign(file: &Path, key: &str, home: Option<&Path>) -> Result<PathBuf> {
    let signature = PathBuf::from(format!("{}.sig", file.display()));
    let mut gpg = Command::new("gpg");
    if let Some(home) = home {
        gpg.env("GNUPGHOME", home);
    }
    gpg.args(["--batch", "--yes", "--local-user", key, "--output"]).arg(&signature).arg("--detach-sign").arg(file);
    let output = gpg.output().context("gpg cannot be started")?;
    ensure!(output.status.success(), "gpg does not sign with {key}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(signature)
}

/// Installs the zip through a filesystem mirror, as a user without the registry does, and lets the client ask it for its schema.
fn installs(client: &Path, folder: &Path, version: &str) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("kiven-release-{}", std::process::id()));
    let work = scratch.join("work");
    std::fs::create_dir_all(&work)?;
    for host in HOSTS {
        let place = scratch.join("mirror").join(host).join("kiven/kiven");
        std::fs::create_dir_all(&place)?;
        for entry in std::fs::read_dir(folder)?.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "zip")) {
            std::fs::copy(entry.path(), place.join(entry.file_name()))?;
        }
    }
    let rc = scratch.join("terraformrc");
    std::fs::write(&rc, crate::terraform::mirror_alone(&scratch.join("mirror")))?;
    let module = format!("terraform {{\n  required_providers {{\n    kiven = {{ source = \"kiven/kiven\", version = \"{version}\" }}\n  }}\n}}\n");
    std::fs::write(work.join("main.tf"), module)?;
    let ask = |arguments: &[&str]| -> Result<Vec<u8>> {
        let mut command = Command::new(client);
        let output = command.args(arguments).current_dir(&work).env("TF_CLI_CONFIG_FILE", &rc).env("CHECKPOINT_DISABLE", "1").output()?;
        ensure!(output.status.success(), "the release does not install: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    };
    ask(&["init", "-input=false", "-no-color"])?;
    let schema: serde_json::Value = serde_json::from_slice(&ask(&["providers", "schema", "-json"])?)?;
    let offers =
        schema["provider_schemas"].as_object().is_some_and(|all| all.values().any(|of| of["resource_schemas"]["kiven_database"].is_object()));
    ensure!(offers, "the installed provider does not say what it offers");
    std::fs::remove_dir_all(&scratch)?;
    println!("installed by {} from a mirror of the zips", client.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_signature_is_made_by_the_named_key_and_holds() {
        if !crate::install::on_path("gpg") {
            println!("skipped: release signature: there is no gpg");
            return;
        }
        // A short path: gpg's agent listens on a socket in it.
        let home = std::env::temp_dir().join(format!("kgpg-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        std::process::Command::new("chmod").arg("700").arg(&home).status().unwrap();
        let gpg = |arguments: &[&str]| {
            Command::new("gpg").env("GNUPGHOME", &home).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
        };
        assert!(gpg(&["--batch", "--passphrase", "", "--quick-generate-key", "throw-away@kiven.invalid", "rsa2048", "sign", "1d"]).success());
        let list = home.join("SHA256SUMS");
        std::fs::write(&list, "0  nothing\n").unwrap();
        let signature = sign(&list, "throw-away@kiven.invalid", Some(&home)).unwrap();
        let verified = |file: &Path| gpg(&["--verify", &signature.display().to_string(), &file.display().to_string()]).success();
        assert!(verified(&list));
        std::fs::write(&list, "1  something else\n").unwrap();
        assert!(!verified(&list));
        assert!(sign(&list, "nobody@kiven.invalid", Some(&home)).is_err());
        Command::new("gpgconf").env("GNUPGHOME", &home).args(["--kill", "all"]).status().unwrap();
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn a_binary_of_this_machine_is_held_to_the_glibc_of_all() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // Built with the newest glibc that is here, or with an unwinder of its own: either is refused by name.
        let refused = hold(&own, "linux_amd64").unwrap_err().to_string();
        assert!(refused.contains("libgcc_s") || refused.contains("GLIBC_") || refused.contains("bytes"), "{refused}");
    }
}
