//! Time, randomness, the doorbell and blobs.
use crate::PortError;
use jiff::Timestamp;
use kiven_model::report::Report;
use kiven_model::{DatabaseId, OperationId};
use std::future::Future;
use std::time::Duration;

/// What time it is, and when some of it has passed.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Comes to its end after this long; only ever raced against work that must not take longer.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Randomness.
pub trait Random: Send + Sync {
    /// 128 random bits.
    fn bits(&self) -> [u8; 16];
}

/// Most databases in one ring for schedules.
pub const TICKS_MAX: usize = 50;

/// Wakes a worker for an operation, or for what is due in schedules. A hint only: lost, late or doubled rings are harmless.
pub trait Doorbell: Send + Sync {
    /// Rings after `delay`, at most 15 minutes; longer waits are the sweep's.
    fn doorbell_ring(&self, operation: &OperationId, delay: Duration) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Rings for databases whose schedule has to decide, at most [`TICKS_MAX`].
    fn doorbell_tick(&self, databases: &[DatabaseId]) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Payloads by digest.
pub trait Blobs: Send + Sync {
    /// Stores bytes and answers their SHA-256, hexadecimal.
    fn blob_put(&self, bytes: Vec<u8>) -> impl Future<Output = Result<String, PortError>> + Send;
    /// Reads bytes by their SHA-256.
    fn blob_get(&self, digest: &str) -> impl Future<Output = Result<Option<Vec<u8>>, PortError>> + Send;
}

/// Where the relay leaves what agents say, until somebody has recorded it.
pub trait ReportQueue: Send + Sync {
    /// Leaves a report; once this answers, the agent may forget it.
    fn report_send(&self, report: &Report) -> impl Future<Output = Result<(), PortError>> + Send;
}
