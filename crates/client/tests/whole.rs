//! The client covers the API whole: every operation of the document has its call, which asks what the document says.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::any;
use kiven_client::{Client, Credentials};
use kiven_model::api::{ConnectionRequest, DatabaseRequest, EnvironmentRequest};
use kiven_model::environment::Farewell;
use kiven_model::logs::LogSessionRequest;
use kiven_model::names::DatabaseName;
use kiven_model::schedule::ScheduleRequest;
use kiven_model::upgrade::UpgradesRequest;
use kiven_model::{DatabaseId, EnvironmentId, LogSessionId, OperationId, ScheduleId};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DOCUMENT: &str = include_str!("../../api/openapi.json");
const BODY_BYTES_MAX: usize = 64 * 1024;

/// One request as it arrived: method, path, the query's names, body.
type Asked = (String, String, BTreeSet<String>, Option<Value>);
type Log = Arc<Mutex<Vec<Asked>>>;

async fn note(State(log): State<Log>, request: Request) -> axum::Json<Value> {
    let method = request.method().as_str().to_lowercase();
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let names = query.split('&').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect();
    let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.unwrap();
    log.lock().unwrap().push((method, path, names, serde_json::from_slice(&bytes).ok()));
    axum::Json(json!({}))
}

fn example<T: DeserializeOwned>(operation: &Value) -> T {
    serde_json::from_value(operation["requestBody"]["content"]["application/json"]["example"].clone()).unwrap()
}

/// Every call of the client for an operation of the document, by its `operationId`. Answers do not matter here.
async fn call(client: &Client, name: &str, operation: &Value) {
    let environment = EnvironmentId::from_random([1; 16]);
    let database = DatabaseId::from_random([2; 16]);
    let followed = OperationId::from_random([3; 16]);
    let schedule = ScheduleId::from_random([4; 16]);
    let session = LogSessionId::from_random([5; 16]);
    match name {
        "document_get" => drop(client.document_get().await),
        "me" => drop(client.me().await),
        "plan_list" => drop(client.plan_list().await),
        "environment_list" => drop(client.environment_list().await),
        "environment_get" => drop(client.environment_get(&environment).await),
        "environment_put" => drop(client.environment_put(&environment, &example::<EnvironmentRequest>(operation)).await),
        "environment_delete" => drop(client.environment_delete(&environment).await),
        "agent_token_create" => drop(client.agent_token_create(&environment).await),
        "agent_token_revoke" => drop(client.agent_token_revoke(&environment, &"0a".repeat(32)).await),
        "connection_put" => drop(client.connection_put(&environment, &example::<ConnectionRequest>(operation)).await),
        "connection_delete" => drop(client.connection_delete(&environment, Some(Farewell::Release)).await),
        "database_list" => {
            drop(client.database_list(None).await);
            drop(client.database_list(Some(&environment)).await);
            drop(client.database_find(&environment, &DatabaseName::parse("shop").unwrap()).await);
        }
        "database_get" => {
            drop(client.database_get(&database).await);
            drop(client.database_claim(&database).await);
        }
        "database_put" => drop(client.database_put(&database, &example::<DatabaseRequest>(operation)).await),
        "database_patch_nodes" => drop(client.database_patch_nodes(&database).await),
        "database_rotate_certificates" => drop(client.database_rotate_certificates(&database).await),
        "database_delete" => drop(client.database_delete(&database).await),
        "database_pause" => drop(client.database_pause(&database).await),
        "database_resume" => drop(client.database_resume(&database).await),
        "database_undelete" => drop(client.database_undelete(&database).await),
        "environment_check" => drop(client.environment_check(&environment).await),
        "environment_upgrade" => drop(client.environment_upgrade(&environment).await),
        "environment_upgrades_put" => drop(client.environment_upgrades_put(&environment, &example::<UpgradesRequest>(operation)).await),
        "environment_orphans" => drop(client.environment_orphans(&environment).await),
        "database_events" => drop(client.database_events(&database).await),
        "power_events" => drop(client.power_events(&database).await),
        "log_session_put" => drop(client.log_session_put(&session, &example::<LogSessionRequest>(operation)).await),
        "log_session_batches" => drop(client.log_session_batches(&session, 7).await),
        "log_session_delete" => drop(client.log_session_delete(&session).await),
        "schedule_list" => drop(client.schedule_list().await),
        "schedule_get" => drop(client.schedule_get(&schedule).await),
        "schedule_put" => drop(client.schedule_put(&schedule, &example::<ScheduleRequest>(operation)).await),
        "schedule_delete" => drop(client.schedule_delete(&schedule).await),
        "operation_list" => {
            drop(client.operation_list(None).await);
            drop(client.operation_list(Some(&database)).await);
        }
        "operation_get" => {
            drop(client.operation_get(&followed).await);
            drop(client.operation_follow(&followed, Duration::from_secs(5), |_| {}).await);
        }
        "operation_cancel" => drop(client.operation_cancel(&followed).await),
        other => panic!("the client has no call for `{other}`: add it to crates/client/src/http.rs, and to `call` in crates/client/tests/whole.rs"),
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (wanted, is): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    wanted.len() == is.len() && wanted.iter().zip(is).all(|(wanted, is)| wanted.starts_with('{') || *wanted == is)
}

/// The fields that a body may have, by the document.
fn fields(document: &Value, operation: &Value) -> BTreeSet<String> {
    let named = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
    document.pointer(named.trim_start_matches('#')).unwrap()["properties"].as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn every_operation_of_the_document_has_its_call() {
    let log: Log = Log::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(any(note)).with_state(log.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::new(Credentials { endpoint, api_key: "k".to_owned() }, "test").unwrap();
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let paths = document["paths"].as_object().unwrap();
    for (template, method, operation) in paths.iter().flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |(m, o)| (path, m, o)))
    {
        let name = operation["operationId"].as_str().unwrap();
        log.lock().unwrap().clear();
        call(&client, name, operation).await;
        let asked = log.lock().unwrap().clone();
        assert!(!asked.is_empty(), "{name} asked nothing");
        let mut queried = BTreeSet::new();
        for (used, path, query, body) in asked {
            assert!(used == *method && fits(template, &path), "{name} asked {used} {path}, the document says {method} {template}");
            queried.extend(query);
            match (body, operation.get("requestBody")) {
                (Some(body), Some(_)) => {
                    let sent: BTreeSet<String> = body.as_object().unwrap().keys().cloned().collect();
                    assert_eq!(sent, fields(&document, operation), "{name}: the body's fields");
                }
                (None, None) => {}
                (body, _) => panic!("{name} sent {body:?}, which is not what the document says"),
            }
        }
        let parameters = operation["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["in"] == "query");
        let known: BTreeSet<String> = parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(queried, known, "{name}: the query's parameters");
    }
}
