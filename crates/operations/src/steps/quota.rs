//! Room for node groups: AWS allows an EKS cluster only so many.
use super::access::enter;
use crate::input::DatabaseInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::environment::NODE_GROUP_QUOTA;
use kiven_model::{Code, Problem};
use kiven_ports::account::Access;
use kiven_ports::{CustomerAccount, Ports};
use serde::Serialize;

pub(super) fn full(cluster: &str, have: usize, quota: u32, more: usize) -> Problem {
    let message = format!("The EKS cluster `{cluster}` has {have} node groups of {quota}, {more} more are needed.");
    let hint = "Raise the quota \"Managed node groups per cluster\" in AWS Service Quotas and say so in node_group_quota of the environment's connection, or delete databases that are not needed.";
    Problem::new(Code::AWS_QUOTA, message).hint(hint)
}

/// Looks, before anything is made, whether the EKS cluster has room for the node groups that are to come. Another database may
/// take the room meanwhile: then EKS refuses, and what was made is undone.
#[derive(Debug, Clone, Serialize)]
pub struct CheckNodeGroupQuota {
    access: Access,
    cluster: String,
    /// The groups that are to come.
    names: Vec<String>,
    quota: u32,
}

impl CheckNodeGroupQuota {
    /// None where no group is to come.
    pub(crate) fn of(input: &DatabaseInput) -> Vec<Self> {
        let before = input.node_groups_before();
        let new = input.node_groups().into_iter().filter(|group| before.iter().all(|known| known.name != group.name));
        let names: Vec<String> = new.map(|group| group.name).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let quota = input.connection.node_group_quota.unwrap_or(NODE_GROUP_QUOTA);
        vec![Self { access: input.access.clone(), cluster: input.eks_cluster.clone(), names, quota }]
    }
}

impl<P: Ports> Step<P> for CheckNodeGroupQuota {
    const NAME: &'static str = "check_node_group_quota";
    type Output = ();
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<()>, StepError> {
        let list = |access| async move { ports.account().node_group_list(&access, &self.cluster).await };
        let there = enter(ports, &self.access, list).await?;
        let new = self.names.iter().filter(|name| !there.contains(name)).count();
        if there.len() + new <= usize::try_from(self.quota).unwrap_or(usize::MAX) {
            return Ok(Progress::Done(()));
        }
        Err(StepError::Failed(full(&self.cluster, there.len(), self.quota, new)))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}
