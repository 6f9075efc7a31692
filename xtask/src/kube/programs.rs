//! The programs of the suite `kube`: given, found, or built once from Go modules into the cache.
use crate::install::{cache, has_go, on_path};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Go module of our own with etcd, API server and controllers in one program.
const MODULE: &str = "tests/kubernetes";
/// What `go build` makes of it.
const PROGRAM: &str = "control-plane";
/// Helm, as a Go module.
const HELM: (&str, &str) = ("helm.sh/helm/v3", "v3.22.0");
/// The Kubernetes minor that this Helm renders for where no API server says its own; its releases are told so when they are built.
const HELM_MINOR: &str = "37";
/// Where tools for tests of Kubernetes controllers look for etcd and kube-apiserver.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// How each part of a control plane is called.
pub(crate) struct Programs {
    pub(crate) etcd: Vec<PathBuf>,
    pub(crate) api_server: Vec<PathBuf>,
    /// Not among the assets that others offer.
    pub(crate) controllers: Option<Vec<PathBuf>>,
}

/// The control plane: from `KUBEBUILDER_ASSETS`, or built. An error says in one sentence why there is none.
pub(crate) fn control_plane() -> Result<Programs> {
    if let Some(folder) = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()).map(PathBuf::from) {
        let program = |name: &str| -> Option<Vec<PathBuf>> { Some(vec![folder.join(name)]).filter(|path| path[0].exists()) };
        let (Some(etcd), Some(api_server)) = (program("etcd"), program("kube-apiserver")) else {
            bail!("{ASSETS} names {}, which has no etcd or no kube-apiserver", folder.display());
        };
        return Ok(Programs { etcd, api_server, controllers: program("kube-controller-manager") });
    }
    let built = build()?;
    let part = |name: &str| vec![built.clone(), PathBuf::from(name)];
    Ok(Programs { etcd: part("etcd"), api_server: part("kube-apiserver"), controllers: Some(part("kube-controller-manager")) })
}

/// Builds the module where it is not there yet as it is written now.
fn build() -> Result<PathBuf> {
    let module = crate::root().join(MODULE);
    let read = |name: &str| std::fs::read(module.join(name)).with_context(|| format!("{MODULE}/{name} is missing"));
    let sources = ["go.mod", "go.sum", "main.go"].into_iter().map(read).collect::<Result<Vec<_>>>()?.concat();
    let version = kubernetes_version(&String::from_utf8_lossy(&sources))?;
    let digest: String = Sha256::digest(&sources).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let folder = cache().join(format!("kubernetes-{version}-{digest}"));
    let program = folder.join(PROGRAM);
    if program.exists() {
        return Ok(program);
    }
    ensure!(has_go(), "there is no API server ({ASSETS}), and no Go to build one with: install Go 1.25 or newer");
    println!("building Kubernetes {version} and etcd from Go modules (once; minutes)");
    let minor = version.split('.').nth(1).unwrap_or_default().to_owned();
    let stamp = "k8s.io/component-base/version";
    let flags = format!("-s -w -X {stamp}.gitVersion={version} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}");
    // Half a file is none: the finished one gets its name last.
    let unfinished = folder.join(format!("{PROGRAM}.{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-mod=readonly", "-ldflags", &flags, "-o"]).arg(&unfinished).arg(".");
    call(go.env("CGO_ENABLED", "0").current_dir(&module))?;
    std::fs::rename(&unfinished, &program)?;
    Ok(program)
}

/// The version in go.mod.
fn kubernetes_version(module: &str) -> Result<String> {
    let line = module.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    Ok(line.context("go.mod names no version of Kubernetes")?.to_owned())
}

/// Helm: the one on the PATH, or one that is built once and kept. An error says in one sentence why there is none.
pub(crate) fn helm() -> Result<PathBuf> {
    if on_path("helm") {
        return Ok(PathBuf::from("helm"));
    }
    let folder = cache().join(format!("helm-{}", HELM.1));
    let program = folder.join("helm");
    if !program.exists() {
        ensure!(has_go(), "there is no helm, and no Go to build it with: install one of them");
        println!("building Helm {} from Go modules (once; minutes)", HELM.1);
        std::fs::create_dir_all(&folder)?;
        let mut go = Command::new("go");
        let renders_for = ["pkg/chartutil", "pkg/lint/rules"].map(|package| {
            let stamp = format!("{}/{package}.k8sVersion", HELM.0);
            format!("-X {stamp}Major=1 -X {stamp}Minor={HELM_MINOR}")
        });
        let flags = format!("-s -w -X {}/internal/version.version={} {}", HELM.0, HELM.1, renders_for.join(" "));
        go.args(["install", "-trimpath", "-ldflags", &flags, &format!("{}/cmd/helm@{}", HELM.0, HELM.1)]);
        call(go.env("GOBIN", &folder).env("CGO_ENABLED", "0").current_dir(Path::new("/")))?;
    }
    Ok(program)
}

fn call(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_says_which_kubernetes_it_is() {
        let module = std::fs::read_to_string(crate::root().join(MODULE).join("go.mod")).unwrap();
        assert!(kubernetes_version(&module).unwrap().starts_with("v1."));
        assert!(kubernetes_version("module x").is_err());
    }
}
