//! [`Agents`] on DynamoDB: a command has one item, and a second one in its environment's partition while it is open.
//!
//! The open items make "what is due" one strongly consistent query; both are written in one transaction. While a command is
//! pending its open item is also in the due index, so that a relay learns of all environments' commands by one query a shard.

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, ReturnValue, TransactWriteItem, Update};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::event::{DATABASE_EVENT_DAYS, DATABASE_EVENTS_MAX, DatabaseEvent};
use kiven_model::logs::SealedBatch;
use kiven_model::report::{AgentRecord, Observation};
use kiven_model::{DatabaseId, EnvironmentId, LogSessionId};
use kiven_ports::agents::{Claimed, CommandRecord, CommandState, SessionClaim};
use kiven_ports::{Agents, PortError};

use super::Store;
use super::item::{Attributes, PAYLOAD_BYTES_MAX, expires, key, number, number_of, pack, text, text_of, unpack};
use super::names::{HEAD, command_due_partition, due_shard, instant};
use super::records::{OPERATION_DAYS, Range, unbuilt};
use super::schema::DUE;
use crate::error::{is, port_error};

/// Open commands of one environment that are handed out at once.
const COMMANDS_MAX: usize = 200;
/// Shards of the due index for commands, at most: each takes 500 commands a second, and each costs every relay a query a look.
pub const COMMAND_SHARDS_MAX: u32 = 8;
/// Pending commands of one shard that are looked at; an environment beyond them is found by its relay's own look.
const CALLED_MAX: usize = 1_000;
/// The sort key of who serves an environment's agent; in the partition of its commands, which is all that a relay may read.
pub(super) const OWNER: &str = "OWNER";
/// How often a change of a command is tried against other writers.
const TRIES_MAX: usize = 5;

/// A command's item as read.
struct Stored {
    record: CommandRecord,
    order: u64,
    version: u64,
}

impl Store {
    async fn command(&self, id: &str) -> Result<Option<Stored>, PortError> {
        let Some(item) = self.item(command_key(id)).await? else { return Ok(None) };
        let record = CommandRecord { command: unpack(&item, &self.blobs).await?, state: state_of(&item)? };
        let (order, version) = (number_of(&item, "order").unwrap_or(0), number_of(&item, "version").unwrap_or(0));
        Ok(Some(Stored { record, order, version }))
    }

