//! [`Records`] on DynamoDB: transactions with fences, lists by organization, the due index.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem};
use futures_util::future::try_join;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kiven_model::database::Database;
use kiven_model::enrolment::AgentToken;
use kiven_model::environment::Environment;
use kiven_model::ids::ApiKeyId;
use kiven_model::logs::LogSession;
use kiven_model::operation::{Operation, OperationEvent, StepRecord};
use kiven_model::organization::{ApiKey, Organization};
use kiven_model::schedule::{PowerEvent, Schedule, ScheduledPower};
use kiven_model::{Code, DatabaseId, EnvironmentId, LogSessionId, OperationId, OrganizationId, Problem, ScheduleId};
use kiven_ports::records::{EVENTS_MAX, WRITES_MAX};
use kiven_ports::{NameClaim, PortError, Records, Write};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Store;
use super::item::{Attributes, HEAD_BYTES_MAX, PAYLOAD_BYTES_MAX, expires, key, number, pack, text, text_of, unpack};
use super::names::{
    HEAD, INPUT, claim as claim_key, database_names, due_partition, due_shard, instant, maintenance_due_partition, power_due_partition,
};
use super::schema::{DUE, OWNED};
use crate::error::port_error;

/// Pages read for one list: at 1 MB each more than any organization has.
const PAGES_MAX: usize = 50;
/// How long operations are kept after their end, and databases after theirs: a year and a month, so that a year can be looked back on.
pub(super) const OPERATION_DAYS: i64 = 400;
const DATABASE_DAYS: i64 = 400;
/// Operations in one list.
const OPERATIONS_MAX: usize = 100;
/// Shards asked at the same time.
const SHARDS_AT_ONCE: usize = 16;

/// A partition's items by sort key.
pub(super) struct Range<'a> {
    pub(super) index: Option<&'static str>,
    pub(super) partition: String,
    /// Condition on the sort key with `:sk`, and its value.
    pub(super) sort: Option<(&'a str, String)>,
    pub(super) newest_first: bool,
    pub(super) items_max: usize,
}

