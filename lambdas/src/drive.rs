//! What a worker does with one ring: drive, and drive again while the wait is short.
use jiff::Timestamp;
use kiven_durable::{Drive, Driven, Faults, Hit, Point};
use kiven_model::OperationId;
use kiven_model::operation::OperationStatus;
use kiven_operations::drive_any;
use kiven_ports::{Doorbell, PortError, Ports, Random};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A wait up to this is slept through; a longer one is the doorbell's.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How often a busy lease is looked at: a ring must not be lost on a drive that is about to rest.
const BUSY_PACE: Duration = Duration::from_millis(20);
/// How often at most, before the ring is passed on.
const BUSY_LOOKS_MAX: u32 = 100;
/// How long one invocation drives at most.
const INVOCATION: Duration = Duration::from_secs(45);
/// What is left to the step that runs when no other begins any more: longer than an AWS call may take.
const MARGIN: Duration = Duration::from_secs(15);

/// Passes the kill matrix's failpoints by.
struct Failpoints;

impl Faults for Failpoints {
    fn hit(&self, point: Point, step: &str) -> Hit {
        let point = match point {
            Point::IntentRecorded => "intent_recorded",
            Point::EffectDone => "effect_done",
        };
        let name = step.split('/').next().unwrap_or(step);
        kiven_failpoint::pass("worker", point, name);
        Hit::Pass
    }
}

/// What came of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The operation is over.
    Over(OperationStatus),
    /// It waits, and a ring for later is on its way.
    Waits,
    /// Others have it, or the time was up: the ring was passed on.
    PassedOn,
    /// There is no such operation.
    Unknown,
}

impl Answer {
    /// The word in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Over(_) => "over",
            Self::Waits => "waits",
            Self::PassedOn => "passed_on",
            Self::Unknown => "unknown",
        }
    }
}

/// Drives an operation until it is over, rests for long, or the time is up.
///
/// # Errors
/// When the records cannot be read: the ring comes again.
pub async fn answer_ring<P: Ports>(ports: &Arc<P>, id: &OperationId, lease: Duration, time: Duration) -> Result<Answer, PortError> {
    let how = Drive { owner: owner(&**ports), lease, faults: Arc::new(Failpoints) };
    let deadline = Instant::now() + time.min(INVOCATION);
    let pass_on = async |after: Duration| ports.doorbell().doorbell_ring(id, after).await;
    let mut busy = 0;
    while Instant::now() < deadline {
        match drive_any(Arc::clone(ports), id, &how).await? {
            Driven::Over(status) => return Ok(Answer::Over(status)),
            Driven::Unknown => return Ok(Answer::Unknown),
            Driven::Armed => return Ok(Answer::Waits),
            Driven::Wait(after) if after <= SLEEP_MAX => tokio::time::sleep(after.max(Duration::from_millis(5))).await,
            Driven::Wait(after) => return pass_on(after).await.map(|()| Answer::Waits),
            Driven::Busy | Driven::Lost(_) if busy < BUSY_LOOKS_MAX => {
                busy += 1;
                tokio::time::sleep(BUSY_PACE).await;
            }
            Driven::Busy | Driven::Lost(_) => return pass_on(SLEEP_MAX).await.map(|()| Answer::PassedOn),
        }
    }
    pass_on(Duration::ZERO).await.map(|()| Answer::PassedOn)
}

/// How long an invocation may drive, so that the last step ends and is recorded before Lambda ends the process.
#[must_use]
pub fn time_left(deadline: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default().saturating_sub(MARGIN)
}

fn owner<P: Ports>(ports: &P) -> String {
    ports.random().bits().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_leaves_its_last_step_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(time_left(at(60), at(0)), Duration::from_secs(45));
        assert_eq!(time_left(at(60), at(50)), Duration::ZERO);
        assert_eq!(time_left(at(60), at(70)), Duration::ZERO);
    }
}
