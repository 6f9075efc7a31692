//! The customer's side of connecting: when an environment for the local cluster appears, its role trusts it and its agent starts.
use super::children::supervise;
use super::folder::Folder;
use super::{EKS_CLUSTER, customer};
use crate::aws::Endpoints;
use crate::stack::backend::sibling;
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use kiven_aws::store::Store;
use kiven_fake_kube::Handle;
use kiven_fake_kube::kinds::Kind;
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::{EnvironmentId, OrganizationId};
use kiven_ports::Records;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often environments are looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long tokens are good, and when they are written anew, as a kubelet does.
const TOKEN_SECONDS: i64 = 3_600;
const TOKEN_RENEWAL: SignedDuration = SignedDuration::from_secs(1_800);
/// In virtual time they are good for longer than anybody moves the clock at once: a client that reads an expired one keeps it for
/// a minute.
const TOKEN_SECONDS_VIRTUAL: i64 = 366 * 24 * 3_600;

/// One running agent.
struct Agent {
    task: JoinHandle<()>,
    /// By the wall clock, by which tokens expire: a machine that slept has expired ones too.
    renewed: Timestamp,
}

/// What agents are started with beside the values of their chart.
#[derive(Debug, Clone)]
pub(crate) struct Inherited {
    pub(crate) failpoints: Option<String>,
    pub(crate) statistics_seconds: Option<String>,
    pub(crate) clock: BTreeMap<String, String>,
}

/// Looks after agents until aborted.
pub(crate) async fn look_after(
    folder: Folder,
    kube: Handle,
    endpoints: Arc<Endpoints>,
    store: Store,
    organization: OrganizationId,
    inherited: Inherited,
) {
    let mut agents: BTreeMap<EnvironmentId, Agent> = BTreeMap::new();
    let mut trusted: Option<EnvironmentId> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let environments = match store.environment_list(&organization).await {
            Ok(environments) => environments,
            Err(error) => {
                tracing::warn!(%error, "environments cannot be listed");
                continue;
            }
        };
        let ours: Vec<Environment> = environments.into_iter().filter(|e| e.spec.eks_cluster_name == EKS_CLUSTER).collect();
        agents.retain(|id, agent| {
            let keep = ours.iter().any(|environment| environment.id == *id);
            if !keep {
                agent.task.abort();
            }
            keep
        });
        for environment in &ours {
            if let Err(error) = settle(&folder, &kube, &endpoints, environment, &mut agents, &mut trusted, &inherited).await {
                tracing::warn!(error = format!("{error:#}"), environment_id = %environment.id, "the customer's side could not be set up");
            }
        }
    }
}

async fn settle(
    folder: &Folder,
    kube: &Handle,
    endpoints: &Endpoints,
    environment: &Environment,
    agents: &mut BTreeMap<EnvironmentId, Agent>,
    trusted: &mut Option<EnvironmentId>,
    inherited: &Inherited,
) -> anyhow::Result<()> {
    if trusted.as_ref() != Some(&environment.id) {
        customer::onboard(endpoints, &environment.external_id).await?;
        *trusted = Some(environment.id.clone());
    }
    // Whoever left and connects again at once may never be seen without a connection in between: the mark tells.
    let returned = environment.status == EnvironmentStatus::Connecting && is_released(kube)?;
    if environment.connection.is_none() || returned {
        // As a customer who takes the chart away after disconnecting, and whatever mark a release has left.
        let agent = agents.remove(&environment.id);
        if let Some(agent) = &agent {
            agent.task.abort();
        }
        if returned || agent.is_some() {
            forget_release(kube)?;
        }
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "the local stack is a shell")]
    let now = Timestamp::now();
    let seconds = if inherited.clock.is_empty() { TOKEN_SECONDS } else { TOKEN_SECONDS_VIRTUAL };
    match agents.get_mut(&environment.id) {
        Some(agent) if now.duration_since(agent.renewed) < TOKEN_RENEWAL => Ok(()),
        Some(agent) => {
            write_tokens(folder, kube, seconds)?;
            agent.renewed = now;
            Ok(())
        }
        None => {
            write_tokens(folder, kube, seconds)?;
            let task = start(folder, environment, inherited)?;
            agents.insert(environment.id.clone(), Agent { task, renewed: now });
            Ok(())
        }
    }
}

/// The mark of a release.
const MARK: &str = "kiven-released";

fn config_maps() -> anyhow::Result<&'static Kind> {
    kiven_fake_kube::kinds::find("", "v1", "configmaps").context("the local cluster has no ConfigMaps")
}

fn is_released(kube: &Handle) -> anyhow::Result<bool> {
    match kube.get(config_maps()?, SYSTEM_NAMESPACE, MARK) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error).context("the mark of a release cannot be read"),
    }
}

fn forget_release(kube: &Handle) -> anyhow::Result<()> {
    match kube.delete(config_maps()?, SYSTEM_NAMESPACE, MARK) {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error).context("the mark of a release stays"),
    }
}

/// The tokens that a kubelet projects: one for the API server, one for Kiven alone.
pub(crate) fn write_tokens(folder: &Folder, kube: &Handle, seconds: i64) -> anyhow::Result<()> {
    for (file, audiences) in [("run/agent-api-token", Vec::new()), ("run/agent-kiven-token", vec!["kiven".to_owned()])] {
        let token = kube.service_account_token(SYSTEM_NAMESPACE, "kiven-agent", &audiences, seconds).context("no token for the agent")?;
        folder.write(file, &token, 0o600)?;
    }
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "local",
        "clusters": [{ "name": "local", "cluster": { "server": kube.url() } }],
        "users": [{ "name": "agent", "user": { "tokenFile": folder.path("run/agent-api-token") } }],
        "contexts": [{ "name": "local", "context": { "cluster": "local", "user": "agent", "namespace": SYSTEM_NAMESPACE } }],
    });
    folder.write("run/agent-kubeconfig", &config.to_string(), 0o600)
}

/// Starts the agent with the values that the environment gives its chart.
fn start(folder: &Folder, environment: &Environment, inherited: &Inherited) -> anyhow::Result<JoinHandle<()>> {
    let path = |name: &str| folder.path(name).display().to_string();
    let mut variables: BTreeMap<String, String> = [
        ("KUBECONFIG", path("run/agent-kubeconfig")),
        ("KIVEN_ENVIRONMENT_ID", environment.id.to_string()),
        ("KIVEN_RELAY_ADDRESS", format!("localhost:{}", folder.ports.relay)),
        ("KIVEN_API_URL", format!("http://127.0.0.1:{}", folder.ports.enrol)),
        ("KIVEN_TOKEN_PATH", path("run/agent-kiven-token")),
        ("KIVEN_EKS_CLUSTER", environment.spec.eks_cluster_name.clone()),
        ("KIVEN_AWS_REGION", environment.spec.aws_region.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(failpoints) = &inherited.failpoints {
        variables.insert("KIVEN_FAILPOINTS".to_owned(), failpoints.clone());
    }
    if let Some(seconds) = &inherited.statistics_seconds {
        variables.insert("KIVEN_STATISTICS_SECONDS".to_owned(), seconds.clone());
    }
    variables.extend(inherited.clock.clone());
    tracing::info!(environment_id = %environment.id, "starting the environment's agent");
    Ok(supervise(folder, "agent", sibling("kiven-agent")?, variables))
}
