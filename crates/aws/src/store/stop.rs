//! The stop of all upgrades: one item that a person can write by hand (docs/runbooks/stop-upgrades.md), so it has no document.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use kiven_ports::PortError;

use super::Store;
use super::item::{Attributes, key, text, text_of};
use super::names::HEAD;
use super::records::{Fence, unbuilt};

/// The attribute that says why.
const REASON: &str = "reason";

fn stop_key() -> Attributes {
    key("STOP#UPGRADES", HEAD)
}

impl Store {
    pub(super) fn prepare_stop(&self, reason: Option<String>) -> Result<TransactWriteItem, PortError> {
        let Some(reason) = reason else {
            let delete = Delete::builder().table_name(&self.table).set_key(Some(stop_key()));
            return Ok(TransactWriteItem::builder().delete(delete.build().map_err(|error| unbuilt(&error))?).build());
        };
        let mut item = stop_key();
        item.insert(REASON.to_owned(), text(reason));
        self.put(item, Fence::None)
    }

    /// Whoever wrote it without a reason has stopped them all the same.
    pub(super) async fn stop(&self) -> Result<Option<String>, PortError> {
        Ok(self.item(stop_key()).await?.map(|item| text_of(&item, REASON).unwrap_or_default().to_owned()))
    }
}
