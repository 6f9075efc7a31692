//! The local Lambda with a real function process: this test binary itself, run again as a function.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kiven_local::aws::NowMs;
use kiven_local::lambda::{BODY_BYTES_MAX, EventSource, Function, FunctionConfig, HttpFront, InvokeError, Schedule};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use support::Local;

/// Longest wait for something that happens in the background.
const WAIT: Duration = Duration::from_secs(20);

/// The function. As an ordinary test it has nothing to do.
#[test]
fn function_process() {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = runtime.block_on(lambda_runtime::run(service_fn(serve)));
    std::process::exit(0);
}

async fn serve(event: LambdaEvent<Value>) -> Result<Value, lambda_runtime::Error> {
    let payload = event.payload;
    if payload["requestContext"].is_object() {
        let body = json!({"path": payload["rawPath"], "query": payload["queryStringParameters"], "body": payload["body"]});
        return Ok(json!({"statusCode": 201, "headers": {"content-type": "application/json"}, "body": body.to_string()}));
    }
    if let Some(records) = payload["Records"].as_array() {
        // "again" fails once: its second delivery is accepted.
        let again = |record: &&Value| record["body"] == "again" && record["attributes"]["ApproximateReceiveCount"] == "1";
        let failed: Vec<Value> = records.iter().filter(again).map(|r| json!({"itemIdentifier": r["messageId"]})).collect();
        return Ok(json!({"batchItemFailures": failed}));
    }
    match payload["do"].as_str() {
        Some("crash") => std::process::exit(3),
        Some("hang") => std::future::pending().await,
        Some("fail") => Err("no".into()),
        _ => Ok(payload),
    }
}

fn function(timeout: Duration, concurrency_max: usize) -> Arc<Function> {
    let now_ms: NowMs = Arc::new(wall_ms);
    let config = FunctionConfig {
        log: None,
        name: "test".into(),
        binary: std::env::current_exe().unwrap(),
        arguments: ["function_process", "--exact", "--nocapture"].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        timeout,
        concurrency_max,
    };
    Function::new(config, now_ms)
}

#[expect(clippy::disallowed_methods, reason = "the function's own deadline is wall time")]
fn wall_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

async fn invoke(function: &Function, event: Value) -> Result<Bytes, InvokeError> {
    function.invoke(event.to_string().into()).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_reused_bounded_and_replaced() {
    let function = function(Duration::from_secs(2), 2);
    let first = Instant::now();
    invoke(&function, json!({"n": 1})).await.unwrap();
    let cold = first.elapsed();
    let warm = Instant::now();
    for n in 0..200 {
        assert_eq!(invoke(&function, json!({"n": n})).await.unwrap(), format!("{{\"n\":{n}}}"));
    }
    println!("cold {cold:?}, warm {:?} each", warm.elapsed() / 200);
    assert_eq!(function.starts(), 1, "a warm instance serves again");
    assert!(matches!(invoke(&function, json!({"do": "fail"})).await, Err(InvokeError::Function(_))));
    assert_eq!(function.starts(), 1, "an error does not cost the instance");

    let many = futures_util::future::join_all((0..20).map(|n| invoke(&function, json!({"n": n})))).await;
    assert!(many.iter().all(Result::is_ok) && function.starts() <= 2 && function.pids().len() <= 2);

    let before = function.starts();
    assert!(matches!(invoke(&function, json!({"do": "crash"})).await, Err(InvokeError::Crashed)));
    assert!(matches!(invoke(&function, json!({"do": "hang"})).await, Err(InvokeError::TimedOut(_))));
    invoke(&function, json!({"n": 1})).await.unwrap();
    assert!(function.starts() <= before + 2);
    function.shut_down();
    until("every process is gone", || function.pids().is_empty()).await;
    assert!(matches!(invoke(&function, json!({})).await, Err(InvokeError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_becomes_events_and_large_bodies_an_error() {
    let function = function(Duration::from_secs(5), 2);
    let front = HttpFront::start(0, function.clone(), Arc::new(wall_ms)).await.unwrap();
    let (status, body) = http(&front.url, "PUT", "/v1/databases/x?after=1&a=b%20c", b"{\"k\":1}").await;
    assert_eq!(status, 201);
    assert_eq!(body["path"], "/v1/databases/x");
    assert_eq!(body["query"], json!({"after": "1", "a": "b c"}));
    assert_eq!(body["body"], "{\"k\":1}");
    let (status, body) = http(&front.url, "POST", "/", &vec![b'x'; 10_000_000]).await;
    assert_eq!((status, body["code"].as_str()), (413, Some("KV-413")));
    let (status, _) = http(&front.url, "POST", "/", &vec![b'x'; BODY_BYTES_MAX - 1_000_000]).await;
    assert_eq!(status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_feed_functions_and_failures_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::start(folder.path().to_owned()).await;
    let function = function(Duration::from_secs(5), 2);
    let queues = local.endpoints.queues().clone();
    let url = queues.queue_ensure("work", 1).await.unwrap();
    let _source = EventSource::start(queues, "work", function.clone(), 10, 2);
    let sqs = local.sdk("KIVEN").sqs();
    for body in ["once", "again", "once"] {
        sqs.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    }
    let deadline = Instant::now() + WAIT;
    loop {
        let left = local.endpoints.queues().messages_left("work").await.unwrap();
        if left == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "every message is worked through");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_ticks_without_overlap() {
    let function = function(Duration::from_secs(5), 4);
    let schedule = Schedule::start(function.clone(), Duration::from_millis(1));
    until("it ticks at once", || function.starts() > 0).await;
    until("its process runs", || !function.pids().is_empty()).await;
    assert_eq!(function.starts(), 1, "one run at a time needs one instance");
    drop(schedule);
}

/// One plain HTTP/1.1 request.
async fn http(url: &str, method: &str, target: &str, body: &[u8]) -> (u16, Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nhost: local\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
