//! A database's life in an emulated account with exactly the onboarding policy.
use crate::stage::Stage;
use crate::{begin, deep};
use kiven_model::operation::OperationKind::{Change, Connect, Delete, PatchNodes, Pause, Provision, Purge, Resume};
use kiven_ports::account::ResourceKind;
use kiven_tests::variable;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn from_connect_to_purge_with_exactly_the_onboarding_policy() {
    deep(from_connect_to_purge);
}

async fn from_connect_to_purge() {
    let Some(world) = begin("life::from_connect_to_purge_with_exactly_the_onboarding_policy").await else { return };
    let stage = Stage::new(1, &world.customer, &world.account).await;
    let names = world.customer.names(&stage.world.environment());
    world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
    let (_, mut index) = world.aws.calls(0).await.unwrap();
    let mut counted = Vec::new();
    for kind in [Connect, Provision, Pause, Resume, PatchNodes, Change, Delete, Purge] {
        if kind == PatchNodes {
            stage.pass_months();
            world.aws.switch("release", &json!({"name": "1.34.2-20260501"})).await.unwrap();
        }
        stage.complete(kind).await;
        let (calls, next) = world.aws.calls(index).await.unwrap();
        index = next;
        let denied: Vec<_> = calls.iter().filter(|call| call["outcome"] == "denied").collect();
        // The proof that the role does not open without its external id is two denials of STS.
        assert!(denied.iter().all(|call| call["service"] == "sts"), "{kind:?}: {denied:#?}");
        let mut by_operation = BTreeMap::<String, u32>::new();
        for call in &calls {
            *by_operation.entry(format!("{}:{}", call["service"].as_str().unwrap(), call["operation"].as_str().unwrap())).or_default() += 1;
        }
        let parts: Vec<String> = by_operation.iter().map(|(name, number)| format!("  {number:>3} {name}\n")).collect();
        counted.push(format!("{} {}\n{}", kind.as_str(), calls.len(), parts.concat()));
    }
    golden(&counted.concat());
    let left = stage.inventory().await;
    let kinds: Vec<_> = left.resources.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [ResourceKind::BackupRole, ResourceKind::BackupBucket], "the archive stays, and the role that can delete it later");
    assert_eq!(stage.world.violations(), Vec::<String>::new());
}

/// How many calls an operation makes of AWS is held, since a customer's account and tools share AWS' limits with them.
fn golden(counted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/aws-calls.txt");
    if variable("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, counted).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(counted, held, "other calls of AWS than before; if they are meant, UPDATE_GOLDEN=1 writes them");
}
