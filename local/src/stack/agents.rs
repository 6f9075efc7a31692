//! The customer's side of connecting: when an environment for the local cluster appears, its role trusts it and its agent starts.
use super::children::supervise;
use super::folder::Folder;
use super::reach::Reach;
use super::{EKS_CLUSTER, customer, keys};
use crate::aws::Endpoints;
use crate::stack::backend::sibling;
use jiff::{SignedDuration, Timestamp};
use kiven_aws::store::Store;
use kiven_model::enrolment::{AgentEnrolment, AgentToken, FIRST_TOKEN_MINUTES, agent_token_text};
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::{EnvironmentId, OrganizationId};
use kiven_ports::{Records, Write};
use sha2::{Digest, Sha256};
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
    kube: Reach,
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
            let side = Side { folder: &folder, kube: &kube, endpoints: &endpoints, store: &store, inherited: &inherited };
            if let Err(error) = settle(&side, environment, &mut agents, &mut trusted).await {
                tracing::warn!(error = format!("{error:#}"), environment_id = %environment.id, "the customer's side could not be set up");
            }
        }
    }
}

/// What the customer's side is made of.
struct Side<'a> {
    folder: &'a Folder,
    kube: &'a Reach,
    endpoints: &'a Endpoints,
    store: &'a Store,
    inherited: &'a Inherited,
}

async fn settle(
    side: &Side<'_>,
    environment: &Environment,
    agents: &mut BTreeMap<EnvironmentId, Agent>,
    trusted: &mut Option<EnvironmentId>,
) -> anyhow::Result<()> {
    let Side { folder, kube, endpoints, store, inherited } = side;
    if trusted.as_ref() != Some(&environment.id) {
        customer::onboard(endpoints, &environment.external_id).await?;
        *trusted = Some(environment.id.clone());
    }
    // Whoever left and connects again at once may never be seen without a connection in between: the mark tells.
    let returned = environment.status == EnvironmentStatus::Connecting && kube.is_released().await?;
    if environment.connection.is_none() || returned {
        // As a customer who takes the chart away after disconnecting, and whatever mark a release has left.
        let agent = agents.remove(&environment.id);
        if let Some(agent) = &agent {
            agent.task.abort();
        }
        if returned || agent.is_some() {
            kube.forget_release().await?;
        }
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "the local stack is a shell")]
    let now = Timestamp::now();
    let seconds = if inherited.clock.is_empty() { TOKEN_SECONDS } else { TOKEN_SECONDS_VIRTUAL };
    match agents.get_mut(&environment.id) {
        Some(agent) if now.duration_since(agent.renewed) < TOKEN_RENEWAL => Ok(()),
        Some(agent) => {
            kube.write_tokens(folder, seconds).await?;
            agent.renewed = now;
            Ok(())
        }
        None => {
            kube.install(folder, environment).await?;
            kube.write_tokens(folder, seconds).await?;
            let first = match environment.spec.agent_enrolment {
                AgentEnrolment::Issuer => None,
                AgentEnrolment::Token => Some(first_token(folder, store, environment, now).await?),
            };
            let task = start(folder, environment, inherited, first)?;
            agents.insert(environment.id.clone(), Agent { task, renewed: now });
            Ok(())
        }
    }
}

/// The single-use token that whoever installs the chart asks the API for; the name of the file that holds it.
async fn first_token(folder: &Folder, store: &Store, environment: &Environment, now: Timestamp) -> anyhow::Result<&'static str> {
    const FILE: &str = "run/agent-first-token";
    let token = agent_token_text([keys::random()?, keys::random()?]);
    let record = AgentToken {
        sha256: hex::encode(Sha256::digest(token.as_bytes())),
        environment_id: environment.id.clone(),
        created_by: "kiven-local".to_owned(),
        created_at: now,
        expires_at: now + SignedDuration::from_mins(FIRST_TOKEN_MINUTES),
    };
    store.records_commit(vec![Write::AgentToken(Box::new(record))]).await?;
    folder.write(FILE, &token, 0o600)?;
    Ok(FILE)
}

/// Starts the agent with the values that the environment gives its chart.
fn start(folder: &Folder, environment: &Environment, inherited: &Inherited, first_token: Option<&str>) -> anyhow::Result<JoinHandle<()>> {
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
    if let Some(file) = first_token {
        variables.insert("KIVEN_AGENT_TOKEN_PATH".to_owned(), path(file));
    }
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
