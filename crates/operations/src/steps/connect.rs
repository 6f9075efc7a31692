//! The way into an account and a cluster.
use super::quota::full;
use super::{Target, ask};
use crate::input::{ConnectInput, EksCluster};
use jiff::SignedDuration;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::{CommandBody, CommandOutput};
use kiven_model::environment::NODE_GROUP_QUOTA;
use kiven_model::preflight;
use kiven_model::report::AgentFacts;
use kiven_model::{Code, EnvironmentId, Problem};
use kiven_ports::account::{Access, AccountNeeds, ClusterFacts};
use kiven_ports::{Agents, CustomerAccount, PortError, Ports, Records, Write};
use serde::Serialize;
use std::time::Duration;

/// IAM is eventually consistent: a role that was made a moment ago may still be refused.
const TRUST_SECONDS_MAX: i64 = 10;
/// An agent that has said nothing for so long is not there; it reports every 30 s.
pub(super) const SILENT_SECONDS_MAX: i64 = 90;

/// Whether the step has begun so lately that what it misses may only not be seen yet.
fn fresh(at: &At) -> bool {
    at.now.duration_since(at.started_at) < SignedDuration::from_secs(TRUST_SECONDS_MAX)
}

fn policy_awaited<T>(at: &At) -> Progress<T> {
    let after = at.look_again(Duration::from_millis(200), Duration::from_secs(3));
    Progress::Pending { after, on: "the role's policy to take effect".to_owned() }
}

/// Assumes the role, and shows that it cannot be assumed without the external id.
#[derive(Debug, Clone, Serialize)]
pub struct ProveAccess {
    pub(crate) access: Access,
}

