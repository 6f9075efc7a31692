//! Readers' sessions on logs, and what waits for them, sealed. All of a session is one partition, and goes by itself.

use aws_sdk_dynamodb::types::TransactWriteItem;
use jiff::{SignedDuration, Timestamp};
use kiven_model::LogSessionId;
use kiven_model::logs::{BATCHES_MAX, KEPT_MINUTES, LogSession, SealedBatch};
use kiven_ports::PortError;

use super::Store;
use super::item::{HEAD_BYTES_MAX, PAYLOAD_BYTES_MAX, expires, key, number, pack, text};
use super::names::{HEAD, instant};
use super::records::{Fence, owned_by};
use crate::error::port_error;

/// What sessions are called in the index of an organization's lists.
pub(super) const OWNED_KIND: &str = "LOGS";

/// The partition of a session.
pub(super) fn partition(id: &LogSessionId) -> String {
    format!("LOGS#{id}")
}

fn batch_key(sequence: u64) -> String {
    format!("BATCH#{sequence:020}")
}

impl Store {
    pub(super) async fn prepare_log_session(&self, record: LogSession, expected: Option<u64>) -> Result<TransactWriteItem, PortError> {
        let mut item = key(partition(&record.id), HEAD);
        if record.closed {
            item.insert("version".to_owned(), number(record.version));
        } else {
            let order = format!("{}#{}", instant(record.opened_at), record.id);
            owned_by(&mut item, &record.organization_id, OWNED_KIND, order, record.version);
        }
        expires(&mut item, record.expires_at + SignedDuration::from_mins(KEPT_MINUTES), 0);
        pack(&mut item, &record, HEAD_BYTES_MAX, &self.blobs).await?;
        self.put(item, Fence::version(expected))
    }

    /// What is sealed is random to look at: it is never written twice under one key with another content.
    pub(super) async fn batch_put(&self, batch: &SealedBatch, until: Timestamp) -> Result<(), PortError> {
        let mut item = key(partition(&batch.session_id), batch_key(batch.sequence));
        expires(&mut item, until, 0);
        pack(&mut item, batch, PAYLOAD_BYTES_MAX, &self.blobs).await?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(drop).map_err(|error| port_error("dynamodb:PutItem", error))
    }

    pub(super) async fn batch_list(&self, session: &LogSessionId, after: u64) -> Result<Vec<SealedBatch>, PortError> {
        // The head sorts behind the batches: between, and not merely after.
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", text(partition(session)))
            .expression_attribute_values(":first", text(batch_key(after.saturating_add(1))))
            .expression_attribute_values(":last", text(batch_key(u64::MAX)))
            .consistent_read(true)
            .limit(i32::try_from(BATCHES_MAX).unwrap_or(i32::MAX));
        let page = query.send().await.map_err(|error| port_error("dynamodb:Query", error))?;
        self.unpack_all(page.items()).await
    }
}
