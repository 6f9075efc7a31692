//! Compute: one managed node group per database and zone.
use super::access::enter;
use crate::input::DatabaseInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::{Code, Problem};
use kiven_ports::account::{Access, NodeGroup, NodeGroupState};
use kiven_ports::{CustomerAccount, Ports};
use serde::Serialize;
use std::time::Duration;

/// Bounds of the pace at which EKS is asked.
const LOOK_LEAST: Duration = Duration::from_millis(200);
const LOOK_MOST: Duration = Duration::from_secs(15);
/// Nodes come in two to four minutes; a zone without capacity is worth half an hour of patience.
const NODES_WAIT_MAX: Duration = Duration::from_secs(30 * 60);

fn not_yet<T>(at: &At, on: String) -> Progress<T> {
    Progress::Pending { after: at.look_again(LOOK_LEAST, LOOK_MOST), on }
}

/// A zone without capacity is worth patience: the wait has its own bound.
fn degraded<T>(at: &At, name: &str, words: &str) -> Progress<T> {
    not_yet(at, format!("capacity for {name} ({words})"))
}

/// Step 1: asks for the nodes; does not wait for them, so that the rest can begin.
#[derive(Debug, Clone, Serialize)]
pub struct EnsureNodeGroup {
    access: Access,
    group: NodeGroup,
}

impl EnsureNodeGroup {
    pub(crate) fn all(input: &DatabaseInput, groups: &[NodeGroup]) -> Vec<Self> {
        groups.iter().map(|group| Self { access: input.access.clone(), group: group.clone() }).collect()
    }
}

impl<P: Ports> Step<P> for EnsureNodeGroup {
    const NAME: &'static str = "ensure_node_group";
    type Output = ();
    fn key(&self) -> String {
        format!("ensure_node_group/{}", self.group.name)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let token = at.token();
        enter(ports, &self.access, |access| async move { ports.account().node_group_ensure(&access, &self.group, &token).await }).await?;
        Ok(Progress::Done(()))
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        delete(ports, at, &self.access, &self.group.cluster, &self.group.name).await
    }
}

/// Waits for the nodes of step 1.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitNodeGroup {
    access: Access,
    cluster: String,
    name: String,
}

impl AwaitNodeGroup {
    pub(crate) fn all(input: &DatabaseInput, groups: &[NodeGroup]) -> Vec<Self> {
        let one = |group: &NodeGroup| Self { access: input.access.clone(), cluster: group.cluster.clone(), name: group.name.clone() };
        groups.iter().map(one).collect()
    }
}

