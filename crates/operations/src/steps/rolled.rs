//! Whether a change has arrived: PostgreSQL runs with it, every instance has it, and where the instances are now.
use super::observed::{not_yet, seen};
use super::{Target, ask, done, withdraw};
use crate::input::DatabaseInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::CommandBody;
use kiven_model::database::Placement;
use kiven_model::{Code, Problem};
use kiven_ports::Ports;
use serde::Serialize;
use std::time::Duration;

/// A rolling change of five instances with large caches takes its time.
const ROLL_WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// PostgreSQL shows the revision of its settings, and none of them waits for a restart.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyRevision {
    target: Target,
    revision: String,
}

impl VerifyRevision {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), revision: input.generation.revision.to_string() }
    }
}

impl<P: Ports> Step<P> for VerifyRevision {
    const NAME: &'static str = "verify_revision";
    /// With pauses of a minute at most, as long as a rolling change may take.
    const ATTEMPTS_MAX: u32 = 70;
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let body = CommandBody::VerifyRevision { cluster: self.target.cluster.clone(), revision: self.revision.clone() };
        Ok(done(ask(ports, at, at.token(), &self.target, body).await?, |_| ()))
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await
    }
}

/// Every instance answers, on the node class, with the resources and the volume that are wanted.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitCurrent {
    target: Target,
    instances: u32,
}

impl AwaitCurrent {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), instances: u32::from(input.generation.spec.instances) }
    }
}

impl<P: Ports> Step<P> for AwaitCurrent {
    const NAME: &'static str = "await_current";
    const WAIT_MAX: Duration = ROLL_WAIT_MAX;
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let on = match seen(ports, &self.target).await? {
            Some(seen) if seen.whole(self.instances) => return Ok(Progress::Done(())),
            Some(seen) => format!("{} of {} instances to have changed ({})", seen.ready_instances, self.instances, seen.phase),
            None => "an observation".to_owned(),
        };
        Ok(not_yet(at, on))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only waits
    }
    fn overdue(&self, on: &str) -> Problem {
        let hint = "Look at the pods' events: `kubectl -n kiven-databases get events`. What is wanted stays recorded.";
        Problem::new(Code::CLUSTER_NOT_HEALTHY, format!("the change did not reach every instance: still waiting for {on}")).hint(hint)
    }
}

/// In which zones the instances are, so that no node is taken from under one.
#[derive(Debug, Clone, Serialize)]
pub struct ReadPlacement {
    target: Target,
    /// Where they were to be: taken where the nodes' zones are not known.
    expected: Placement,
}

impl ReadPlacement {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input), expected: input.placement() }
    }
}

impl<P: Ports> Step<P> for ReadPlacement {
    const NAME: &'static str = "read_placement";
    type Output = Placement;
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<Placement>, StepError> {
        let zones = seen(ports, &self.target).await?.map(|seen| seen.zones).unwrap_or_default();
        let whole = zones.values().sum::<u32>() == self.expected.values().sum::<u32>();
        Ok(Progress::Done(if whole { zones } else { self.expected.clone() }))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<Placement>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}
