//! What a worker does with one ring: drive, and drive again while the wait is short.
use kiven_durable::{Drive, Driven, Faults, Hit, Point};
use kiven_model::OperationId;
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
/// How long one invocation drives at most; Lambda ends it at 60 s.
const INVOCATION: Duration = Duration::from_secs(45);

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

/// Drives an operation until it is over, rests for long, or the time is up.
///
/// # Errors
/// When the records cannot be read: the ring comes again.
pub async fn answer_ring<P: Ports>(ports: &Arc<P>, id: &OperationId, lease: Duration) -> Result<(), PortError> {
    let how = Drive { owner: owner(&**ports), lease, faults: Arc::new(Failpoints) };
    let deadline = Instant::now() + INVOCATION;
    let mut busy = 0;
    while Instant::now() < deadline {
        match drive_any(Arc::clone(ports), id, &how).await? {
            Driven::Over(_) | Driven::Unknown | Driven::Armed => return Ok(()),
            Driven::Wait(after) if after <= SLEEP_MAX => tokio::time::sleep(after.max(Duration::from_millis(5))).await,
            Driven::Wait(after) => return ports.doorbell().doorbell_ring(id, after).await,
            Driven::Busy | Driven::Lost(_) if busy < BUSY_LOOKS_MAX => {
                busy += 1;
                tokio::time::sleep(BUSY_PACE).await;
            }
            Driven::Busy | Driven::Lost(_) => return ports.doorbell().doorbell_ring(id, SLEEP_MAX).await,
        }
    }
    ports.doorbell().doorbell_ring(id, Duration::ZERO).await
}

fn owner<P: Ports>(ports: &P) -> String {
    ports.random().bits().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
