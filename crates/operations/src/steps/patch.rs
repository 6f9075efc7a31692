//! Patching nodes: one group at a time, under a whole database, with the primary elsewhere.
use super::access::enter;
use super::observed::{not_yet, seen};
use super::{Target, ask, withdraw};
use crate::input::DatabaseInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::CommandBody;
use kiven_model::{Code, Problem};
use kiven_ports::account::{Access, NodeGroup, UpdateState};
use kiven_ports::{CustomerAccount, Ports};
use serde::Serialize;
use std::time::Duration;

/// How often a group is patched anew after EKS has given up, as it does when a pod could not be moved in time.
pub const PATCH_ATTEMPTS_MAX: u32 = 3;
/// EKS gives a node 15 minutes to drain, and replaces several of them one by one.
const PATCH_WAIT_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// Large caches take their time.
const WHOLE_WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// Bounds of the pace at which EKS is asked.
const LOOK_LEAST: Duration = Duration::from_millis(200);
const LOOK_MOST: Duration = Duration::from_secs(30);

/// Every instance answers and is as asked for: before something is done to it, and after it.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitWhole {
    target: Target,
    instances: u32,
    after: Option<String>,
}

impl AwaitWhole {
    pub(crate) fn before(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), instances: u32::from(input.generation.spec.instances), after: None }
    }
    pub(crate) fn after(input: &DatabaseInput, group: &NodeGroup) -> Self {
        Self { after: Some(group.name.clone()), ..Self::before(input) }
    }
}

impl<P: Ports> Step<P> for AwaitWhole {
    const NAME: &'static str = "await_whole";
    const WAIT_MAX: Duration = WHOLE_WAIT_MAX;
    type Output = ();
    fn key(&self) -> String {
        self.after.as_ref().map_or_else(|| "await_whole".to_owned(), |group| format!("await_whole/{group}"))
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let on = match seen(ports, &self.target).await? {
            Some(seen) if seen.whole(self.instances) => return Ok(Progress::Done(())),
            Some(seen) => format!("{} of {} instances ({})", seen.ready_instances, self.instances, seen.phase),
            None => "an observation".to_owned(),
        };
        Ok(not_yet(at, on))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
    fn overdue(&self, on: &str) -> Problem {
        let hint = "Look at the pods' events: `kubectl -n kiven-databases get events`. Nothing is begun on a database that is not whole.";
        Problem::new(Code::CLUSTER_NOT_HEALTHY, format!("maintenance waits for every instance: still waiting for {on}")).hint(hint)
    }
}

/// In which zone the primary is, to take that one last; nothing where the zones of nodes are not known.
#[derive(Debug, Clone, Serialize)]
pub struct ReadPrimaryZone {
    target: Target,
}

impl ReadPrimaryZone {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for ReadPrimaryZone {
    const NAME: &'static str = "read_primary_zone";
    type Output = Option<String>;
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<Self::Output>, StepError> {
        Ok(Progress::Done(seen(ports, &self.target).await?.and_then(|seen| seen.primary_zone)))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<Self::Output>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// The primary leaves the zone whose nodes come next, where there is another zone with an instance. Where zones are not known
/// CloudNativePG does the same once the node is cordoned; here it is done while nothing else is under way.
#[derive(Debug, Clone, Serialize)]
pub struct LeaveZone {
    target: Target,
    zone: Option<String>,
    elsewhere: bool,
}

impl LeaveZone {
    pub(crate) fn of(input: &DatabaseInput, group: &NodeGroup) -> Self {
        let zone = input.zone_of(group).map(str::to_owned);
        let elsewhere = input.placement().iter().any(|(other, nodes)| *nodes > 0 && zone.as_ref() != Some(other));
        Self { target: Target::of(input), zone, elsewhere }
    }
}

impl<P: Ports> Step<P> for LeaveZone {
    const NAME: &'static str = "leave_zone";
    type Output = ();
    fn key(&self) -> String {
        format!("leave_zone/{}", self.zone.as_deref().unwrap_or("unknown"))
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let Some(zone) = self.zone.as_ref().filter(|_| self.elsewhere) else { return Ok(Progress::Done(())) };
        let Some(seen) = seen(ports, &self.target).await? else { return Ok(not_yet(at, "an observation".to_owned())) };
        if seen.primary_zone.as_ref() != Some(zone) && seen.healthy() {
            return Ok(Progress::Done(()));
        }
        let body = CommandBody::Switchover { cluster: self.target.cluster.clone(), away_from_zone: zone.clone() };
        match ask(ports, at, at.token(), &self.target, body).await? {
            Progress::Done(_) => Ok(not_yet(at, format!("the primary to leave {zone}"))),
            Progress::Pending { after, on } => Ok(Progress::Pending { after, on }),
        }
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await
    }
}

/// Asks EKS for nodes of the newest release; `None` when there is none newer.
#[derive(Debug, Clone, Serialize)]
pub struct StartPatch {
    access: Access,
    cluster: String,
    name: String,
    attempt: u32,
}

impl StartPatch {
    pub(crate) fn of(input: &DatabaseInput, group: &NodeGroup, attempt: u32) -> Self {
        Self { access: input.access.clone(), cluster: group.cluster.clone(), name: group.name.clone(), attempt }
    }
}

impl<P: Ports> Step<P> for StartPatch {
    const NAME: &'static str = "start_patch";
    type Output = Option<String>;
    fn key(&self) -> String {
        format!("start_patch/{}#{}", self.name, self.attempt)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<Self::Output>, StepError> {
        let token = at.token();
        let patch = |access| async move { ports.account().node_group_patch(&access, &self.cluster, &self.name, &token).await };
        Ok(Progress::Done(enter(ports, &self.access, patch).await?))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<Self::Output>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // comes after the point of no return only
    }
}

/// Waits until every node of a group is a new one; false when EKS has given up and it is worth another attempt.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitPatch {
    access: Access,
    cluster: String,
    name: String,
    attempt: u32,
    update: String,
}

impl AwaitPatch {
    pub(crate) fn of(input: &DatabaseInput, group: &NodeGroup, attempt: u32, update: String) -> Self {
        Self { access: input.access.clone(), cluster: group.cluster.clone(), name: group.name.clone(), attempt, update }
    }
}

impl<P: Ports> Step<P> for AwaitPatch {
    const NAME: &'static str = "await_patch";
    const WAIT_MAX: Duration = PATCH_WAIT_MAX;
    type Output = bool;
    fn key(&self) -> String {
        format!("await_patch/{}#{}", self.name, self.attempt)
    }
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<bool>, StepError> {
        let look = |access| async move { ports.account().node_group_update(&access, &self.cluster, &self.name, &self.update).await };
        match enter(ports, &self.access, look).await? {
            UpdateState::Done => Ok(Progress::Done(true)),
            UpdateState::Running => Ok(Progress::Pending { after: at.look_again(LOOK_LEAST, LOOK_MOST), on: format!("new nodes of {}", self.name) }),
            UpdateState::Failed(_) if self.attempt < PATCH_ATTEMPTS_MAX => Ok(Progress::Done(false)),
            UpdateState::Failed(words) => {
                let problem = Problem::new(Code::AWS_REFUSED, format!("EKS could not replace the nodes of `{}`", self.name));
                Err(StepError::Failed(problem.detail(words).hint("Look at the pods on the group's nodes: one of them could not be moved.")))
            }
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<bool>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
}
