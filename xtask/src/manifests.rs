//! The manifests of CloudNativePG and of its plugin: reference data of the tests, out of their Go modules, each with its digest.
use crate::install::{cache, has_go};
use anyhow::{Context, Result, ensure};
use kiven_model::operators::RELEASES;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where tests look for them; who sets it has manifests of their own.
pub(crate) const VARIABLE: &str = "KIVEN_CNPG_MANIFESTS";
/// The origin of a release's manifest is this, owner, repository, tag and path.
const ORIGIN: &str = "https://raw.githubusercontent.com/";
/// A release that is not listed, for it is known to be bad: tests refuse it, and hold objects against its newer kinds.
const NOT_LISTED: Manifest<'static> = Manifest {
    url: "https://raw.githubusercontent.com/cloudnative-pg/cloudnative-pg/v1.30.0/releases/cnpg-1.30.0.yaml",
    file: "cnpg-1.30.0.yaml",
    sha256: "f8bede43fe4ee0d478c2355b204a36876b2ae4faac60f2a9452280b293da3b88",
};

struct Manifest<'a> {
    url: &'a str,
    file: &'a str,
    sha256: &'a str,
}

/// The folder with all of them: the one that is named, else the one that `fetch` has filled.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(own()).filter(|folder| all().all(|manifest| folder.join(manifest.file).exists())))
}

/// Fetches what is missing.
pub(crate) fn fetch() -> Result<()> {
    if folder().is_some() {
        return Ok(());
    }
    ensure!(has_go(), "there is no Go to fetch their modules with; {VARIABLE} may name a folder that has them");
    println!("fetching the manifests of CloudNativePG and of its plugin");
    std::fs::create_dir_all(own())?;
    all().try_for_each(|manifest| one(&manifest, &own()).with_context(|| format!("no {}", manifest.file)))
}

fn own() -> PathBuf {
    cache().join("manifests")
}

fn all() -> impl Iterator<Item = Manifest<'static>> {
    RELEASES.iter().map(|release| Manifest { url: release.url, file: release.file, sha256: release.sha256 }).chain([NOT_LISTED])
}

fn one(manifest: &Manifest, folder: &Path) -> Result<()> {
    let place = manifest.url.strip_prefix(ORIGIN).context("its origin is not a repository's")?;
    let [owner, repository, tag, path] = place.splitn(4, '/').collect::<Vec<_>>()[..] else { anyhow::bail!("its origin has no path") };
    let module = format!("github.com/{owner}/{repository}@{tag}");
    // What is used of a module is this one file, whose digest is known.
    let output = Command::new("go")
        .args(["mod", "download", "-json", &module])
        .current_dir(folder)
        .env("GONOSUMDB", "github.com/cloudnative-pg/*")
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "go mod download {module} failed");
    let downloaded: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let text = std::fs::read(Path::new(downloaded["Dir"].as_str().context("Go does not say where the module is")?).join(path))?;
    let digest: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(digest == manifest.sha256, "its digest is {digest} and not {}", manifest.sha256);
    // Under another name first: half a file is none.
    let half = folder.join(format!(".{}", manifest.file));
    std::fs::write(&half, text)?;
    Ok(std::fs::rename(half, folder.join(manifest.file))?)
}
