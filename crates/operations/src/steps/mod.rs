//! The steps, by what they touch, and how they talk to an agent.
pub(crate) mod access;
mod archive;
mod backup;
mod certificate;
mod cluster;
mod connect;
mod farewell;
mod nodes;
mod observed;
mod patch;
mod quota;
mod retire;
mod rolled;
mod upgrade;
mod verify;

pub use access::EnterAccount;
pub use archive::{EnsureBackupBucket, EnsureBackupRole};
pub use backup::{AwaitBackups, TakeFinalBackup};
pub use certificate::{ReadCertificate, RenewCertificate, ServerCertificate};
pub(crate) use cluster::ARCHIVE_WAL;
pub use cluster::{
    ApplyCluster, ApplyNetworkPolicy, ApplyPooler, ApplyScheduledBackup, ArchiveWal, EnsureInitialDatabase, EnsureSecrets, HibernateCluster,
    WakeCluster,
};
pub use connect::{CheckAccount, ClaimEksCluster, EnsureOidcProvider, HearAgent, ProveAccess, ReadEksCluster};
pub use farewell::{AwaitGone, BeginDelete, ReadDatabases, ReleaseAgent, ReleaseDatabase};
pub use nodes::{AwaitNodeGroup, DeleteNodeGroup, EnsureNodeGroup, ScaleNodeGroup};
pub use observed::{AwaitHealthy, AwaitHibernated, AwaitStopped, Identity, ReadConnection, RecordVolumes, Stopped, VerifyIdentity, VerifyVolumes};
pub use patch::{AwaitPatch, AwaitWhole, LeaveZone, PATCH_ATTEMPTS_MAX, ReadPrimaryZone, StartPatch};
pub use quota::CheckNodeGroupQuota;
pub use retire::{BeginPurge, PurgeCluster, RetireCluster, UnretireCluster};
pub use rolled::{AwaitCurrent, ReadPlacement, VerifyRevision};
pub use upgrade::{AwaitDatabasesWell, MoveComponent};
pub use verify::{VerifyOperator, VerifyStorageClass};

use crate::input::DatabaseInput;
use jiff::SignedDuration;
use kiven_durable::{At, Progress, StepError};
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use kiven_model::{Code, DatabaseId, EnvironmentId, Problem};
use kiven_ports::agents::CommandState;
use kiven_ports::{Agents, Ports};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a command stays good: no longer than the step that asks waits.
const COMMAND_MINUTES: i64 = 15;
/// An agent's answer rings the doorbell; this is for when the ring is lost.
const ANSWER_SECONDS: u64 = 5;

/// Where a command goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    environment_id: EnvironmentId,
    database_id: Option<DatabaseId>,
    cluster: String,
    fence: u64,
}

impl Target {
    fn of(input: &DatabaseInput) -> Self {
        Self {
            environment_id: input.access.environment_id.clone(),
            database_id: Some(input.generation.id.clone()),
            cluster: input.names().cluster,
            fence: input.fence,
        }
    }
}

/// The id of the attempt's command: each attempt asks anew, so that one that expired or failed is no end.
fn attempt_id(id: String, at: &At) -> String {
    if at.attempts == 0 { id } else { format!("{id}#{}", at.attempts) }
}

/// Sends a command once an attempt and waits for its end. `id` is the step's token, or derived from it.
async fn ask<P: Ports>(ports: &P, at: &At, id: String, target: &Target, body: CommandBody) -> Result<Progress<CommandOutput>, StepError> {
    let wait = || Progress::Pending { after: Duration::from_secs(ANSWER_SECONDS), on: "the agent".to_owned() };
    let name = body.name();
    let id = attempt_id(id, at);
    match ports.agents().command_get(&id).await? {
        None => {
            let command = Command {
                id,
                environment_id: target.environment_id.clone(),
                operation_id: at.operation.id.clone(),
                database_id: target.database_id.clone(),
                fence: target.fence,
                not_after: at.now + SignedDuration::from_mins(COMMAND_MINUTES),
                body,
            };
            ports.agents().command_send(&command).await?;
            Ok(wait())
        }
        Some(record) => match record.state {
            CommandState::Pending | CommandState::Delivered { .. } => Ok(wait()),
            CommandState::Answered(CommandOutcome::Done(output)) => Ok(Progress::Done(output)),
            // The agent was away for too long: nothing happened, and asking again may help.
            CommandState::Answered(CommandOutcome::Refused(problem)) if problem.code == Code::COMMAND_EXPIRED => {
                Err(StepError::Retry { problem, after: Duration::from_secs(1) })
            }
            CommandState::Answered(CommandOutcome::Refused(problem)) => Err(StepError::Failed(problem)),
            CommandState::Answered(CommandOutcome::Retry(problem)) => Err(StepError::Retry { problem, after: Duration::from_millis(500) }),
            CommandState::Withdrawn => {
                let problem = Problem::new(Code::AGENT_FAILED, format!("the command `{name}` was withdrawn"));
                Err(StepError::Failed(problem))
            }
        },
    }
}

/// Takes an undelivered command back and waits for a delivered one's end, so that nothing happens behind an undo's back.
async fn withdraw<P: Ports>(ports: &P, at: &At) -> Result<Progress<()>, StepError> {
    match ports.agents().command_withdraw(&attempt_id(at.token(), at)).await? {
        None | Some(CommandState::Withdrawn | CommandState::Answered(_)) => Ok(Progress::Done(())),
        Some(CommandState::Pending | CommandState::Delivered { .. }) => {
            let expired = at.now > at.started_at + SignedDuration::from_mins(2 * COMMAND_MINUTES);
            // By then the agent refuses it by its own clock.
            if expired {
                Ok(Progress::Done(()))
            } else {
                Ok(Progress::Pending { after: Duration::from_secs(ANSWER_SECONDS), on: "the agent".to_owned() })
            }
        }
    }
}

/// Maps what is done and leaves what is pending.
fn done<T, U>(progress: Progress<T>, map: impl FnOnce(T) -> U) -> Progress<U> {
    match progress {
        Progress::Done(value) => Progress::Done(map(value)),
        Progress::Pending { after, on } => Progress::Pending { after, on },
    }
}