impl Store {
    /// Reads one item, strongly consistent.
    pub(super) async fn item(&self, key: Attributes) -> Result<Option<Attributes>, PortError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        let got = get.send().await.map_err(|error| port_error("dynamodb:GetItem", error))?;
        Ok(got.item)
    }

    pub(super) async fn head<T: DeserializeOwned>(&self, pk: String) -> Result<Option<T>, PortError> {
        match self.item(key(pk, HEAD)).await? {
            Some(item) => unpack(&item, &self.blobs).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reads a range page by page; consistent when it is not an index.
    pub(super) async fn range(&self, range: Range<'_>) -> Result<Vec<Attributes>, PortError> {
        let name = range.index.map_or("pk".to_owned(), |index| format!("{index}_pk"));
        let mut condition = format!("{name} = :pk");
        if let Some((sort, _)) = &range.sort {
            condition.push_str(&format!(" AND {sort}"));
        }
        let mut items = Vec::new();
        let mut from = None;
        for _ in 0..PAGES_MAX {
            let mut query = self
                .client
                .query()
                .table_name(&self.table)
                .set_index_name(range.index.map(str::to_owned))
                .key_condition_expression(&condition)
                .expression_attribute_values(":pk", text(&range.partition))
                .scan_index_forward(!range.newest_first)
                .consistent_read(range.index.is_none())
                .limit(i32::try_from(range.items_max - items.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(from);
            if let Some((_, value)) = &range.sort {
                query = query.expression_attribute_values(":sk", text(value));
            }
            let page = query.send().await.map_err(|error| port_error("dynamodb:Query", error))?;
            items.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() || items.len() >= range.items_max {
                break;
            }
        }
        Ok(items)
    }

    pub(super) async fn unpack_all<T: DeserializeOwned>(&self, items: &[Attributes]) -> Result<Vec<T>, PortError> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(unpack(item, &self.blobs).await?);
        }
        Ok(values)
    }

    pub(super) async fn owned<T: DeserializeOwned>(
        &self,
        organization: &OrganizationId,
        kind: &str,
        newest_first: bool,
        items_max: usize,
    ) -> Result<Vec<T>, PortError> {
        let partition = format!("ORG#{organization}#{kind}");
        let range = Range { index: Some(OWNED), partition, sort: None, newest_first, items_max };
        let items = self.range(range).await?;
        self.unpack_all(&items).await
    }

    /// The items of one write; most have one.
    async fn prepare(&self, write: Write) -> Result<Vec<TransactWriteItem>, PortError> {
        let one = match write {
            Write::Organization(record) => {
                let mut item = key(format!("ORG#{}", record.id), HEAD);
                pack(&mut item, &record, HEAD_BYTES_MAX, &self.blobs).await?;
                self.put(item, Fence::None)?
            }
            Write::ApiKey(record) => {
                let mut item = key(format!("KEY#{}", record.id), HEAD);
                pack(&mut item, &record, HEAD_BYTES_MAX, &self.blobs).await?;
                self.put(item, Fence::None)?
            }
            Write::Environment { record, expected } => {
                let mut item = key(format!("ENV#{}", record.id), HEAD);
                let name = format!("{}#{}", record.spec.name, record.id);
                owned_by(&mut item, &record.organization_id, "ENV", name, record.version);
                pack(&mut item, &*record, PAYLOAD_BYTES_MAX, &self.blobs).await?;
                self.put(item, Fence::version(expected))?
            }
            Write::EnvironmentGone { id, expected } => self.delete(key(format!("ENV#{id}"), HEAD), "version = :fence", number(expected))?,
            Write::AgentToken(record) => {
                let mut item = token_key(&record.environment_id, &record.sha256);
                expires(&mut item, record.expires_at, 0);
                pack(&mut item, &*record, HEAD_BYTES_MAX, &self.blobs).await?;
                self.put(item, Fence::Absent)?
            }
            Write::AgentTokenGone { environment, sha256 } => self.delete(token_key(&environment, &sha256), "sk = :fence", text(sha256))?,
            Write::AgentsRevoked { environment, before } => self.prepare_revocation(&environment, before).await?,
            Write::Database { record, expected } => self.prepare_database(*record, expected).await?,
            Write::EnvironmentKept { id, version } => {
                let check = ConditionCheck::builder().table_name(&self.table).set_key(Some(key(format!("ENV#{id}"), HEAD)));
                let check = check.condition_expression("version = :fence").expression_attribute_values(":fence", number(version));
                TransactWriteItem::builder().condition_check(check.build().map_err(|error| unbuilt(&error))?).build()
            }
            Write::Operation { record, expected } => return self.prepare_operation(*record, expected).await,
            Write::Step(operation, record) => {
                let mut item = key(format!("OP#{operation}"), format!("STEP#{}", record.key));
                expires(&mut item, record.started_at, OPERATION_DAYS);
                pack(&mut item, &*record, PAYLOAD_BYTES_MAX, &self.blobs).await?;
                self.put(item, Fence::None)?
            }
            Write::Event(operation, record) => {
                let mut item = key(format!("OP#{operation}"), event_key(record.sequence));
                expires(&mut item, record.at, OPERATION_DAYS);
                pack(&mut item, &*record, PAYLOAD_BYTES_MAX, &self.blobs).await?;
                self.put(item, Fence::None)?
            }
            Write::UpgradesStopped { reason } => self.prepare_stop(reason)?,
            Write::LogSession { record, expected } => self.prepare_log_session(*record, expected).await?,
            Write::Schedule { record, expected } => self.prepare_schedule(*record, expected).await?,
            Write::ScheduleGone { id, expected } => self.delete(super::schedules::schedule_key(&id), "version = :fence", number(expected))?,
            Write::ScheduledPower { record, expected } => self.prepare_power(*record, expected).await?,
            Write::ScheduledPowerGone { id, expected } => self.delete(super::schedules::power_key(&id), "version = :fence", number(expected))?,
            Write::PowerEvent(database, event) => self.prepare_power_event(&database, *event).await?,
            Write::NameTaken { claim, owner } => {
                let mut item = claim_key(&claim);
                item.insert("owner".to_owned(), text(&owner));
                self.put(item, Fence::Owner(owner))?
            }
            Write::NameFreed { claim, owner } => {
                // Another's name stays, and is no reason to refuse the rest of the transaction.
                if self.name_owner(&claim).await?.as_deref() != Some(owner.as_str()) {
                    return Ok(Vec::new());
                }
                self.delete(claim_key(&claim), "#owner = :fence", text(owner))?
            }
        };
        Ok(vec![one])
    }

    /// What is due in the partitions of one kind, oldest first.
    async fn due<T: Ord>(&self, now: Timestamp, limit: usize, partition: fn(u32) -> String, id: fn(&str) -> Option<T>) -> Result<Vec<T>, PortError> {
        let pages: Vec<Vec<Attributes>> = stream::iter(0..self.due_shards)
            .map(|shard| {
                let sort = Some(("due_sk <= :sk", instant(now)));
                self.range(Range { index: Some(DUE), partition: partition(shard), sort, newest_first: false, items_max: limit })
            })
            .buffer_unordered(SHARDS_AT_ONCE)
            .try_collect()
            .await?;
        let read = |item: &Attributes| Some((text_of(item, "due_sk")?.to_owned(), id(text_of(item, "pk")?)?));
        let mut due: Vec<(String, T)> = pages.iter().flatten().filter_map(read).collect();
        due.sort();
        due.truncate(limit);
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    async fn prepare_database(&self, record: Database, expected: Option<u64>) -> Result<TransactWriteItem, PortError> {
        let mut item = key(format!("DB#{}", record.id), HEAD);
        let name = format!("{}#{}", record.spec.name, record.id);
        owned_by(&mut item, &record.organization_id, "DB", name, record.version);
        if record.status.gone() {
            expires(&mut item, record.updated_at, DATABASE_DAYS);
        }
        if let Some(due) = record.maintenance_due {
            let shard = due_shard(record.id.as_str(), self.due_shards);
            item.insert("due_pk".to_owned(), text(maintenance_due_partition(shard)));
            item.insert("due_sk".to_owned(), text(instant(due)));
        }
        pack(&mut item, &record, PAYLOAD_BYTES_MAX, &self.blobs).await?;
        self.put(item, Fence::version(expected))
    }

    /// The head is read and written all the time and stays small: what never changes has an item of its own.
    async fn prepare_operation(&self, record: Operation, expected: Option<u64>) -> Result<Vec<TransactWriteItem>, PortError> {
        let pk = format!("OP#{}", record.id);
        let mut items = Vec::new();
        if expected.is_none() {
            let mut item = key(&pk, INPUT);
            pack(&mut item, &record.input, PAYLOAD_BYTES_MAX, &self.blobs).await?;
            expires(&mut item, record.created_at, OPERATION_DAYS);
            items.push(self.put(item, Fence::Absent)?);
        }
        let mut item = key(pk, HEAD);
        let order = format!("{}#{}", instant(record.created_at), record.id);
        owned_by(&mut item, &record.organization_id, "OP", order, record.version);
        if let Some(due_at) = record.due_at {
            let shard = due_shard(record.id.as_str(), self.due_shards);
            item.insert("due_pk".to_owned(), text(due_partition(shard)));
            item.insert("due_sk".to_owned(), text(instant(due_at)));
        } else {
            expires(&mut item, record.updated_at, OPERATION_DAYS);
        }
        pack(&mut item, &Operation { input: Value::Null, ..record }, HEAD_BYTES_MAX, &self.blobs).await?;
        items.push(self.put(item, Fence::version(expected))?);
        Ok(items)
    }

    pub(super) fn put(&self, item: Attributes, fence: Fence) -> Result<TransactWriteItem, PortError> {
        let mut put = Put::builder().table_name(&self.table).set_item(Some(item));
        match fence {
            Fence::None => {}
            Fence::Absent => put = put.condition_expression("attribute_not_exists(pk)"),
            Fence::Version(version) => {
                put = put.condition_expression("version = :fence").expression_attribute_values(":fence", number(version));
            }
            Fence::Owner(owner) => {
                put = put
                    .condition_expression("attribute_not_exists(pk) OR #owner = :fence")
                    .expression_attribute_names("#owner", "owner")
                    .expression_attribute_values(":fence", text(owner));
            }
        }
        let put = put.build().map_err(|error| unbuilt(&error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn delete(&self, key: Attributes, condition: &str, fence: AttributeValue) -> Result<TransactWriteItem, PortError> {
        let mut delete =
            Delete::builder().table_name(&self.table).set_key(Some(key)).condition_expression(condition).expression_attribute_values(":fence", fence);
        if condition.contains("#owner") {
            delete = delete.expression_attribute_names("#owner", "owner");
        }
        let delete = delete.build().map_err(|error| unbuilt(&error))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Writes all or nothing.
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>, what: &str) -> Result<(), PortError> {
        let sent = self.client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(()) };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() {
            let reasons = cancelled.cancellation_reasons();
            let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason.code()).filter(|code| *code != "None").collect();
            if codes.contains(&"ConditionalCheckFailed") {
                return Err(PortError::Conflict(what.to_owned()));
            }
            if codes.iter().any(|code| code.starts_with("Validation") || *code == "ItemCollectionSizeLimitExceeded") {
                let detail = reasons.iter().filter_map(|reason| reason.message()).collect::<Vec<_>>().join("; ");
                return Err(PortError::Refused(Problem::new(Code::UNAVAILABLE, "The store refused a write.").detail(detail)));
            }
            // Another transaction was on the same items, or the table was throttled: both pass.
            return Err(PortError::retry("dynamodb:TransactWriteItems", codes.join(", ")));
        }
        Err(port_error("dynamodb:TransactWriteItems", error))
    }
}

pub(super) enum Fence {
    None,
    Absent,
    Version(u64),
    Owner(String),
}

impl Fence {
    pub(super) fn version(expected: Option<u64>) -> Self {
        expected.map_or(Self::Absent, Self::Version)
    }
}

pub(super) fn owned_by(item: &mut Attributes, organization: &OrganizationId, kind: &str, order: String, version: u64) {
    item.insert("owned_pk".to_owned(), text(format!("ORG#{organization}#{kind}")));
    item.insert("owned_sk".to_owned(), text(order));
    item.insert("version".to_owned(), number(version));
}

/// Tokens have partitions of their own: who enrols agents may write there and nowhere else.
fn token_key(environment: &EnvironmentId, sha256: &str) -> Attributes {
    key(format!("AGENT_TOKENS#{environment}"), sha256)
}

fn event_key(sequence: u64) -> String {
    format!("EVENT#{sequence:020}")
}

pub(super) fn unbuilt(error: &dyn std::error::Error) -> PortError {
    PortError::Refused(Problem::new(Code::UNAVAILABLE, "A write could not be built.").detail(error.to_string()))
}

impl Records for Store {
    async fn records_commit(&self, writes: Vec<Write>) -> Result<(), PortError> {
        if writes.len() > WRITES_MAX {
            let problem = Problem::new(Code::UNAVAILABLE, "A transaction has too many writes.");
            return Err(PortError::Refused(problem.detail(format!("{} of at most {WRITES_MAX}", writes.len()))));
        }
        // In order and together: most writes prepare without waiting, large payloads go up side by side.
        let prepared: Vec<Vec<TransactWriteItem>> =
            stream::iter(writes).map(|write| self.prepare(write)).buffered(SHARDS_AT_ONCE).try_collect().await?;
        let items: Vec<TransactWriteItem> = prepared.into_iter().flatten().collect();
        if items.is_empty() {
            return Ok(());
        }
        self.transact(items, "a record").await
    }

    async fn organization_get(&self, id: &OrganizationId) -> Result<Option<Organization>, PortError> {
        self.head(format!("ORG#{id}")).await
    }

    async fn api_key_get(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, PortError> {
        self.head(format!("KEY#{id}")).await
    }

    async fn name_owner(&self, claim: &NameClaim) -> Result<Option<String>, PortError> {
        let item = self.item(claim_key(claim)).await?;
        Ok(item.as_ref().and_then(|item| text_of(item, "owner")).map(str::to_owned))
    }

    async fn database_names(&self, environment: &EnvironmentId) -> Result<Vec<String>, PortError> {
        let names = Range { index: None, partition: database_names(environment), sort: None, newest_first: false, items_max: usize::MAX };
        let items = self.range(names).await?;
        Ok(items.iter().filter_map(|item| text_of(item, "sk").map(str::to_owned)).collect())
    }

    async fn environment_get(&self, id: &EnvironmentId) -> Result<Option<Environment>, PortError> {
        self.head(format!("ENV#{id}")).await
    }

    async fn agent_token_get(&self, environment: &EnvironmentId, sha256: &str) -> Result<Option<AgentToken>, PortError> {
        match self.item(token_key(environment, sha256)).await? {
            Some(item) => unpack(&item, &self.blobs).await.map(Some),
            None => Ok(None),
        }
    }
    async fn environment_list(&self, organization: &OrganizationId) -> Result<Vec<Environment>, PortError> {
        self.owned(organization, "ENV", false, usize::MAX).await
    }

    async fn database_get(&self, id: &DatabaseId) -> Result<Option<Database>, PortError> {
        self.head(format!("DB#{id}")).await
    }

    async fn database_list(&self, organization: &OrganizationId) -> Result<Vec<Database>, PortError> {
        self.owned(organization, "DB", false, usize::MAX).await
    }

    async fn operation_head(&self, id: &OperationId) -> Result<Option<Operation>, PortError> {
        match self.item(key(format!("OP#{id}"), HEAD)).await? {
            Some(item) => Ok(Some(unpack(&item, &self.blobs).await?)),
            None => Ok(None),
        }
    }

    async fn operation_get(&self, id: &OperationId) -> Result<Option<Operation>, PortError> {
        let pk = format!("OP#{id}");
        let (head, input) = try_join(self.item(key(&pk, HEAD)), self.item(key(&pk, INPUT))).await?;
        let (Some(head), Some(input)) = (head, input) else { return Ok(None) };
        let head: Operation = unpack(&head, &self.blobs).await?;
        Ok(Some(Operation { input: unpack(&input, &self.blobs).await?, ..head }))
    }

    async fn operation_steps(&self, id: &OperationId) -> Result<Vec<StepRecord>, PortError> {
        let sort = Some(("begins_with(sk, :sk)", "STEP#".to_owned()));
        let range = Range { index: None, partition: format!("OP#{id}"), sort, newest_first: false, items_max: usize::MAX };
        let items = self.range(range).await?;
        let mut steps: Vec<StepRecord> = self.unpack_all(&items).await?;
        steps.sort_by_key(|step| step.ordinal);
        Ok(steps)
    }

    async fn operation_events(&self, id: &OperationId, after: u64) -> Result<Vec<OperationEvent>, PortError> {
        // Between, because a partition's head and steps sort after its events.
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :sk AND :last")
            .expression_attribute_values(":pk", text(format!("OP#{id}")))
            .expression_attribute_values(":sk", text(event_key(after.saturating_add(1))))
            .expression_attribute_values(":last", text(event_key(u64::MAX)))
            .consistent_read(true)
            .limit(i32::try_from(EVENTS_MAX).unwrap_or(i32::MAX));
        let page = query.send().await.map_err(|error| port_error("dynamodb:Query", error))?;
        self.unpack_all(page.items()).await
    }

    async fn operation_list(&self, organization: &OrganizationId) -> Result<Vec<Operation>, PortError> {
        self.owned(organization, "OP", true, OPERATIONS_MAX).await
    }

    async fn schedule_get(&self, id: &ScheduleId) -> Result<Option<Schedule>, PortError> {
        self.head(format!("SCHED#{id}")).await
    }

    async fn schedule_list(&self, organization: &OrganizationId) -> Result<Vec<Schedule>, PortError> {
        self.owned(organization, "SCHED", false, usize::MAX).await
    }

    async fn upgrades_stopped(&self) -> Result<Option<String>, PortError> {
        self.stop().await
    }

    async fn log_session_get(&self, id: &LogSessionId) -> Result<Option<LogSession>, PortError> {
        self.head(super::logs::partition(id)).await
    }

    async fn log_session_list(&self, organization: &OrganizationId) -> Result<Vec<LogSession>, PortError> {
        self.owned(organization, super::logs::OWNED_KIND, false, usize::MAX).await
    }

    async fn scheduled_power_get(&self, id: &DatabaseId) -> Result<Option<ScheduledPower>, PortError> {
        self.power(id).await
    }

    async fn power_events(&self, id: &DatabaseId) -> Result<Vec<PowerEvent>, PortError> {
        self.power_event_list(id).await
    }

    async fn powers_due(&self, now: Timestamp, limit: usize) -> Result<Vec<DatabaseId>, PortError> {
        self.due(now, limit, power_due_partition, |pk| DatabaseId::parse(pk.strip_prefix("DB#")?).ok()).await
    }

    async fn maintenance_due(&self, now: Timestamp, limit: usize) -> Result<Vec<DatabaseId>, PortError> {
        self.due(now, limit, maintenance_due_partition, |pk| DatabaseId::parse(pk.strip_prefix("DB#")?).ok()).await
    }

    async fn operations_due(&self, now: Timestamp, limit: usize) -> Result<Vec<OperationId>, PortError> {
        self.due(now, limit, due_partition, |pk| OperationId::parse(pk.strip_prefix("OP#")?).ok()).await
    }
}
