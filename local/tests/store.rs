//! The shipped store against the local DynamoDB, SQS and S3: the ports' contracts, sizes and restarts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod support;

use std::time::Duration;

use kiven_aws::store::{Queue, SqsDoorbell, Store, StoreConfig, bucket_ensure, table_ensure};
use kiven_model::operation::Operation;
use kiven_ports::contract::{self, operation};
use kiven_ports::{Doorbell, Records, Write};
use support::{Local, REGION};

async fn store(local: &Local) -> Store {
    let sdk = local.sdk("KIVEN");
    for _ in 0..2 {
        table_ensure(&sdk, "kiven").await.unwrap();
        bucket_ensure(&sdk, "kiven-payloads", REGION).await.unwrap();
    }
    let config = StoreConfig { table: "kiven".into(), bucket: "kiven-payloads".into(), due_shards: 64 };
    Store::new(&sdk, &config)
}

#[tokio::test]
async fn the_contracts_hold() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::start(folder.path().to_owned()).await;
    let store = store(&local).await;
    contract::records(&store).await.unwrap();
    contract::agents(&store).await.unwrap();
    contract::blobs(&kiven_aws::store::S3Blobs::new(&local.sdk("KIVEN"), "kiven-payloads")).await.unwrap();
}

#[tokio::test]
async fn large_payloads_leave_the_table_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::start(folder.path().to_owned()).await;
    let store = store(&local).await;
    for (salt, size) in [(1, 10), (2, 5_000), (3, 40_000), (4, 200_000)] {
        let record = Operation { input: serde_json::json!({"blob": "x".repeat(size)}), ..operation(7, salt) };
        let write = Write::Operation { record: Box::new(record.clone()), expected: None };
        store.records_commit(vec![write]).await.unwrap();
        assert_eq!(store.operation_get(&record.id).await.unwrap(), Some(record.clone()));
        let raw = local.sdk("KIVEN").dynamodb().scan().table_name("kiven").send().await.unwrap();
        for item in raw.items().iter().filter(|item| item["sk"].as_s().is_ok_and(|key| key == "HEAD")) {
            assert!(format!("{item:?}").len() < 4_096 + 1_024, "a head stays small");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path().join("blobs/kiven-payloads")).unwrap().count(), 2);
}

#[tokio::test]
async fn a_restart_keeps_records_and_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let record = Operation { input: serde_json::json!("y".repeat(9_000)), ..operation(3, 1) };
    {
        let local = Local::start(folder.path().to_owned()).await;
        let write = Write::Operation { record: Box::new(record.clone()), expected: None };
        store(&local).await.records_commit(vec![write]).await.unwrap();
    }
    let local = Local::start(folder.path().to_owned()).await;
    assert_eq!(store(&local).await.operation_get(&record.id).await.unwrap(), Some(record));
}

#[tokio::test]
async fn the_doorbell_carries_only_the_id() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::start(folder.path().to_owned()).await;
    let url = local.endpoints.queues().queue_ensure("doorbell", 360).await.unwrap();
    let sdk = local.sdk("KIVEN");
    let bell = SqsDoorbell::new(Queue::new(&sdk, &url));
    let id = operation(1, 1).id;
    bell.doorbell_ring(&id, Duration::ZERO).await.unwrap();
    bell.doorbell_ring(&id, Duration::from_secs(5_000)).await.unwrap();
    let got = sdk.sqs().receive_message().queue_url(&url).max_number_of_messages(10).send().await.unwrap();
    let bodies: Vec<&str> = got.messages().iter().filter_map(|message| message.body()).collect();
    assert_eq!(bodies, [id.as_str()], "the second one is delayed");
}
