//! SQS: rustack in memory. A restart forgets messages, as a lost message would be: DynamoDB is the truth.

use std::collections::HashMap;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustack_sqs_core::config::SqsConfig;
use rustack_sqs_core::handler::RustackSqsHandler;
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_http::service::{SqsHttpConfig, SqsHttpService};
use rustack_sqs_model::input::{CreateQueueInput, DeleteMessageInput, GetQueueAttributesInput, ReceiveMessageInput};
use rustack_sqs_model::types::Message;
use thiserror::Error;
use tokio::net::TcpListener;

/// Most messages one receive may answer.
pub const BATCH_MESSAGES_MAX: usize = 10;

/// A queue call was refused.
#[derive(Debug, Error)]
#[error("SQS refused: {0}")]
pub struct SqsRefused(String);

/// The queues, usable without HTTP by the event sources.
#[derive(Clone)]
pub struct Sqs {
    provider: Arc<RustackSqs>,
    base: String,
    region: String,
    account: String,
}

impl Sqs {
    /// Serves queues on the listener until the task is dropped.
    pub(crate) fn serve(listener: TcpListener, region: &str, account: &str) -> std::io::Result<(Self, tokio::task::JoinHandle<()>)> {
        let port = listener.local_addr()?.port();
        let provider = Arc::new(RustackSqs::new(SqsConfig {
            skip_signature_validation: true,
            default_region: region.to_owned(),
            account_id: account.to_owned(),
            host: "127.0.0.1".into(),
            port,
        }));
        let http = SqsHttpConfig { skip_signature_validation: true, region: region.to_owned(), credential_provider: None };
        let service = SqsHttpService::new(Arc::new(RustackSqsHandler::new(provider.clone())), http);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    // A client that goes away mid-request is its own affair.
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let base = format!("http://127.0.0.1:{port}/{account}");
        Ok((Self { provider, base, region: region.to_owned(), account: account.to_owned() }, task))
    }

    /// The URL by which clients name a queue.
    pub fn queue_url(&self, queue: &str) -> String {
        format!("{}/{queue}", self.base)
    }

    /// The queue's ARN.
    pub fn queue_arn(&self, queue: &str) -> String {
        format!("arn:aws:sqs:{}:{}:{queue}", self.region, self.account)
    }

    /// Makes a queue; it is no error when it is there with the same attributes.
    pub async fn queue_ensure(&self, queue: &str, visibility_seconds: u32) -> Result<String, SqsRefused> {
        let attributes = HashMap::from([("VisibilityTimeout".to_owned(), visibility_seconds.to_string())]);
        let input = CreateQueueInput { queue_name: queue.to_owned(), attributes, ..Default::default() };
        self.provider.create_queue(input).await.map_err(|error| SqsRefused(error.to_string()))?;
        Ok(self.queue_url(queue))
    }

    /// Messages that are not deleted yet: waiting, delayed or being worked on.
    pub async fn messages_left(&self, queue: &str) -> Result<u64, SqsRefused> {
        let input = GetQueueAttributesInput { queue_url: self.queue_url(queue), attribute_names: vec!["All".into()] };
        let output = self.provider.get_queue_attributes(input).await.map_err(|error| SqsRefused(error.to_string()))?;
        let counts = ["", "NotVisible", "Delayed"].map(|kind| format!("ApproximateNumberOfMessages{kind}"));
        Ok(counts.iter().filter_map(|name| output.attributes.get(name)?.parse::<u64>().ok()).sum())
    }

    /// Waits up to `wait_seconds` for messages.
    pub(crate) async fn receive(&self, queue: &str, messages_max: usize, wait_seconds: i32) -> Result<Vec<Message>, SqsRefused> {
        let input = ReceiveMessageInput {
            queue_url: self.queue_url(queue),
            max_number_of_messages: i32::try_from(messages_max.min(BATCH_MESSAGES_MAX)).ok(),
            wait_time_seconds: Some(wait_seconds),
            attribute_names: vec!["All".into()],
            message_attribute_names: vec!["All".into()],
            ..Default::default()
        };
        let output = self.provider.receive_message(input).await.map_err(|error| SqsRefused(error.to_string()))?;
        Ok(output.messages)
    }

    /// Deletes a message that was worked through.
    pub(crate) async fn delete(&self, queue: &str, receipt_handle: String) -> Result<(), SqsRefused> {
        let input = DeleteMessageInput { queue_url: self.queue_url(queue), receipt_handle };
        self.provider.delete_message(input).await.map_err(|error| SqsRefused(error.to_string()))?;
        Ok(())
    }
}
