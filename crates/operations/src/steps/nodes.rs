//! Compute: one managed node group per database and zone.
use super::access::enter;
use super::attempt_id;
use crate::input::DatabaseInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::database::Placement;
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
/// EKS gives a creation up after about half an hour; a group that is then made again has as long once more.
const MADE_WAIT_MAX: Duration = Duration::from_secs(75 * 60);
/// How long a group that EKS has given up is left alone: its deletion takes a while.
const GIVEN_UP_PAUSE: Duration = Duration::from_secs(30);
/// How a wait begins for nodes that do not come for another reason than a shortage.
const UNFIT: &str = "fit nodes of ";

fn not_yet<T>(at: &At, on: String) -> Progress<T> {
    Progress::Pending { after: at.look_again(LOOK_LEAST, LOOK_MOST), on }
}

/// The account's words begin with the code of a shortage.
fn is_shortage(words: &str) -> bool {
    words.contains(&Code::NO_CAPACITY.to_string())
}

/// Worth patience, whatever it is: a zone may get machines, a customer may mend what keeps nodes from joining. The wait has its
/// own bound, and its end says which of the two it was.
fn degraded<T>(at: &At, name: &str, words: &str) -> Progress<T> {
    not_yet(at, if is_shortage(words) { format!("capacity for {name} ({words})") } else { format!("{UNFIT}{name} ({words})") })
}

/// EKS has given a creation up: the next attempt, with a token of its own, makes the group again. Attempts and time are bounded.
fn given_up(name: &str, words: &str) -> StepError {
    let shortage = is_shortage(words);
    let message = if shortage { format!("no capacity for {name} ({words})") } else { format!("no {UNFIT}{name} ({words})") };
    StepError::Retry { problem: no_nodes(shortage, message), after: GIVEN_UP_PAUSE }
}

fn no_nodes(shortage: bool, message: String) -> Problem {
    if shortage {
        return Problem::new(Code::NO_CAPACITY, message);
    }
    let hint = "The words in brackets are what EKS says of the node group. Mend it in the account, then apply again.";
    Problem::new(Code::NODES_UNFIT, message).hint(hint)
}

fn overdue(on: &str, within: Duration) -> Problem {
    no_nodes(!on.starts_with(UNFIT), format!("no {on} within {} minutes", within.as_secs() / 60))
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

/// Waits for the nodes of step 1. A group that EKS has given up is made again meanwhile, with a token of its own each time.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitNodeGroup {
    access: Access,
    cluster: String,
    name: String,
    /// The record knows it by its name.
    #[serde(skip)]
    group: NodeGroup,
}

impl AwaitNodeGroup {
    pub(crate) fn all(input: &DatabaseInput, groups: &[NodeGroup]) -> Vec<Self> {
        let one =
            |group: &NodeGroup| Self { access: input.access.clone(), cluster: group.cluster.clone(), name: group.name.clone(), group: group.clone() };
        groups.iter().map(one).collect()
    }
}

