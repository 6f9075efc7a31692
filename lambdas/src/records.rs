//! SQS events: batches in, the failed ones out.
use serde::{Deserialize, Serialize};

/// A batch from a queue.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// Its messages.
    #[serde(rename = "Records")]
    pub records: Vec<Message>,
}

/// One message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub message_id: String,
    /// Its body.
    pub body: String,
}

/// Which messages come again.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// By id.
    pub batch_item_failures: Vec<Failed>,
}

/// One message that comes again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// Its id.
    pub item_identifier: String,
}

impl Failures {
    /// Lets a message come again.
    pub fn add(&mut self, message: &Message) {
        self.batch_item_failures.push(Failed { item_identifier: message.message_id.clone() });
    }
}