    /// The next number in the order of an environment's commands.
    async fn command_order(&self, environment: &EnvironmentId) -> Result<u64, PortError> {
        let counted = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(format!("CMDS#{environment}"), "COUNTER")))
            .update_expression("ADD #count :one")
            .expression_attribute_names("#count", "count")
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await
            .map_err(|error| port_error("dynamodb:UpdateItem", error))?;
        counted
            .attributes
            .as_ref()
            .and_then(|item| number_of(item, "count"))
            .ok_or_else(|| PortError::retry("dynamodb:UpdateItem", "the counter has no value"))
    }

    /// Writes a command's new state, and its open item as the state demands, when nobody else did meanwhile.
    async fn command_write(&self, stored: &Stored, state: CommandState) -> Result<(), PortError> {
        let command = &stored.record.command;
        let items = self.command_items(command, &state, stored.order, Some(stored.version)).await?;
        self.transact(items, "the command").await
    }

    async fn command_items(
        &self,
        command: &Command,
        state: &CommandState,
        order: u64,
        expected: Option<u64>,
    ) -> Result<Vec<TransactWriteItem>, PortError> {
        let mut item = command_key(&command.id);
        pack(&mut item, command, PAYLOAD_BYTES_MAX, &self.blobs).await?;
        expires(&mut item, command.not_after, OPERATION_DAYS);
        item.insert("state".to_owned(), text(state_text(state)?));
        item.insert("order".to_owned(), number(order));
        item.insert("version".to_owned(), number(expected.unwrap_or(0) + 1));
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = match expected {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => put.condition_expression("version = :fence").expression_attribute_values(":fence", number(version)),
        };
        let put = put.build().map_err(|error| unbuilt(&error))?;
        let open_key = key(format!("CMDS#{}", command.environment_id), format!("OPEN#{order:020}"));
        let session = match state {
            CommandState::Pending => Some(None),
            CommandState::Delivered { session } => Some(Some(*session)),
            CommandState::Answered(_) | CommandState::Withdrawn => None,
        };
        let second = TransactWriteItem::builder();
        let second = match session {
            Some(session) => {
                let mut open = open_key;
                open.insert("command".to_owned(), text(&command.id));
                match session {
                    Some(session) => open.insert("session".to_owned(), number(session)),
                    None => {
                        open.insert("due_sk".to_owned(), text(instant(command.not_after)));
                        open.insert("due_pk".to_owned(), text(command_due_partition(self.command_shard(&command.environment_id))))
                    }
                };
                let put = Put::builder().table_name(&self.table).set_item(Some(open));
                second.put(put.build().map_err(|error| unbuilt(&error))?)
            }
            None => {
                let delete = Delete::builder().table_name(&self.table).set_key(Some(open_key));
                second.delete(delete.build().map_err(|error| unbuilt(&error))?)
            }
        };
        Ok(vec![TransactWriteItem::builder().put(put).build(), second.build()])
    }

    /// Reads, decides and writes until nobody else was first; `None` when there is no such command.
    async fn command_change(
        &self,
        id: &str,
        decide: impl Fn(&CommandState) -> Option<CommandState> + Send + Sync,
    ) -> Result<Option<(CommandState, bool)>, PortError> {
        for _ in 0..TRIES_MAX {
            let Some(stored) = self.command(id).await? else { return Ok(None) };
            let Some(next) = decide(&stored.record.state) else { return Ok(Some((stored.record.state, false))) };
            match self.command_write(&stored, next.clone()).await {
                Ok(()) => return Ok(Some((next, true))),
                Err(PortError::Conflict(_)) => {}
                Err(error @ (PortError::Retry { .. } | PortError::Refused(_))) => return Err(error),
            }
        }
        Err(PortError::retry("the command", "it keeps changing"))
    }

    fn command_shards(&self) -> u32 {
        self.due_shards.min(COMMAND_SHARDS_MAX)
    }

    fn command_shard(&self, environment: &EnvironmentId) -> u32 {
        due_shard(environment.as_str(), self.command_shards())
    }

    /// Holds a transaction to the newest epoch of an environment.
    fn epoch_check(&self, environment: &EnvironmentId, epoch: u64) -> Result<TransactWriteItem, PortError> {
        let check = ConditionCheck::builder().table_name(&self.table).set_key(Some(owner_key(environment)));
        let check = check.condition_expression("epoch = :epoch").expression_attribute_values(":epoch", number(epoch));
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(|error| unbuilt(&error))?).build())
    }

    /// An earlier revocation is never taken back by one of an earlier instant.
    pub(super) async fn prepare_revocation(&self, environment: &EnvironmentId, before: Timestamp) -> Result<TransactWriteItem, PortError> {
        let known = self.item(owner_key(environment)).await?.and_then(|item| number_of(&item, "revoked_before"));
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(owner_key(environment)))
            .update_expression("SET revoked_before = :before ADD epoch :one")
            .expression_attribute_values(":before", number(known.unwrap_or(0).max(micros(before))))
            .expression_attribute_values(":one", number(1));
        Ok(TransactWriteItem::builder().update(update.build().map_err(|error| unbuilt(&error))?).build())
    }

    /// Why a claim was not granted.
    async fn session_lost(&self, claim: &SessionClaim) -> Result<Claimed, PortError> {
        let item = self.item(owner_key(&claim.environment_id)).await?.unwrap_or_default();
        if number_of(&item, "revoked_before").is_some_and(|before| before > micros(claim.certified_at)) {
            return Ok(Claimed::Revoked);
        }
        match number_of(&item, "session") {
            Some(session) if session >= claim.session => Ok(Claimed::Superseded { session }),
            _ => Err(PortError::retry("dynamodb:UpdateItem", "the session's owner keeps changing")),
        }
    }

    /// Puts an item unless a newer one is there.
    async fn put_newer(&self, item: Attributes, condition: &str, order: Vec<(&str, AttributeValue)>) -> Result<(), PortError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(format!("attribute_not_exists(pk) OR {condition}"));
        for (name, value) in order {
            put = put.expression_attribute_values(name, value);
        }
        match put.expression_attribute_names("#session", "session").send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, &["ConditionalCheckFailedException"]) => Ok(()),
            Err(error) => Err(port_error("dynamodb:PutItem", error)),
        }
    }
}

/// The item of who serves an environment's agent.
pub(super) fn owner_key(environment: &EnvironmentId) -> Attributes {
    key(format!("CMDS#{environment}"), OWNER)
}

/// An instant as a number, in microseconds since 1970.
pub(super) fn micros(at: Timestamp) -> u64 {
    u64::try_from(at.as_microsecond()).unwrap_or(0)
}