impl<P: Ports> Step<P> for AwaitNodeGroup {
    const NAME: &'static str = "await_node_group";
    const WAIT_MAX: Duration = MADE_WAIT_MAX;
    type Output = ();
    fn key(&self) -> String {
        format!("await_node_group/{}", self.name)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let token = attempt_id(at.token(), at);
        let look = |access| async move { ports.account().node_group_ensure(&access, &self.group, &token).await };
        match enter(ports, &self.access, look).await? {
            NodeGroupState::Active { .. } => Ok(Progress::Done(())),
            NodeGroupState::Changing => Ok(not_yet(at, format!("nodes of {}", self.name))),
            NodeGroupState::Degraded(words) => Ok(degraded(at, &self.name, &words)),
            NodeGroupState::GivenUp(words) => Err(given_up(&self.name, &words)),
            NodeGroupState::Absent => Err(StepError::Failed(Problem::new(Code::AWS_REFUSED, format!("node group `{}` has vanished", self.name)))),
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
    fn overdue(&self, on: &str) -> Problem {
        overdue(on, MADE_WAIT_MAX)
    }
}

/// Sets a group's size and waits until it has it: to zero at the end of a pause, back at the beginning of a resume, larger
/// before a change and smaller after it. A group that is to have nodes and is not there is made.
#[derive(Debug, Clone, Serialize)]
pub struct ScaleNodeGroup {
    access: Access,
    group: NodeGroup,
    /// The nodes it had, for an undo; none when it was not there.
    before: u32,
}

impl ScaleNodeGroup {
    fn all(input: &DatabaseInput, groups: Vec<NodeGroup>) -> Vec<Self> {
        let before = input.node_groups_before();
        let nodes = |group: &NodeGroup| before.iter().find(|known| known.name == group.name).map_or(0, |known| known.nodes);
        groups.into_iter().map(|group| Self { access: input.access.clone(), before: nodes(&group), group }).collect()
    }
    pub(crate) fn all_to_zero(input: &DatabaseInput) -> Vec<Self> {
        let empty = |group: NodeGroup| NodeGroup { nodes: 0, ..group };
        Self::all(input, input.node_groups().into_iter().map(empty).collect())
    }
    pub(crate) fn all_up(input: &DatabaseInput) -> Vec<Self> {
        Self::all(input, input.node_groups())
    }
    /// Groups that need more nodes than they have, or are not there yet.
    pub(crate) fn growing(input: &DatabaseInput) -> Vec<Self> {
        Self::all_up(input).into_iter().filter(|step| step.group.nodes > step.before).collect()
    }
    /// Groups that keep fewer nodes than they have.
    pub(crate) fn shrinking(input: &DatabaseInput, placement: &Placement) -> Vec<Self> {
        let groups = input.groups_of(&input.generation.spec, placement);
        let had = |group: &NodeGroup| input.node_groups().iter().find(|known| known.name == group.name).map_or(0, |known| known.nodes);
        let most = |step: &Self| step.before.max(had(&step.group));
        Self::all(input, groups).into_iter().filter(|step| step.group.nodes < most(step)).collect()
    }
}

impl<P: Ports> Step<P> for ScaleNodeGroup {
    const NAME: &'static str = "scale_node_group";
    const WAIT_MAX: Duration = NODES_WAIT_MAX;
    type Output = ();
    fn key(&self) -> String {
        format!("scale_node_group/{}={}", self.group.name, self.group.nodes)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let (token, group) = (attempt_id(at.token(), at), &self.group);
        let size = |access| async move {
            match group.nodes {
                0 => ports.account().node_group_scale(&access, &group.cluster, &group.name, 0, &token).await,
                _ => ports.account().node_group_ensure(&access, group, &token).await,
            }
        };
        match enter(ports, &self.access, size).await? {
            NodeGroupState::Active { nodes } if nodes == group.nodes => Ok(Progress::Done(())),
            NodeGroupState::Active { .. } | NodeGroupState::Changing => Ok(not_yet(at, format!("{} at {} nodes", group.name, group.nodes))),
            NodeGroupState::Degraded(words) => Ok(degraded(at, &group.name, &words)),
            NodeGroupState::GivenUp(words) => Err(given_up(&group.name, &words)),
            NodeGroupState::Absent if group.nodes == 0 => Ok(Progress::Done(())),
            NodeGroupState::Absent => Err(StepError::Failed(Problem::new(Code::AWS_REFUSED, format!("node group `{}` has vanished", group.name)))),
        }
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        let (group, before) = (&self.group, self.before);
        if before == 0 {
            return delete(ports, at, &self.access, &group.cluster, &group.name).await;
        }
        let token = format!("{}/undo", at.token());
        let back = |access| async move { ports.account().node_group_scale(&access, &group.cluster, &group.name, before, &token).await };
        match enter(ports, &self.access, back).await? {
            NodeGroupState::Active { nodes } if nodes == before => Ok(Progress::Done(())),
            NodeGroupState::Active { .. } | NodeGroupState::Changing => Ok(not_yet(at, format!("{} back at {before} nodes", group.name))),
            // A group that is short of machines has the size it was given.
            NodeGroupState::Degraded(_) | NodeGroupState::GivenUp(_) | NodeGroupState::Absent => Ok(Progress::Done(())),
        }
    }
    fn overdue(&self, on: &str) -> Problem {
        overdue(on, NODES_WAIT_MAX)
    }
}

/// Deletes a group: at the end of a purge, or after a change that no longer needs it.
#[derive(Debug, Clone, Serialize)]
pub struct DeleteNodeGroup {
    access: Access,
    cluster: String,
    name: String,
}

impl DeleteNodeGroup {
    pub(crate) fn all(input: &DatabaseInput) -> Vec<Self> {
        Self::of(input, input.node_groups())
    }
    /// Groups that have nothing to hold any more, once the instances are where they are.
    pub(crate) fn left(input: &DatabaseInput, placement: &Placement) -> Vec<Self> {
        let kept = input.groups_of(&input.generation.spec, placement);
        let mut groups = input.node_groups_before();
        groups.extend(input.node_groups());
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        groups.dedup_by(|a, b| a.name == b.name);
        groups.retain(|group| kept.iter().all(|kept| kept.name != group.name));
        Self::of(input, groups)
    }
    fn of(input: &DatabaseInput, groups: Vec<NodeGroup>) -> Vec<Self> {
        groups.into_iter().map(|group| Self { access: input.access.clone(), cluster: group.cluster, name: group.name }).collect()
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
        NodeGroupState::Degraded(words) | NodeGroupState::GivenUp(words) => Ok(not_yet(at, format!("the end of {name} ({words})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shortage_is_called_one() {
        let at_its_end = |words: &str| {
            let on = if is_shortage(words) { format!("capacity for g ({words})") } else { format!("{UNFIT}g ({words})") };
            overdue(&on, NODES_WAIT_MAX)
        };
        let cases = [
            ("KV-306: AsgInstanceLaunchFailures: InsufficientInstanceCapacity", Code::NO_CAPACITY),
            ("AsgInstanceLaunchFailures: Client.InvalidKMSKey.InvalidState", Code::NODES_UNFIT),
            ("NodeCreationFailure: Instances failed to join the kubernetes cluster", Code::NODES_UNFIT),
        ];
        for (words, code) in cases {
            let problem = at_its_end(words);
            assert_eq!(problem.code, code, "{words}");
            assert!(problem.message.contains(words), "{}", problem.message);
            let StepError::Retry { problem, .. } = given_up("g", words) else { panic!("it is tried again") };
            assert!(problem.code == code && problem.message.contains(words), "{problem:?}");
        }
        assert_eq!(overdue("nodes of g", NODES_WAIT_MAX).code, Code::NO_CAPACITY, "nobody has said why");
    }
}
