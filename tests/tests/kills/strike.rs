//! Who is struck and how, and what becomes of the operation.
use crate::matrix::{Cell, Strike};
use anyhow::{bail, ensure};
use kiven_model::OperationId;
use kiven_model::api::DatabaseView;
use kiven_model::operation::EventKind;
use kiven_tests::customer::OPERATION_MAX;
use kiven_tests::{Customer, Stack, processes};
use std::time::{Duration, Instant};

/// How long a postmaster is waited for.
const POSTMASTER_MAX: Duration = Duration::from_secs(10);
/// How long a step is waited for.
const STEP_PACE: Duration = Duration::from_millis(10);
/// How a cell that held ended.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// From the operation's beginning to its success.
    pub seconds: f64,
    /// Whether the victim was struck: a failpoint that needs luck may not be passed.
    pub struck: bool,
}

/// The servers that run in these volumes.
pub fn postmasters(stack: &Stack, volumes: &[String]) -> Vec<processes::Process> {
    let of =
        |process: &processes::Process| process.command.contains(" -D ") && volumes.iter().any(|volume| process.command.contains(volume.as_str()));
    stack.processes("postgres").into_iter().filter(of).collect()
}

/// What is to be ready before the operation begins.
pub fn arm(stack: &Stack, cell: &Cell) -> anyhow::Result<()> {
    match &cell.strike {
        Strike::Armed(failpoints) => failpoints.iter().try_for_each(|failpoint| stack.arm(failpoint)),
        Strike::ArmedAtStep(_) | Strike::Program(_) | Strike::Stack | Strike::Postmaster => Ok(()),
    }
}

/// What strikes.
pub struct Hand<'a> {
    pub stack: &'a mut Stack,
    pub customer: &'a Customer,
}

impl Hand<'_> {
    /// Strikes the victim, follows the operation to its success, and says whether the victim was struck.
    pub async fn strike_and_follow(&mut self, cell: &Cell, database: &DatabaseView, operation: &OperationId, began: Instant) -> anyhow::Result<Held> {
        let mut struck = true;
        match &cell.strike {
            Strike::Armed(_) => {}
            Strike::ArmedAtStep(failpoint) => {
                self.step_begun(cell.step, operation).await?;
                self.stack.arm(failpoint)?;
            }
            Strike::Program(name) => {
                self.step_begun(cell.step, operation).await?;
                struck = self.stack.kill_all(name) > 0;
            }
            Strike::Stack => {
                self.step_begun(cell.step, operation).await?;
                self.stack.restart().await?;
            }
            Strike::Postmaster => {
                self.step_begun(cell.step, operation).await?;
                struck = self.strike_postmaster(database).await?;
            }
        }
        let mut followed = self.customer.succeed(operation).await;
        for _ in 0..cell.patience() {
            if followed.is_err() {
                followed = self.customer.succeed(operation).await;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        match &cell.strike {
            Strike::Armed(failpoints) => {
                let left: Vec<&String> = failpoints.iter().filter(|failpoint| self.stack.disarm(failpoint)).collect();
                struck = left.is_empty();
                followed?;
                ensure!(left.first() != failpoints.first().as_ref(), "the failpoint {left:?} was never passed");
            }
            Strike::ArmedAtStep(failpoint) => {
                struck = !self.stack.disarm(failpoint);
                followed?;
            }
            Strike::Program(_) | Strike::Stack | Strike::Postmaster => drop(followed?),
        }
        Ok(Held { seconds, struck })
    }

    async fn strike_postmaster(&self, database: &DatabaseView) -> anyhow::Result<bool> {
        let deadline = Instant::now() + POSTMASTER_MAX;
        while Instant::now() < deadline {
            let volumes: Vec<String> =
                self.customer.volumes(database).await?.into_iter().map(|(_, _, volume)| volume).filter(|volume| !volume.is_empty()).collect();
            if let Some(postmaster) = postmasters(self.stack, &volumes).first() {
                processes::kill(postmaster.pid);
                return Ok(true);
            }
            tokio::time::sleep(STEP_PACE).await;
        }
        Ok(false)
    }

    /// Waits until a step has begun.
    async fn step_begun(&self, step: &str, operation: &OperationId) -> anyhow::Result<()> {
        let deadline = Instant::now() + OPERATION_MAX;
        while Instant::now() < deadline {
            let view = self.customer.client.operation_get(operation).await?;
            let begun = |event: &kiven_model::operation::OperationEvent| {
                event.kind == EventKind::StepStarted && event.step.as_deref().is_some_and(|name| name.split('/').next() == Some(step))
            };
            if view.events.iter().any(begun) {
                return Ok(());
            }
            ensure!(!view.status.over(), "the {} is over without the step {step}: {:?}", view.kind.as_str(), view.problem);
            tokio::time::sleep(STEP_PACE).await;
        }
        bail!("the step {step} has not begun within {OPERATION_MAX:?}")
    }
}
