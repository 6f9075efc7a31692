//! Records and queue as a relay sees them: DynamoDB's and SQS's wire for the few requests it makes, in memory.
//!
//! Items have the keys and attributes that `crates/aws/src/store` writes; conditions are held for the version of a command and the
//! epoch of an owner, which is what a relay asks for.
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kiven_model::command::{Command, CommandBody};
use kiven_model::report::{Report, ReportBody};
use kiven_model::{EnvironmentId, OperationId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The one partition of the due index that commands are recorded in.
const DUE: &str = "DUE#COMMAND#0";

#[derive(Default)]
struct Tables {
    items: HashMap<String, BTreeMap<String, Value>>,
    /// Partition and sort key of what is in the due index.
    due: BTreeMap<(String, String), ()>,
    recorded_at: HashMap<String, Instant>,
    answered: usize,
}

/// The double.
#[derive(Clone)]
pub(crate) struct Records {
    /// Where it answers.
    pub(crate) port: u16,
    tables: Arc<Mutex<Tables>>,
}

/// Serves it.
pub(crate) async fn serve() -> anyhow::Result<Records> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let records = Records { port: listener.local_addr()?.port(), tables: Arc::default() };
    let routes = Router::new().fallback(answer).with_state(records.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(records)
}

async fn answer(State(records): State<Records>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut tables = records.tables();
    let answer = match target.rsplit_once('.').map_or(target, |(_, operation)| operation) {
        "Query" => Ok(tables.query(&request)),
        "GetItem" => Ok(tables.get(&request["Key"]).map_or_else(|| json!({}), |item| json!({ "Item": item }))),
        "UpdateItem" => tables.claim(&request),
        "TransactWriteItems" => tables.transact(&request),
        "SendMessage" => Ok(tables.report(&request)),
        other => Err(json!({ "__type": "com.amazonaws.dynamodb.v20120810#ValidationException", "message": format!("no {other} here") })),
    };
    match answer {
        Ok(value) => (StatusCode::OK, value.to_string()),
        Err(value) => (StatusCode::BAD_REQUEST, value.to_string()),
    }
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]["S"].as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value["N"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Tables {
    fn get(&self, key: &Value) -> Option<&Value> {
        self.items.get(word(key, "pk"))?.get(word(key, "sk"))
    }

    fn put(&mut self, item: Value) {
        let (pk, sk) = (word(&item, "pk").to_owned(), word(&item, "sk").to_owned());
        let place = (pk.clone(), sk.clone());
        if item["due_pk"].is_object() {
            self.due.insert(place, ());
        } else {
            self.due.remove(&place);
        }
        self.items.entry(pk).or_default().insert(sk, item);
    }

    fn query(&self, request: &Value) -> Value {
        let partition = word(&request["ExpressionAttributeValues"], ":pk");
        if request["IndexName"].is_string() {
            let of_it =
                if partition == DUE { self.due.keys().map(|(pk, sk)| json!({ "pk": { "S": pk }, "sk": { "S": sk } })).collect() } else { Vec::new() };
            return json!({ "Count": of_it.len(), "Items": of_it });
        }
        let prefix = word(&request["ExpressionAttributeValues"], ":sk");
        let all = self.items.get(partition).into_iter().flatten();
        let found: Vec<&Value> = all.filter(|(sk, _)| sk.starts_with(prefix)).map(|(_, item)| item).collect();
        json!({ "Count": found.len(), "Items": found })
    }

    /// A relay takes an agent's session over.
    fn claim(&mut self, request: &Value) -> Result<Value, Value> {
        let key = &request["Key"];
        let known = self.get(key).cloned().unwrap_or_else(|| key.clone());
        let session = &request["ExpressionAttributeValues"][":session"];
        if number(&known["session"]) >= number(session) {
            return Err(json!({ "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no" }));
        }
        let epoch = json!({ "N": (number(&known["epoch"]) + 1).to_string() });
        self.put(json!({ "pk": key["pk"], "sk": key["sk"], "session": session, "epoch": epoch }));
        Ok(json!({ "Attributes": { "epoch": epoch } }))
    }

    fn transact(&mut self, request: &Value) -> Result<Value, Value> {
        let items = request["TransactItems"].as_array().cloned().unwrap_or_default();
        let holds = |one: &Value| {
            let (put, check) = (&one["Put"], &one["ConditionCheck"]);
            let version = &put["ExpressionAttributeValues"][":fence"];
            let epoch = &check["ExpressionAttributeValues"][":epoch"];
            (version.is_null() || self.get(&put["Item"]).is_some_and(|item| number(&item["version"]) == number(version)))
                && (epoch.is_null() || self.get(&check["Key"]).is_some_and(|item| number(&item["epoch"]) == number(epoch)))
        };
        if !items.iter().all(holds) {
            let reasons: Vec<Value> = items.iter().map(|_| json!({ "Code": "ConditionalCheckFailed" })).collect();
            let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
            return Err(json!({ "__type": kind, "message": "no", "CancellationReasons": reasons }));
        }
        items.into_iter().map(|mut one| one["Put"]["Item"].take()).filter(Value::is_object).for_each(|item| self.put(item));
        Ok(json!({}))
    }

    /// A report arrives in the queue; an answer ends its command, as the function `reports` would.
    fn report(&mut self, request: &Value) -> Value {
        let body = request["MessageBody"].as_str().unwrap_or_default();
        if let Ok(Report { environment_id, body: ReportBody::Answered { command_id, .. }, .. }) = serde_json::from_str(body)
            && self.items.remove(&format!("CMD#{command_id}")).is_some()
        {
            let open = self.items.entry(format!("CMDS#{environment_id}")).or_default();
            open.retain(|_, item| word(item, "command") != command_id);
            self.answered += 1;
        }
        json!({ "MessageId": "1", "MD5OfMessageBody": "" })
    }
}

impl Records {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a command, as the API's functions do.
    pub(crate) fn command(&self, environment: &EnvironmentId, order: usize) {
        let operation_id = OperationId::from_random([4; 16]);
        let id = format!("{operation_id}/step-{order}");
        let not_after = now() + SignedDuration::from_hours(1);
        let body = CommandBody::Inspect;
        let command = Command { id: id.clone(), environment_id: environment.clone(), operation_id, database_id: None, fence: 1, not_after, body };
        let Ok(doc) = serde_json::to_string(&command) else { return };
        let mut tables = self.tables();
        tables.recorded_at.insert(id.clone(), Instant::now());
        tables.put(json!({
            "pk": { "S": format!("CMD#{id}") }, "sk": { "S": "HEAD" }, "doc": { "S": doc }, "state": { "S": "\"pending\"" },
            "order": { "N": order.to_string() }, "version": { "N": "1" },
        }));
        tables.put(json!({
            "pk": { "S": format!("CMDS#{environment}") }, "sk": { "S": format!("OPEN#{order:020}") }, "command": { "S": id },
            "due_pk": { "S": DUE }, "due_sk": { "S": "9" },
        }));
    }

    /// How many commands have ended.
    pub(crate) fn answered(&self) -> usize {
        self.tables().answered
    }

    /// When a command was recorded.
    pub(crate) fn recorded_at(&self, id: &str) -> Option<Instant> {
        self.tables().recorded_at.get(id).copied()
    }
}

/// Now.
pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a measurement is a shell")]
    Timestamp::now()
}
