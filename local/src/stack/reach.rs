//! The customer's cluster as the stack reaches it: its own, or one that is given.
use super::folder::Folder;
use super::given::Kubectl;
use anyhow::Context;
use kiven_fake_kube::Handle;
use kiven_fake_kube::kinds::Kind;
use kiven_model::environment::Environment;
use kiven_model::names::SYSTEM_NAMESPACE;
use serde_json::{Value, json};

/// The mark of a release.
const MARK: &str = "kiven-released";

/// The way to the cluster.
#[derive(Clone)]
pub(crate) enum Reach {
    /// The stack's own.
    Own(Handle),
    /// Somebody's.
    Given(Kubectl),
}

impl Reach {
    /// What `helm install` brings for an environment. The stack's own cluster has it from its start.
    pub(crate) async fn install(&self, folder: &Folder, environment: &Environment) -> anyhow::Result<()> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Given(kubectl) => kubectl.install(folder, environment).await.context("the chart's objects could not be installed"),
        }
    }

    /// The tokens that a kubelet projects: one for the API server, one for Kiven alone.
    pub(crate) async fn write_tokens(&self, folder: &Folder, seconds: i64) -> anyhow::Result<()> {
        for (file, audience) in [("run/agent-api-token", None), ("run/agent-kiven-token", Some("kiven"))] {
            let token = match self {
                Self::Own(kube) => {
                    let audiences: Vec<String> = audience.into_iter().map(str::to_owned).collect();
                    kube.service_account_token(SYSTEM_NAMESPACE, "kiven-agent", &audiences, seconds).context("no token for the agent")?
                }
                Self::Given(kubectl) => kubectl.token(audience, seconds).await.context("no token for the agent")?,
            };
            folder.write(file, &token, 0o600)?;
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "local",
            "clusters": [{ "name": "local", "cluster": self.cluster().await? }],
            "users": [{ "name": "agent", "user": { "tokenFile": folder.path("run/agent-api-token") } }],
            "contexts": [{ "name": "local", "context": { "cluster": "local", "user": "agent", "namespace": SYSTEM_NAMESPACE } }],
        });
        folder.write("run/agent-kubeconfig", &config.to_string(), 0o600)
    }

    async fn cluster(&self) -> anyhow::Result<Value> {
        match self {
            Self::Own(kube) => Ok(json!({ "server": kube.url() })),
            Self::Given(kubectl) => kubectl.cluster().await,
        }
    }

    /// Whether the mark of a release is there.
    pub(crate) async fn is_released(&self) -> anyhow::Result<bool> {
        match self {
            Self::Own(kube) => match kube.get(config_maps()?, SYSTEM_NAMESPACE, MARK) {
                Ok(_) => Ok(true),
                Err(error) if error.is_not_found() => Ok(false),
                Err(error) => Err(error).context("the mark of a release cannot be read"),
            },
            Self::Given(kubectl) => kubectl.has("configmap", MARK).await,
        }
    }

    /// Takes the mark of a release away.
    pub(crate) async fn forget_release(&self) -> anyhow::Result<()> {
        match self {
            Self::Own(kube) => match kube.delete(config_maps()?, SYSTEM_NAMESPACE, MARK) {
                Ok(_) => Ok(()),
                Err(error) if error.is_not_found() => Ok(()),
                Err(error) => Err(error).context("the mark of a release stays"),
            },
            Self::Given(kubectl) => kubectl.delete("configmap", MARK).await.context("the mark of a release stays"),
        }
    }
}

fn config_maps() -> anyhow::Result<&'static Kind> {
    kiven_fake_kube::kinds::find("", "v1", "configmaps").context("the local cluster has no ConfigMaps")
}
