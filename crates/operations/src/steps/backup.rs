//! Backups that something waits for.
use super::{Target, ask, done, withdraw};
use crate::input::{DatabaseInput, FinalBackup};
use jiff::SignedDuration;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::CommandBody;
use kiven_model::schedule::PAUSE_WAIT_MINUTES_MAX;
use kiven_model::{Code, Problem};
use kiven_ports::Ports;
use serde::Serialize;
use std::time::Duration;

/// How long a final backup may take. The longest of today's plans writes 500 GB; a tenth of a gigabyte a second is slow.
const BACKUP_MINUTES_MAX: i64 = 12 * 60;
/// How long on a database that is stuck, which often cannot be backed up at all.
const STUCK_MINUTES_MAX: i64 = 30;

/// Takes the backup that a delete ends with, and waits for it. While it runs nothing has been destroyed.
#[derive(Debug, Clone, Serialize)]
pub struct TakeFinalBackup {
    target: Target,
    minutes_max: i64,
}

impl TakeFinalBackup {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        let stuck = input.final_backup == Some(FinalBackup::Stuck);
        Self { target: Target::of(input), minutes_max: if stuck { STUCK_MINUTES_MAX } else { BACKUP_MINUTES_MAX } }
    }
}

impl<P: Ports> Step<P> for TakeFinalBackup {
    const NAME: &'static str = "take_final_backup";
    const WAIT_MAX: Duration = Duration::from_secs(60 * BACKUP_MINUTES_MAX.unsigned_abs());
    // Each look at a running backup is an attempt; time is what bounds them.
    const ATTEMPTS_MAX: u32 = 10_000;
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        if at.now.duration_since(at.started_at) > SignedDuration::from_mins(self.minutes_max) {
            let problem = Problem::new(Code::BACKUP_FAILED, format!("the final backup is not there after {} minutes", self.minutes_max));
            return Err(StepError::Failed(problem.hint(HINT)));
        }
        let cluster = self.target.cluster.clone();
        // The operation's own backup: however often it is asked for, it is one.
        let name = format!("{cluster}-final-{}", at.operation.id.short(10));
        Ok(done(ask(ports, at, at.token(), &self.target, CommandBody::TakeBackup { cluster, name }).await?, |_| ()))
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await // a backup that was taken stays: it is a good one
    }
}

const HINT: &str = "Look at the Backup in `kiven-databases`. To delete without one, set `deletion.final_backup = false`, apply, then destroy.";

/// How long a pause waits for a base backup that runs: as long as a schedule does.
const RUNNING_MINUTES_MAX: i64 = PAUSE_WAIT_MINUTES_MAX;
/// How soon the agent is asked again about one; it has looked for 20 s each time.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Waits until no backup of the Cluster runs or is about to, once its schedule is suspended: hibernation would cut it off. The
/// agent asks the API server each time, so that no earlier observation says so.
#[derive(Debug, Clone, Serialize)]
pub struct AwaitBackups {
    target: Target,
}

impl AwaitBackups {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for AwaitBackups {
    const NAME: &'static str = "await_backups";
    // A little more than its own bound, which knows what it waits for.
    const WAIT_MAX: Duration = Duration::from_secs(60 * (RUNNING_MINUTES_MAX.unsigned_abs() + 10));
    // Each look at a running backup is an attempt; time is what bounds them.
    const ATTEMPTS_MAX: u32 = 10_000;
    type Output = ();
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<()>, StepError> {
        let asked = ask(ports, at, at.token(), &self.target, CommandBody::AwaitBackups { cluster: self.target.cluster.clone() }).await;
        match asked {
            Ok(progress) => Ok(done(progress, |_| ())),
            Err(StepError::Retry { problem, .. }) if problem.code == Code::BACKUP_RUNNING => {
                if at.now.duration_since(at.started_at) > SignedDuration::from_mins(RUNNING_MINUTES_MAX) {
                    return Err(StepError::Failed(problem.hint(RUNNING_HINT)));
                }
                Err(StepError::Retry { problem, after: ASK_AGAIN })
            }
            Err(error) => Err(error),
        }
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await // only looks
    }
}

const RUNNING_HINT: &str = "Look at it: `kubectl -n kiven-databases get backups`. Delete one that never ends, then pause again.";
