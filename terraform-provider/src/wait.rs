//! Waiting for operations: to the end, until time is up, or until Terraform is interrupted.
use kiven_client::{Client, ClientError, Followed};
use kiven_model::api::OperationView;
use kiven_model::operation::OperationStatus;
use kiven_model::{Code, OperationId, Problem};
use kiven_tfplugin::{Diagnostic, Stop};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How often a request is repeated because another operation was in the way.
const IN_THE_WAY_MAX: u32 = 20;

/// How an operation ended, or that it has not yet.
pub(crate) enum Outcome {
    /// It did what it should.
    Succeeded,
    /// It has gone back whole.
    Unwound(Problem),
    /// It is not over, or nobody knows.
    Unfinished(Unfinished),
}

/// Why nobody waits any longer.
pub(crate) enum Unfinished {
    /// The operation can neither go on nor back.
    Stuck(Problem),
    /// The timeout has passed; the step that ran.
    TimedOut(Option<String>),
    /// Terraform was interrupted.
    Interrupted,
    /// The API does not answer.
    Lost(ClientError),
}

/// The time that one apply may take, and the signal that ends it early.
#[derive(Clone)]
pub(crate) struct Patience<'a> {
    deadline: Instant,
    stop: &'a Stop,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(within: Duration, stop: &'a Stop) -> Self {
        Self { deadline: Instant::now() + within, stop }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Sleeps, unless time is up or Terraform is interrupted first; whether it slept to the end.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(pause.min(self.left())) => !self.left().is_zero(),
        }
    }

    /// Follows an operation.
    pub(crate) async fn follow(&self, client: &Client, id: &OperationId) -> Outcome {
        let seen = |event: &kiven_model::operation::OperationEvent| {
            tracing::info!(operation_id = id.as_str(), step = event.step.as_deref().unwrap_or_default(), "{}", event.message);
        };
        let followed = tokio::select! {
            () = self.stop.cancelled() => return Outcome::Unfinished(Unfinished::Interrupted),
            followed = client.operation_follow(id, self.left(), seen) => followed,
        };
        match followed {
            Ok(Followed::Over(view)) => over(*view),
            Ok(Followed::TimedOut(view)) => Outcome::Unfinished(Unfinished::TimedOut(view.and_then(|view| view.current_step))),
            Err(error) => Outcome::Unfinished(Unfinished::Lost(error)),
        }
    }

    /// Sends a request; while another operation is in the way, waits for that one and sends it again.
    pub(crate) async fn ask<T, F>(&self, client: &Client, mut request: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut answer = request().await;
        let mut waited_for = None;
        for _ in 0..IN_THE_WAY_MAX {
            let Some(running) = answer.as_ref().err().and_then(ClientError::running_operation).cloned() else { break };
            // Once over, an operation is no longer in the way: the refusal has another reason.
            if waited_for.as_ref() == Some(&running) || matches!(self.follow(client, &running).await, Outcome::Unfinished(_)) {
                break;
            }
            waited_for = Some(running);
            answer = request().await;
        }
        answer
    }
}

fn over(view: OperationView) -> Outcome {
    let problem =
        |problem: Option<Problem>, fallback: &str| problem.unwrap_or_else(|| Problem::new(Code::STEP_STUCK, fallback)).operation(view.id.clone());
    match view.status {
        OperationStatus::Succeeded => Outcome::Succeeded,
        OperationStatus::Failed => Outcome::Unwound(problem(view.problem, "The operation failed and was undone.")),
        OperationStatus::Stuck => Outcome::Unfinished(Unfinished::Stuck(problem(view.problem, "The operation is stuck."))),
        OperationStatus::Running | OperationStatus::Unwinding => Outcome::Unfinished(Unfinished::TimedOut(view.current_step)),
    }
}

impl Unfinished {
    fn words(&self, operation: Option<&OperationId>) -> (String, String) {
        let watch = operation.map_or(String::new(), |id| format!(" Watch it with `kiven operations watch {id}`."));
        match self {
            Self::Stuck(problem) => (format!("{}: {}", problem.code, problem.message), crate::diagnose::details(problem)),
            Self::TimedOut(step) => {
                let step = step.as_ref().map_or(String::new(), |step| format!(" Running step: {step}."));
                ("The wait is over before the operation".to_owned(), format!("It goes on without Terraform.{step}{watch}"))
            }
            Self::Interrupted => ("The wait was interrupted".to_owned(), format!("The operation goes on without Terraform.{watch}")),
            Self::Lost(error) => ("The API does not answer any more".to_owned(), format!("{}.{watch}", crate::diagnose::chain(error))),
        }
    }
    /// For create and update: the state is complete, the next apply waits again.
    pub(crate) fn warning(&self, operation: Option<&OperationId>) -> Diagnostic {
        let (summary, detail) = self.words(operation);
        Diagnostic::warning(summary, format!("{detail}\n\nNothing is lost: the state is complete and the next apply waits again."))
    }
    /// For delete: the object is still there.
    pub(crate) fn error(&self, operation: Option<&OperationId>) -> Diagnostic {
        let (summary, detail) = self.words(operation);
        Diagnostic::error(summary, format!("{detail}\n\nThe object stays in the state; the next destroy goes on."))
    }
}
