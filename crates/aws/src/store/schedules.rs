//! Schedules in the table: the record, what it remembers of each database, what it decided.

use aws_sdk_dynamodb::types::TransactWriteItem;
use kiven_model::schedule::{POWER_EVENT_DAYS, POWER_EVENTS_MAX, PowerEvent, Schedule, ScheduledPower};
use kiven_model::{DatabaseId, ScheduleId};
use kiven_ports::PortError;

use super::Store;
use super::item::{Attributes, HEAD_BYTES_MAX, PAYLOAD_BYTES_MAX, expires, key, number, pack, text, unpack};
use super::names::{HEAD, due_shard, instant, power_due_partition};
use super::records::{Fence, Range, owned_by};

/// The sort key of what a schedule remembers of a database; decisions stand behind it.
const POWER: &str = "POWER";

/// The item of a schedule.
pub(super) fn schedule_key(id: &ScheduleId) -> Attributes {
    key(format!("SCHED#{id}"), HEAD)
}

/// The item of a schedule's memory of a database: one by database, which is what keeps it in one schedule.
pub(super) fn power_key(id: &DatabaseId) -> Attributes {
    key(format!("DB#{id}"), POWER)
}

impl Store {
    pub(super) async fn prepare_schedule(&self, record: Schedule, expected: Option<u64>) -> Result<TransactWriteItem, PortError> {
        let mut item = schedule_key(&record.id);
        let order = format!("{}#{}", instant(record.created_at), record.id);
        owned_by(&mut item, &record.organization_id, "SCHED", order, record.version);
        pack(&mut item, &record, PAYLOAD_BYTES_MAX, &self.blobs).await?;
        self.put(item, Fence::version(expected))
    }

    pub(super) async fn prepare_power(&self, record: ScheduledPower, expected: Option<u64>) -> Result<TransactWriteItem, PortError> {
        let mut item = power_key(&record.database_id);
        item.insert("version".to_owned(), number(record.version));
        if let Some(due) = record.next_due {
            let shard = due_shard(record.database_id.as_str(), self.due_shards);
            item.insert("due_pk".to_owned(), text(power_due_partition(shard)));
            item.insert("due_sk".to_owned(), text(instant(due)));
        }
        pack(&mut item, &record, HEAD_BYTES_MAX, &self.blobs).await?;
        self.put(item, Fence::version(expected))
    }

    pub(super) async fn prepare_power_event(&self, database: &DatabaseId, event: PowerEvent) -> Result<TransactWriteItem, PortError> {
        let mut item = key(format!("DB#{database}"), format!("{POWER}#{}#{}", instant(event.at), event.schedule_id));
        expires(&mut item, event.at, POWER_EVENT_DAYS);
        pack(&mut item, &event, HEAD_BYTES_MAX, &self.blobs).await?;
        self.put(item, Fence::None)
    }

    pub(super) async fn power(&self, database: &DatabaseId) -> Result<Option<ScheduledPower>, PortError> {
        match self.item(power_key(database)).await? {
            Some(item) => unpack(&item, &self.blobs).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn power_event_list(&self, database: &DatabaseId) -> Result<Vec<PowerEvent>, PortError> {
        let sort = Some(("begins_with(sk, :sk)", format!("{POWER}#")));
        let range = Range { index: None, partition: format!("DB#{database}"), sort, newest_first: true, items_max: POWER_EVENTS_MAX };
        let items = self.range(range).await?;
        self.unpack_all(&items).await
    }
}
