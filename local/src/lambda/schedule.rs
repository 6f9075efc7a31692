//! The scheduler: invokes a function at start and then at every tick, never twice at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Function;

/// The local sweep's pace; the cloud's is a minute.
pub const TICK: Duration = Duration::from_millis(200);

/// A running schedule; dropping it ends it.
pub struct Schedule {
    task: JoinHandle<()>,
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Schedule {
    /// Starts ticking at once.
    pub fn start(function: Arc<Function>, every: Duration) -> Self {
        let task = tokio::spawn(async move {
            let event = Bytes::from_static(b"{\"source\":\"aws.scheduler\",\"detail-type\":\"Scheduled Event\"}");
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = function.invoke(event.clone()).await {
                    let source = &error as &dyn std::error::Error;
                    tracing::warn!(function = function.name(), error = source, "scheduled run failed");
                }
            }
        });
        Self { task }
    }
}
