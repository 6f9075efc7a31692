//! A cluster that is given: asked with kubectl, under the rights of whoever gave the kubeconfig.
use super::folder::Folder;
use anyhow::{Context, bail, ensure};
use kiven_model::environment::Environment;
use kiven_model::names::{DATABASE_NAMESPACE, SYSTEM_NAMESPACE};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long one question may take, the start of the program that answers for the user included.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Who applies what the chart holds.
const MANAGER: &str = "kiven-local";
/// What `kiven agent manifest` writes before each object.
const SOURCE: &str = "---\n# Source: kiven-agent/templates/";
/// Templates of the chart that are not applied: the agent is a process of this machine.
const NOT_HERE: [&str; 2] = ["deployment.yaml", "network-policy.yaml"];

/// The way to a given cluster.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// Looks whether the cluster answers, and has what the chart would otherwise bring for an account on AWS.
    pub(crate) async fn open(kubeconfig: &Path) -> anyhow::Result<Self> {
        let kubeconfig = std::fs::canonicalize(kubeconfig).with_context(|| format!("there is no kubeconfig {}", kubeconfig.display()))?;
        let found = Self { kubeconfig };
        found.run(&["get", "--raw", "/readyz"]).await.context("the given cluster does not answer")?;
        for (what, arguments) in [
            ("the operator's Deployment in kiven-system", &["-n", SYSTEM_NAMESPACE, "get", "deployment", "cnpg-controller-manager"] as &[&str]),
            ("the Barman Cloud plugin's Deployment in kiven-system", &["-n", SYSTEM_NAMESPACE, "get", "deployment", "barman-cloud"]),
            ("the StorageClass kiven-gp3", &["get", "storageclass", "kiven-gp3"]),
            ("the ImageCatalog kiven-postgresql in kiven-databases", &["-n", DATABASE_NAMESPACE, "get", "imagecatalog", "kiven-postgresql"]),
        ] {
            let missing = || format!("the given cluster lacks {what}: docs/cluster-suite.md says what it must have");
            found.run(&[arguments, &["-o", "name"]].concat()).await.with_context(missing)?;
        }
        Ok(found)
    }

    /// What kubectl answers.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with(arguments, "").await
    }

    /// What kubectl answers, as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.run(&[arguments, &["-o", "json"]].concat()).await?)?)
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("kubectl cannot be started")?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input.as_bytes()).await?;
        }
        let output = tokio::time::timeout(ANSWER_MAX, child.wait_with_output()).await.context("kubectl took too long")??;
        ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The API server as the kubeconfig names it, with its authority.
    pub(crate) async fn cluster(&self) -> anyhow::Result<Value> {
        let view = self.json(&["config", "view", "--raw", "--minify", "--flatten"]).await?;
        Ok(view["clusters"][0]["cluster"].clone())
    }

    /// Its token issuer, as it names itself.
    pub(crate) async fn issuer(&self) -> anyhow::Result<String> {
        let said: Value = serde_json::from_str(&self.run(&["get", "--raw", "/.well-known/openid-configuration"]).await?)?;
        Ok(said["issuer"].as_str().context("the given cluster names no token issuer")?.to_owned())
    }

    /// A token of the agent's ServiceAccount, as a kubelet projects it.
    pub(crate) async fn token(&self, audience: Option<&str>, seconds: i64) -> anyhow::Result<String> {
        let duration = format!("--duration={seconds}s");
        let audience = audience.map(|audience| format!("--audience={audience}"));
        let mut arguments = vec!["-n", SYSTEM_NAMESPACE, "create", "token", "kiven-agent", &duration];
        arguments.extend(audience.as_deref());
        Ok(self.run(&arguments).await?.trim().to_owned())
    }

    /// Whether an object of `kiven-system` is there.
    pub(crate) async fn has(&self, kind: &str, name: &str) -> anyhow::Result<bool> {
        Ok(!self.run(&["-n", SYSTEM_NAMESPACE, "get", kind, name, "--ignore-not-found", "-o", "name"]).await?.trim().is_empty())
    }

    /// Removes an object of `kiven-system` if it is there.
    pub(crate) async fn delete(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        self.run(&["-n", SYSTEM_NAMESPACE, "delete", kind, name, "--ignore-not-found"]).await.map(drop)
    }

    /// Applies the chart's objects with the values of an environment, but for the agent itself and for what the cluster's owner brings.
    pub(crate) async fn install(&self, folder: &Folder, environment: &Environment) -> anyhow::Result<()> {
        let program = super::backend::sibling("kiven")?;
        let mut command = tokio::process::Command::new(program);
        command.args(["agent", "manifest", "--no-installer", "--no-preflight", "--no-storage-class", "--no-network-policy"]);
        command.args(["--environment-id", environment.id.as_str(), "--agent-enrolment", environment.spec.agent_enrolment.as_str()]);
        command.arg("--relay-address").arg(format!("localhost:{}", folder.ports.relay));
        command.arg("--api-url").arg(format!("http://127.0.0.1:{}", folder.ports.enrol));
        let output = command.stdin(Stdio::null()).output().await?;
        if !output.status.success() {
            bail!("kiven agent manifest: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let objects = kept(&String::from_utf8(output.stdout)?);
        self.run_with(&["apply", "--server-side", "--force-conflicts", "--field-manager", MANAGER, "-f", "-"], &objects).await.map(drop)
    }
}

/// The objects of a manifest that are applied here. The ImageCatalog is the owner's own.
fn kept(manifest: &str) -> String {
    let is_kept = |object: &&str| !NOT_HERE.iter().chain(&["image-catalog.yaml"]).any(|name| object.starts_with(name));
    manifest.split(SOURCE).skip(1).filter(is_kept).map(|object| format!("{SOURCE}{object}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_and_what_the_owner_brings_are_left_out() {
        let one = |name: &str| format!("{SOURCE}{name}\nkind: X\n");
        let all: String = ["namespace.yaml", "network-policy.yaml", "rights-system.yaml", "image-catalog.yaml", "deployment.yaml"].map(one).concat();
        assert_eq!(kept(&all), [one("namespace.yaml"), one("rights-system.yaml")].concat());
    }
}