fn command_key(id: &str) -> Attributes {
    key(format!("CMD#{id}"), HEAD)
}

fn state_text(state: &CommandState) -> Result<String, PortError> {
    serde_json::to_string(state).map_err(|error| unbuilt(&error))
}

fn state_of(item: &Attributes) -> Result<CommandState, PortError> {
    serde_json::from_str(text_of(item, "state").unwrap_or_default()).map_err(|error| unbuilt(&error))
}

impl Agents for Store {
    async fn command_send(&self, command: &Command) -> Result<(), PortError> {
        // A step that runs again usually finds its command; the counter then need not move.
        if self.item(command_key(&command.id)).await?.is_some() {
            return Ok(());
        }
        let order = self.command_order(&command.environment_id).await?;
        let items = self.command_items(command, &CommandState::Pending, order, None).await?;
        match self.transact(items, "the command").await {
            // Somebody sent it between the look and the write.
            Err(PortError::Conflict(_)) => Ok(()),
            other => other,
        }
    }

    async fn command_get(&self, id: &str) -> Result<Option<CommandRecord>, PortError> {
        Ok(self.command(id).await?.map(|stored| stored.record))
    }

    async fn command_withdraw(&self, id: &str) -> Result<Option<CommandState>, PortError> {
        let changed = self
            .command_change(id, |state| match state {
                CommandState::Pending => Some(CommandState::Withdrawn),
                CommandState::Delivered { .. } | CommandState::Answered(_) | CommandState::Withdrawn => None,
            })
            .await?;
        Ok(changed.map(|(state, _)| state))
    }

