//! SQS events: batches in, the failed ones out.
use kiven_model::{DatabaseId, OperationId};
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

/// What the doorbell rings for.
#[derive(Debug, PartialEq, Eq)]
pub enum Ring {
    /// An operation to drive.
    Operation(OperationId),
    /// Databases whose schedules have to decide.
    Schedules(Vec<DatabaseId>),
}

impl Ring {
    /// Reads a message's body; `None` when it is no ring.
    #[must_use]
    pub fn parse(body: &str) -> Option<Self> {
        if let Ok(id) = OperationId::parse(body) {
            return Some(Self::Operation(id));
        }
        let databases: Result<Vec<DatabaseId>, _> = body.split(' ').map(DatabaseId::parse).collect();
        databases.ok().map(Self::Schedules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_for_one_operation_or_for_databases() {
        let (operation, one, two) = (OperationId::from_random([1; 16]), DatabaseId::from_random([2; 16]), DatabaseId::from_random([3; 16]));
        assert_eq!(Ring::parse(operation.as_str()), Some(Ring::Operation(operation.clone())));
        assert_eq!(Ring::parse(&format!("{one} {two}")), Some(Ring::Schedules(vec![one.clone(), two])));
        for body in [String::new(), format!("{one} "), format!("{one} {operation}"), "hello".to_owned()] {
            assert_eq!(Ring::parse(&body), None, "{body}");
        }
    }
}
