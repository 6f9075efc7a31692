//! A database's life in an emulated account with exactly the onboarding policy.
use crate::stage::Stage;
use crate::{begin, deep};
use kiven_model::operation::OperationKind::{Change, Connect, Delete, PatchNodes, Pause, Provision, Purge, Resume};
use kiven_ports::account::ResourceKind;
use serde_json::json;

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
        counted.push(format!("{}: {} AWS calls", kind.as_str(), calls.len()));
    }
    println!("{}", counted.join("\n"));
    let left = stage.inventory().await;
    let kinds: Vec<_> = left.resources.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [ResourceKind::BackupRole, ResourceKind::BackupBucket], "the archive stays, and the role that can delete it later");
    assert_eq!(stage.world.violations(), Vec::<String>::new());
}