impl<P: Ports> Step<P> for ProveAccess {
    const NAME: &'static str = "prove_access";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        match ports.account().access_prove(&self.access).await {
            Ok(()) => Ok(Progress::Done(())),
            Err(PortError::Refused(problem)) if problem.code == Code::ACCESS_DENIED && fresh(at) => {
                let after = at.look_again(Duration::from_millis(200), Duration::from_secs(3));
                Ok(Progress::Pending { after, on: "the role's trust policy to take effect".to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Reads the EKS cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ReadEksCluster {
    pub(crate) access: Access,
    pub(crate) cluster: String,
}

impl<P: Ports> Step<P> for ReadEksCluster {
    const NAME: &'static str = "read_eks_cluster";
    type Output = ClusterFacts;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<ClusterFacts>, StepError> {
        match ports.account().cluster_get(&self.access, &self.cluster).await {
            Ok(facts) => Ok(Progress::Done(facts)),
            Err(PortError::Refused(problem)) if problem.code == Code::PERMISSION_MISSING && fresh(at) => Ok(policy_awaited(at)),
            Err(error) => Err(error.into()),
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<ClusterFacts>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Looks for everything that databases will need in the account, and names all that is missing at once.
#[derive(Debug, Clone, Serialize)]
pub struct CheckAccount {
    access: Access,
    needs: AccountNeeds,
    /// How many node groups the EKS cluster may have, where none of them is this environment's yet. No part of the record: it is of
    /// the operation's input, as all of this is.
    #[serde(skip)]
    quota: Option<u32>,
}

impl CheckAccount {
    pub(crate) fn of(input: &ConnectInput, oidc_issuer: &str) -> Self {
        // An environment that is connected again has its groups, however full the cluster is.
        let quota = input.before.is_none().then(|| input.connection.node_group_quota.unwrap_or(NODE_GROUP_QUOTA));
        Self { access: input.access.clone(), needs: input.needs(oidc_issuer), quota }
    }

    /// The least that a first database needs is one group.
    async fn room<P: Ports>(&self, ports: &P) -> Result<Option<Problem>, PortError> {
        let Some(quota) = self.quota else { return Ok(None) };
        match ports.account().node_group_list(&self.access, &self.needs.cluster).await {
            Ok(there) if there.len() < usize::try_from(quota).unwrap_or(usize::MAX) => Ok(None),
            Ok(there) => Ok(Some(full(&self.needs.cluster, there.len(), quota, 1))),
            Err(PortError::Refused(problem)) => Ok(Some(problem)),
            Err(error) => Err(error),
        }
    }
}

impl<P: Ports> Step<P> for CheckAccount {
    const NAME: &'static str = "check_account";
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let mut missing = ports.account().preflight(&self.access, &self.needs).await?;
        let room = self.room(ports).await?;
        missing.extend(room.filter(|room| missing.iter().all(|known| known.message != room.message)));
        if missing.is_empty() {
            return Ok(Progress::Done(()));
        }
        // What `terraform apply` has just made may not be seen yet.
        if fresh(at) {
            return Ok(policy_awaited(at));
        }
        let all: Vec<String> = missing.iter().map(|one| format!("{} {}", one.message, one.hint).trim().to_owned()).collect();
        let problem = Problem::new(Code::ACCOUNT_INCOMPLETE, "The account lacks what databases need.").detail(all.join(" "));
        Err(StepError::Failed(problem.hint("Apply the current onboarding module; its README says which permission is for which step.")))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Claims the EKS cluster, now that it is proved to be the customer's: one cluster is one environment.
#[derive(Debug, Clone, Serialize)]
pub struct ClaimEksCluster {
    environment_id: EnvironmentId,
    cluster: EksCluster,
    /// It was connected before: its claim outlives a reconnect that fails.
    kept: bool,
}

impl ClaimEksCluster {
    pub(crate) fn of(input: &ConnectInput) -> Self {
        let cluster = EksCluster::of(&input.environment);
        Self { environment_id: input.access.environment_id.clone(), cluster, kept: input.before.is_some() }
    }
}

impl<P: Ports> Step<P> for ClaimEksCluster {
    const NAME: &'static str = "claim_eks_cluster";
    type Output = ();
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<()>, StepError> {
        let write = Write::NameTaken { claim: self.cluster.claim(), owner: self.environment_id.to_string() };
        match ports.records().records_commit(vec![write]).await {
            Ok(()) => Ok(Progress::Done(())),
            Err(PortError::Conflict(_)) => Err(StepError::Failed(self.cluster.taken())),
            Err(error) => Err(error.into()),
        }
    }
    async fn undo(&self, ports: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        if !self.kept {
            let write = Write::NameFreed { claim: self.cluster.claim(), owner: self.environment_id.to_string() };
            ports.records().records_commit(vec![write]).await?;
        }
        Ok(Progress::Done(()))
    }
}

/// The IAM provider of the cluster's token issuer.
#[derive(Debug, Clone, Serialize)]
pub struct EnsureOidcProvider {
    pub(crate) access: Access,
    pub(crate) issuer: String,
}

impl<P: Ports> Step<P> for EnsureOidcProvider {
    const NAME: &'static str = "ensure_oidc_provider";
    type Output = String;
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<String>, StepError> {
        Ok(Progress::Done(ports.account().oidc_provider_ensure(&self.access, &self.issuer).await?))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<String>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // never deleted: others in the cluster may use it by now
    }
}

/// Waits for the agent's first report and asks it a question.
#[derive(Debug, Clone, Serialize)]
pub struct HearAgent {
    pub(crate) environment_id: EnvironmentId,
}

impl<P: Ports> Step<P> for HearAgent {
    const NAME: &'static str = "hear_agent";
    type Output = AgentFacts;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<AgentFacts>, StepError> {
        let record = ports.agents().agent_get(&self.environment_id).await?;
        let heard = record.is_some_and(|agent| at.now.duration_since(agent.seen_at) < SignedDuration::from_secs(SILENT_SECONDS_MAX));
        if !heard {
            let after = at.look_again(Duration::from_millis(500), Duration::from_secs(15));
            return Ok(Progress::Pending { after, on: "the agent's first report".to_owned() });
        }
        let target = Target { environment_id: self.environment_id.clone(), database_id: None, cluster: String::new(), fence: 0 };
        match ask(ports, at, at.token(), &target, CommandBody::Inspect).await? {
            Progress::Done(CommandOutput::Facts(facts)) => match facts.cluster.as_deref().and_then(preflight::blocked) {
                Some(problem) => Err(StepError::Failed(problem)),
                None => Ok(Progress::Done(facts)),
            },
            Progress::Done(_) => Err(StepError::Failed(Problem::new(Code::AGENT_FAILED, "the agent answered another question"))),
            Progress::Pending { after, on } => Ok(Progress::Pending { after, on }),
        }
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<AgentFacts>) -> Result<Progress<()>, StepError> {
        super::withdraw(ports, at).await
    }
    fn overdue(&self, on: &str) -> Problem {
        let hint = "Install the agent's chart with the environment's `agent_values`, and look at its log.";
        Problem::new(Code::AGENT_SILENT, format!("still waiting for {on}")).hint(hint)
    }
}