    async fn session_claim(&self, claim: &SessionClaim) -> Result<Claimed, PortError> {
        let later = "attribute_not_exists(#session) OR #session < :session";
        let good = "attribute_not_exists(revoked_before) OR revoked_before <= :certified";
        let claimed = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(owner_key(&claim.environment_id)))
            .update_expression("SET #session = :session, relay = :relay ADD epoch :one")
            .condition_expression(format!("({later}) AND ({good})"))
            .expression_attribute_names("#session", "session")
            .expression_attribute_values(":session", number(claim.session))
            .expression_attribute_values(":relay", text(&claim.relay))
            .expression_attribute_values(":certified", number(micros(claim.certified_at)))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew);
        match claimed.send().await {
            Ok(done) => match done.attributes.as_ref().and_then(|item| number_of(item, "epoch")) {
                Some(epoch) => Ok(Claimed::Owned { epoch }),
                None => Err(PortError::retry("dynamodb:UpdateItem", "the session's owner has no epoch")),
            },
            Err(error) if is(&error, &["ConditionalCheckFailedException"]) => self.session_lost(claim).await,
            Err(error) => Err(port_error("dynamodb:UpdateItem", error)),
        }
    }

    async fn session_epoch(&self, environment: &EnvironmentId) -> Result<u64, PortError> {
        let item = self.item(owner_key(environment)).await?;
        Ok(item.and_then(|item| number_of(&item, "epoch")).unwrap_or(0))
    }

    async fn environments_called(&self, now: Timestamp) -> Result<Vec<EnvironmentId>, PortError> {
        let shards = self.command_shards();
        let pages: Vec<Vec<Attributes>> = stream::iter(0..shards)
            .map(|shard| {
                let sort = Some(("due_sk > :sk", instant(now)));
                self.range(Range { index: Some(DUE), partition: command_due_partition(shard), sort, newest_first: false, items_max: CALLED_MAX })
            })
            .buffer_unordered(COMMAND_SHARDS_MAX as usize)
            .try_collect()
            .await?;
        let read = |item: &Attributes| EnvironmentId::parse(text_of(item, "pk")?.strip_prefix("CMDS#")?).ok();
        let mut called: Vec<EnvironmentId> = pages.iter().flatten().filter_map(read).collect();
        called.sort();
        called.dedup();
        Ok(called)
    }

    async fn commands_due(&self, environment: &EnvironmentId, session: u64) -> Result<Vec<String>, PortError> {
        let open = self
            .range(Range {
                index: None,
                partition: format!("CMDS#{environment}"),
                sort: Some(("begins_with(sk, :sk)", "OPEN#".to_owned())),
                newest_first: false,
                items_max: COMMANDS_MAX,
            })
            .await?;
        let due = open.iter().filter(|item| number_of(item, "session") != Some(session));
        Ok(due.filter_map(|item| text_of(item, "command").map(str::to_owned)).collect())
    }

    async fn command_take(&self, id: &str, session: u64, epoch: u64) -> Result<Option<Command>, PortError> {
        for _ in 0..TRIES_MAX {
            let Some(Stored { record, order, version }) = self.command(id).await? else { return Ok(None) };
            match record.state {
                CommandState::Pending | CommandState::Delivered { .. } => {}
                CommandState::Answered(_) | CommandState::Withdrawn => return Ok(None),
            }
            let environment = &record.command.environment_id;
            let mut items = self.command_items(&record.command, &CommandState::Delivered { session }, order, Some(version)).await?;
            items.push(self.epoch_check(environment, epoch)?);
            match self.transact(items, "the command").await {
                Ok(()) => return Ok(Some(record.command)),
                Err(PortError::Conflict(_)) if self.session_epoch(environment).await? != epoch => {
                    return Err(PortError::Conflict("the session's epoch".to_owned()));
                }
                Err(PortError::Conflict(_)) => {}
                Err(error @ (PortError::Retry { .. } | PortError::Refused(_))) => return Err(error),
            }
        }
        Err(PortError::retry("the command", "it keeps changing"))
    }

    async fn command_answer(&self, id: &str, outcome: &CommandOutcome) -> Result<(), PortError> {
        self.command_change(id, |state| match state {
            CommandState::Pending | CommandState::Delivered { .. } => Some(CommandState::Answered(outcome.clone())),
            CommandState::Answered(_) | CommandState::Withdrawn => None,
        })
        .await
        .map(|_| ())
    }

    async fn agent_put(&self, agent: &AgentRecord) -> Result<(), PortError> {
        let mut item = key(format!("ENV#{}", agent.environment_id), "AGENT");
        pack(&mut item, agent, PAYLOAD_BYTES_MAX, &self.blobs).await?;
        item.insert("session".to_owned(), number(agent.session));
        self.put_newer(item, "#session <= :session", vec![(":session", number(agent.session))]).await
    }

    async fn agent_get(&self, environment: &EnvironmentId) -> Result<Option<AgentRecord>, PortError> {
        match self.item(key(format!("ENV#{environment}"), "AGENT")).await? {
            Some(item) => unpack(&item, &self.blobs).await.map(Some),
            None => Ok(None),
        }
    }

    async fn observation_put(&self, observation: &Observation, order: (u64, u64)) -> Result<(), PortError> {
        let (session, sequence) = order;
        let mut item = key(format!("DB#{}", observation.database_id), format!("SEEN#{}", observation.cluster));
        pack(&mut item, observation, PAYLOAD_BYTES_MAX, &self.blobs).await?;
        item.insert("session".to_owned(), number(session));
        item.insert("seen".to_owned(), number(sequence));
        let newer = "#session < :session OR (#session = :session AND seen < :seen)";
        self.put_newer(item, newer, vec![(":session", number(session)), (":seen", number(sequence))]).await
    }

    async fn observation_get(&self, database: &DatabaseId, cluster: &str) -> Result<Option<Observation>, PortError> {
        match self.item(key(format!("DB#{database}"), format!("SEEN#{cluster}"))).await? {
            Some(item) => unpack(&item, &self.blobs).await.map(Some),
            None => Ok(None),
        }
    }

    async fn event_put(&self, event: &DatabaseEvent) -> Result<(), PortError> {
        let sort = format!("EVENT#{}#{}#{}", instant(event.at), event.what.kind(), event.what.subject());
        let mut item = key(format!("DB#{}", event.database_id), sort);
        pack(&mut item, event, PAYLOAD_BYTES_MAX, &self.blobs).await?;
        expires(&mut item, event.at, DATABASE_EVENT_DAYS);
        // The same event has the same key.
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(drop).map_err(|error| port_error("dynamodb:PutItem", error))
    }

    async fn event_list(&self, database: &DatabaseId) -> Result<Vec<DatabaseEvent>, PortError> {
        let sort = Some(("begins_with(sk, :sk)", "EVENT#".to_owned()));
        let range = Range { index: None, partition: format!("DB#{database}"), sort, newest_first: true, items_max: DATABASE_EVENTS_MAX };
        let items = self.range(range).await?;
        self.unpack_all(&items).await
    }

    async fn log_batch_put(&self, batch: &SealedBatch, until: Timestamp) -> Result<(), PortError> {
        self.batch_put(batch, until).await
    }

    async fn log_batch_list(&self, session: &LogSessionId, after: u64) -> Result<Vec<SealedBatch>, PortError> {
        self.batch_list(session, after).await
    }
}
