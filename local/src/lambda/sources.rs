//! SQS event sources: batches from a queue to a function, what failed comes again after its visibility timeout.

use std::sync::Arc;
use std::time::Duration;

use rustack_sqs_model::types::Message;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::Function;
use crate::aws::{BATCH_MESSAGES_MAX, Sqs};

/// Longest poll; a message that arrives ends it at once.
const POLL_SECONDS: i32 = 20;
/// Wait after a refused poll.
const REFUSED_WAIT: Duration = Duration::from_millis(500);

/// A running poller; dropping it ends it, running batches included.
pub struct EventSource {
    task: JoinHandle<()>,
}

impl Drop for EventSource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl EventSource {
    /// Polls `queue` for `function`; at most `batches_max` batches of `batch_messages` run at once.
    pub fn start(sqs: Sqs, queue: &str, function: Arc<Function>, batch_messages: usize, batches_max: usize) -> Self {
        let source = Arc::new(Source { sqs, queue: queue.to_owned(), function });
        let size = batch_messages.clamp(1, BATCH_MESSAGES_MAX);
        let task = tokio::spawn(async move {
            let permits = Arc::new(Semaphore::new(batches_max.max(1)));
            let mut running = JoinSet::new();
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                while running.try_join_next().is_some() {}
                match source.sqs.receive(&source.queue, size, POLL_SECONDS).await {
                    Ok(messages) if messages.is_empty() => {}
                    Ok(messages) => {
                        let source = source.clone();
                        running.spawn(async move {
                            source.deliver(messages).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(queue = source.queue, %error, "poll refused");
                        tokio::time::sleep(REFUSED_WAIT).await;
                    }
                }
            }
        });
        Self { task }
    }
}

struct Source {
    sqs: Sqs,
    queue: String,
    function: Arc<Function>,
}

impl Source {
    async fn deliver(&self, messages: Vec<Message>) {
        let arn = self.sqs.queue_arn(&self.queue);
        let region = arn.split(':').nth(3).unwrap_or_default();
        let records: Vec<Value> = messages
            .iter()
            .map(|message| {
                json!({
                    "messageId": message.message_id, "receiptHandle": message.receipt_handle,
                    "body": message.body, "attributes": message.attributes, "messageAttributes": {},
                    "md5OfBody": message.md5_of_body, "eventSource": "aws:sqs", "eventSourceARN": arn,
                    "awsRegion": region,
                })
            })
            .collect();
        let event = json!({"Records": records}).to_string();
        let failed = match self.function.invoke(event.into()).await {
            Ok(answer) => failures(&answer),
            Err(error) => {
                let source = &error as &dyn std::error::Error;
                tracing::warn!(queue = self.queue, function = self.function.name(), error = source, "batch failed");
                None
            }
        };
        // `None`: the whole batch failed, every message comes again.
        let Some(failed) = failed else { return };
        for message in messages {
            let id = message.message_id.unwrap_or_default();
            if let (false, Some(receipt)) = (failed.contains(&id), message.receipt_handle)
                && let Err(error) = self.sqs.delete(&self.queue, receipt).await
            {
                tracing::warn!(queue = self.queue, %error, "a message was not deleted and comes again");
            }
        }
    }
}

/// Ids that the function says failed; `None` when its answer means that all did.
fn failures(answer: &[u8]) -> Option<Vec<String>> {
    let value: Value = serde_json::from_slice(answer).ok()?;
    let Some(items) = value.get("batchItemFailures").filter(|items| !items.is_null()) else {
        return Some(Vec::new());
    };
    items.as_array()?.iter().map(|item| item["itemIdentifier"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_answer_names_its_failures_and_a_broken_one_fails_all() {
        assert_eq!(failures(b"{}"), Some(vec![]));
        assert_eq!(failures(b"null"), Some(vec![]));
        assert_eq!(failures(br#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#), Some(vec!["a".to_owned()]));
        assert_eq!(failures(br#"{"batchItemFailures":[{}]}"#), None);
        assert_eq!(failures(b"oops"), None);
    }
}
