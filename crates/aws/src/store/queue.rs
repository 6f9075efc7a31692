//! SQS: the doorbell, and plain queues for what agents report.

use std::time::Duration;

use aws_sdk_sqs::Client;
use kiven_model::{DatabaseId, OperationId};
use kiven_ports::{Doorbell, PortError};
use serde::Serialize;

use crate::Sdk;
use crate::error::port_error;

/// Longest delay of a message.
pub const DELAY_SECONDS_MAX: u64 = 900;

/// One standard queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// A queue that exists, by its URL.
    #[must_use]
    pub fn new(sdk: &Sdk, url: &str) -> Self {
        Self { client: sdk.sqs(), url: url.to_owned() }
    }

    /// Sends a value as JSON.
    ///
    /// # Errors
    /// When SQS does not take it; nothing is buffered here.
    pub async fn send<T: Serialize + Sync>(&self, value: &T) -> Result<(), PortError> {
        let body = serde_json::to_string(value).map_err(|error| PortError::retry("sqs:SendMessage", error.to_string()))?;
        self.send_text(body, 0).await
    }

    async fn send_text(&self, body: String, delay_seconds: i32) -> Result<(), PortError> {
        let send = self.client.send_message().queue_url(&self.url).message_body(body).delay_seconds(delay_seconds);
        send.send().await.map(|_| ()).map_err(|error| port_error("sqs:SendMessage", error))
    }
}

/// The doorbell: a message that carries only an operation's id, or ids of databases with spaces between them.
#[derive(Clone, Debug)]
pub struct SqsDoorbell {
    queue: Queue,
}

impl SqsDoorbell {
    /// A doorbell on a queue.
    #[must_use]
    pub fn new(queue: Queue) -> Self {
        Self { queue }
    }
}

impl Doorbell for SqsDoorbell {
    async fn doorbell_ring(&self, operation: &OperationId, delay: Duration) -> Result<(), PortError> {
        self.queue.send_text(operation.to_string(), delay_seconds(delay)).await
    }
    async fn doorbell_tick(&self, databases: &[DatabaseId]) -> Result<(), PortError> {
        let ids: Vec<&str> = databases.iter().map(DatabaseId::as_str).collect();
        self.queue.send_text(ids.join(" "), 0).await
    }
}

/// Rounds up: a ring before the due time would find nothing to do and be lost.
fn delay_seconds(delay: Duration) -> i32 {
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    i32::try_from(seconds.min(DELAY_SECONDS_MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_round_up_and_end_at_the_limit() {
        let table = [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (3_600_000, 900)];
        for (milliseconds, seconds) in table {
            assert_eq!(delay_seconds(Duration::from_millis(milliseconds)), seconds);
        }
    }
}
