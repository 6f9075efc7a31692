//! The client against a small server: retries, idempotency, following, problems.
use super::*;
use crate::Followed;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response as Reply};
use axum::routing::any;
use serde_json::json;
use std::sync::{Arc, Mutex};

type Script = Arc<Mutex<(Vec<(u16, serde_json::Value)>, Vec<(String, Option<String>)>)>>;

async fn answer(State(script): State<Script>, request: Request) -> Reply {
    let mut script = script.lock().unwrap();
    let key = request.headers().get(IDEMPOTENCY_HEADER).map(|value| value.to_str().unwrap().to_owned());
    script.1.push((request.uri().to_string(), key));
    let (status, body) = if script.0.len() > 1 { script.0.remove(0) } else { script.0[0].clone() };
    let status = StatusCode::from_u16(status).unwrap();
    if status == StatusCode::NOT_MODIFIED { status.into_response() } else { (status, [("retry-after-ms", "1")], axum::Json(body)).into_response() }
}

/// A client of a server that gives these answers in order, the last one again and again.
async fn scripted(answers: Vec<(u16, serde_json::Value)>) -> (Client, Script) {
    let script: Script = Arc::new(Mutex::new((answers, Vec::new())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(any(answer)).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (Client::new(Credentials { endpoint, api_key: "k".to_owned() }, "test").unwrap(), script)
}

fn operation(status: &str, events: &[u64]) -> serde_json::Value {
    let events: Vec<_> =
        events.iter().map(|n| json!({"sequence": n, "at": "2026-01-01T00:00:00Z", "step": null, "kind": "step_done", "message": "m"})).collect();
    json!({
        "id": OperationId::from_random([1; 16]), "kind": "pause", "subject": {"database": DatabaseId::from_random([2; 16])}, "status": status,
        "current_step": null, "problem": null, "events": events, "retry_after_ms": 50,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    })
}

#[tokio::test]
async fn a_change_is_retried_with_the_same_idempotency_key() {
    let me = json!({"code": "KV-299", "message": "not now"});
    let (client, script) = scripted(vec![(503, me.clone()), (429, me), (200, operation("running", &[]))]).await;
    client.operation_cancel(&OperationId::from_random([1; 16])).await.unwrap();
    let asked = script.lock().unwrap().1.clone();
    assert_eq!(asked.len(), 3);
    assert!(asked[0].1.is_some() && asked.iter().all(|one| one.1 == asked[0].1));
}

#[tokio::test]
async fn a_refusal_is_not_retried_and_keeps_its_code() {
    let (client, script) = scripted(vec![(404, json!({"code": "KV-203", "message": "gone"}))]).await;
    let error = client.database_get(&DatabaseId::from_random([2; 16])).await.unwrap_err();
    assert!(error.not_found() && !error.transient());
    assert_eq!(script.lock().unwrap().1.len(), 1);
}

#[tokio::test]
async fn an_answer_of_somebody_else_is_unreadable() {
    let (client, _script) = scripted(vec![(200, json!("hello"))]).await;
    assert!(matches!(client.me().await, Err(ClientError::Unreadable { status: 200, .. })));
}

#[tokio::test]
async fn nobody_there_ends_within_the_bound() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(Credentials { endpoint, api_key: "k".to_owned() }, "test").unwrap();
    tokio::time::pause();
    assert!(client.me().await.unwrap_err().transient());
}

#[tokio::test]
async fn following_sees_every_event_once_until_the_end() {
    let answers = vec![
        (200, operation("running", &[1, 2])),
        (304, json!(null)),
        (503, json!({"code": "KV-299", "message": "not now"})),
        (200, operation("running", &[3])),
        (200, operation("succeeded", &[4])),
    ];
    let (client, script) = scripted(answers).await;
    let mut seen = Vec::new();
    let followed = client.operation_follow(&OperationId::from_random([1; 16]), Duration::from_secs(60), |event| seen.push(event.sequence)).await;
    assert!(matches!(followed.unwrap(), Followed::Over(view) if view.status.over()));
    assert_eq!(seen, [1, 2, 3, 4]);
    assert!(script.lock().unwrap().1.last().unwrap().0.ends_with("?after=3"));
}

#[tokio::test]
async fn following_ends_when_time_is_up() {
    let (client, _script) = scripted(vec![(200, operation("running", &[1]))]).await;
    let followed = client.operation_follow(&OperationId::from_random([1; 16]), Duration::from_millis(120), |_| {}).await.unwrap();
    assert!(matches!(followed, Followed::TimedOut(Some(_))));
}