impl<P: Ports> Step<P> for AwaitNodeGroup {
    const NAME: &'static str = "await_node_group";
    const WAIT_MAX: Duration = NODES_WAIT_MAX;
    type Output = ();
    fn key(&self) -> String {
        format!("await_node_group/{}", self.name)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let look = |access| async move { ports.account().node_group_get(&access, &self.cluster, &self.name).await };
        match enter(ports, &self.access, look).await? {
            NodeGroupState::Active { .. } => Ok(Progress::Done(())),
            NodeGroupState::Changing => Ok(not_yet(at, format!("nodes of {}", self.name))),
            NodeGroupState::Degraded(words) => Ok(degraded(at, &self.name, &words)),
            NodeGroupState::Absent => Err(StepError::Failed(Problem::new(Code::AWS_REFUSED, format!("node group `{}` has vanished", self.name)))),
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
    fn overdue(&self, on: &str) -> Problem {
        Problem::new(Code::NO_CAPACITY, format!("no {on} within {} minutes", NODES_WAIT_MAX.as_secs() / 60))
    }
}

/// Sets a group's size: to zero at the end of a pause, back at the beginning of a resume. Waits until EKS has taken it.
#[derive(Debug, Clone, Serialize)]
pub struct ScaleNodeGroup {
    access: Access,
    cluster: String,
    name: String,
    nodes: u32,
}

impl ScaleNodeGroup {
    fn all(input: &DatabaseInput, nodes: impl Fn(&NodeGroup) -> u32) -> Vec<Self> {
        let one = |group: NodeGroup| Self { access: input.access.clone(), nodes: nodes(&group), cluster: group.cluster, name: group.name };
        input.node_groups().into_iter().map(one).collect()
    }
    pub(crate) fn all_to_zero(input: &DatabaseInput) -> Vec<Self> {
        Self::all(input, |_| 0)
    }
    pub(crate) fn all_up(input: &DatabaseInput) -> Vec<Self> {
        Self::all(input, |group| group.nodes)
    }
}

impl<P: Ports> Step<P> for ScaleNodeGroup {
    const NAME: &'static str = "scale_node_group";
    const WAIT_MAX: Duration = NODES_WAIT_MAX;
    type Output = ();
    fn key(&self) -> String {
        format!("scale_node_group/{}", self.name)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let token = at.token();
        let scale = |access| async move { ports.account().node_group_scale(&access, &self.cluster, &self.name, self.nodes, &token).await };
        match enter(ports, &self.access, scale).await? {
            NodeGroupState::Active { nodes } if nodes == self.nodes => Ok(Progress::Done(())),
            NodeGroupState::Active { .. } | NodeGroupState::Changing => Ok(not_yet(at, format!("{} at {} nodes", self.name, self.nodes))),
            NodeGroupState::Degraded(words) => Ok(degraded(at, &self.name, &words)),
            NodeGroupState::Absent if self.nodes == 0 => Ok(Progress::Done(())),
            NodeGroupState::Absent => Err(StepError::Failed(Problem::new(Code::AWS_REFUSED, format!("node group `{}` has vanished", self.name)))),
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}

/// Brings a paused database's group back within an operation that sets it to zero again at its end.
#[derive(Debug, Clone, Serialize)]
pub struct WakeNodeGroup(ScaleNodeGroup);

impl WakeNodeGroup {
    pub(crate) fn all(input: &DatabaseInput) -> Vec<Self> {
        ScaleNodeGroup::all_up(input).into_iter().map(Self).collect()
    }
}

impl<P: Ports> Step<P> for WakeNodeGroup {
    const NAME: &'static str = "wake_node_group";
    const WAIT_MAX: Duration = NODES_WAIT_MAX;
    type Output = ();
    fn key(&self) -> String {
        format!("wake_node_group/{}", self.0.name)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        self.0.run(ports, at).await
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}

/// Deletes a group at the end of a purge.
#[derive(Debug, Clone, Serialize)]
pub struct DeleteNodeGroup {
    access: Access,
    cluster: String,
    name: String,
}

impl DeleteNodeGroup {
    pub(crate) fn all(input: &DatabaseInput) -> Vec<Self> {
        input.node_groups().into_iter().map(|group| Self { access: input.access.clone(), cluster: group.cluster, name: group.name }).collect()
    }
}

impl<P: Ports> Step<P> for DeleteNodeGroup {
    const NAME: &'static str = "delete_node_group";
    const WAIT_MAX: Duration = NODES_WAIT_MAX;
    type Output = ();
    fn key(&self) -> String {
        format!("delete_node_group/{}", self.name)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        delete(ports, at, &self.access, &self.cluster, &self.name).await
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}

async fn delete<P: Ports>(ports: &P, at: &At, access: &Access, cluster: &str, name: &str) -> Result<Progress<()>, StepError> {
    match enter(ports, access, |access| async move { ports.account().node_group_delete(&access, cluster, name).await }).await? {
        NodeGroupState::Absent => Ok(Progress::Done(())),
        NodeGroupState::Active { .. } | NodeGroupState::Changing => Ok(not_yet(at, format!("the end of {name}"))),
        NodeGroupState::Degraded(words) => Ok(degraded(at, name, &words)),
    }
}
