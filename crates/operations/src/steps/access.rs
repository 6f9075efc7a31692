//! The way into a customer's account at every call: the role as it is now, and what happens when it no longer opens.
use crate::accept::access_of;
use crate::input::DatabaseInput;
use jiff::SignedDuration;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::schedule::RETRY_SECONDS;
use kiven_model::{Code, OperationId, Problem};
use kiven_ports::account::Access;
use kiven_ports::{Clock, CustomerAccount, PortError, Ports, Random, Records, Write};
use serde::Serialize;
use std::time::Duration;

/// How often a lost way in is tried again.
const LOST_LOOK: Duration = Duration::from_secs(60);
/// How often the sweep comes: a look that comes every so often must not be a little too early each second time.
const SWEEP_SECONDS: i64 = 60;

/// Makes a call with the role as it is now: a reconnect may have replaced it since the operation was accepted. A role that no
/// longer opens blocks the step until the customer has mended it, and nothing is undone meanwhile.
pub(super) async fn enter<P, T, F>(ports: &P, access: &Access, call: impl FnOnce(Access) -> F + Send) -> Result<T, StepError>
where
    P: Ports,
    F: Future<Output = Result<T, PortError>> + Send,
{
    let environment = ports.records().environment_get(&access.environment_id).await?;
    let connection = environment.as_ref().and_then(|environment| environment.connection.as_ref());
    let role_arn = connection.map_or_else(|| access.role_arn.clone(), |connection| connection.role_arn.clone());
    match (call(Access { role_arn, ..access.clone() }).await, environment) {
        (Err(PortError::Refused(problem)), environment) if problem.code == Code::ACCESS_DENIED => {
            if let Some(environment) = environment.filter(|e| e.status == EnvironmentStatus::Connected) {
                say(ports, environment, EnvironmentStatus::AccessLost, Some(problem.clone())).await?;
            }
            Err(StepError::Blocked { problem, after: LOST_LOOK })
        }
        (Ok(answer), Some(environment)) if environment.status == EnvironmentStatus::AccessLost => {
            say(ports, environment, EnvironmentStatus::Connected, None).await?;
            Ok(answer)
        }
        (answer, _) => Ok(answer?),
    }
}

/// The role opens now: proved before anything stops that only the role can start again. Whoever finds it closed does not wait:
/// what is asked for now is not wanted any more when the customer has mended it, perhaps hours later.
#[derive(Debug, Clone, Serialize)]
pub struct EnterAccount {
    access: Access,
}

impl EnterAccount {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { access: input.access.clone() }
    }
}

impl<P: Ports> Step<P> for EnterAccount {
    const NAME: &'static str = "enter_account";
    type Output = ();
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<()>, StepError> {
        match enter(ports, &self.access, |access| open(ports, access)).await {
            Ok(()) => Ok(Progress::Done(())),
            Err(StepError::Blocked { problem, .. }) => Err(StepError::Failed(problem)),
            Err(error) => Err(error),
        }
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // only looks
    }
}

/// Tries whether an access that was lost has come back, where nobody has for a while, and answers the environment as it is then.
/// The try is written before it is made, so that of a schedule's many databases one makes it.
pub(crate) async fn look_again<P: Ports>(ports: &P, environment: Environment) -> Result<Environment, PortError> {
    let now = ports.clock().now();
    let lately = environment.access_tried_at.is_some_and(|at| now.duration_since(at) < SignedDuration::from_secs(RETRY_SECONDS - SWEEP_SECONDS));
    let nobody = OperationId::from_random(ports.random().bits());
    let Some(access) = access_of(&environment, &nobody).filter(|_| environment.status == EnvironmentStatus::AccessLost && !lately) else {
        return Ok(environment);
    };
    let expected = Some(environment.version);
    let tried = Environment { access_tried_at: Some(now), version: environment.version + 1, ..environment.clone() };
    match ports.records().records_commit(vec![Write::Environment { record: Box::new(tried.clone()), expected }]).await {
        Ok(()) => {}
        Err(PortError::Conflict(_)) => return Ok(environment),
        Err(error) => return Err(error),
    }
    match open(ports, access).await {
        Ok(()) => say(ports, tried.clone(), EnvironmentStatus::Connected, None).await?,
        Err(error) => tracing::debug!(%error, environment_id = %environment.id, "the role does not open yet"),
    }
    Ok(ports.records().environment_get(&environment.id).await?.unwrap_or(tried))
}

/// Whether the role opens. One that opens to others as well, which a check tells, opens.
async fn open<P: Ports>(ports: &P, access: Access) -> Result<(), PortError> {
    match ports.account().access_prove(&access).await {
        Err(PortError::Refused(problem)) if problem.code == Code::EXTERNAL_ID_UNCHECKED => Ok(()),
        proved => proved,
    }
}

/// Whoever changed the environment meanwhile knows better.
pub(crate) async fn say<P: Ports>(ports: &P, environment: Environment, status: EnvironmentStatus, problem: Option<Problem>) -> Result<(), PortError> {
    tracing::warn!(environment_id = %environment.id, status = status.as_str(), "the way into the account has changed");
    let expected = Some(environment.version);
    let record = Environment { status, problem, version: environment.version + 1, ..environment };
    match ports.records().records_commit(vec![Write::Environment { record: Box::new(record), expected }]).await {
        Ok(()) | Err(PortError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
