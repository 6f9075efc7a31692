//! Each permission of the onboarding policy taken away in turn: at connect everything missing is named at once, later the call
//! that needs it says so, and what had begun is undone.
use crate::contracts::prepared;
use crate::stage::Stage;
use crate::{World, begin, deep};
use kiven_aws::account::{Permission, permissions};
use kiven_model::operation::OperationKind::{Connect, Delete, PatchNodes, Pause, Provision, Purge};
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_model::{EnvironmentId, Problem};
use kiven_ports::PortError;
use kiven_ports::account::{BackupBucket, BackupRole, CustomerAccount, NodeGroup, NodeGroupState, ResourceKind};
use serde_json::json;
use std::collections::BTreeSet;

/// Which part of a life needs a permission first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// The preflight alone.
    Connect,
    /// An operation that runs into it.
    Operation(OperationKind),
    /// A provision that is cancelled once its role is made.
    Cancelled,
    /// Calls that a life needs only when something else has gone wrong.
    Direct,
    /// A look at the account.
    Inventory,
}

fn story(permission: &Permission) -> Story {
    match (permission.action.as_str(), permission.steps[0].as_str()) {
        ("eks:ListUpdates" | "iam:UpdateAssumeRolePolicy" | "s3:ListBucket", _) => Story::Direct,
        (_, "read_eks_cluster" | "check_account" | "ensure_oidc_provider") => Story::Connect,
        (_, "ensure_node_group" | "ensure_backup_bucket" | "ensure_backup_role") => Story::Operation(Provision),
        (_, "scale_node_group") => Story::Operation(Pause),
        (_, "start_patch" | "await_patch") => Story::Operation(PatchNodes),
        (_, "delete_node_group") => Story::Operation(Purge),
        (_, "undo of ensure_backup_role") => Story::Cancelled,
        (_, "environment check") => Story::Inventory,
        (action, step) => panic!("no story needs {action} in {step}"),
    }
}

fn emulated() -> impl Iterator<Item = &'static Permission> {
    permissions().iter().filter(|one| one.document == "access" && one.proof == "emulated")
}

fn names(problem: Option<&Problem>, permission: &Permission) -> bool {
    let said = problem.map(|one| format!("{} {} {}", one.message, one.detail, one.hint)).unwrap_or_default();
    said.contains(&permission.action) && said.contains(&permission.sid)
}

async fn revoke(world: &World, stage: &Stage, permission: &Permission) {
    let documents = world.documents.without("access", &permission.sid, &permission.action);
    world.customer.onboard(&world.aws, &documents, &world.customer.names(&stage.world.environment())).await.unwrap();
}

async fn restore(world: &World, stage: &Stage) {
    world.customer.onboard(&world.aws, &world.documents, &world.customer.names(&stage.world.environment())).await.unwrap();
}

async fn new_stage(world: &World, seed: u64) -> Stage {
    let stage = Stage::new(seed, &world.customer, &world.account).await;
    restore(world, &stage).await;
    stage
}

/// Names of what the account holds but the bucket, which outlives everything.
async fn held(stage: &Stage) -> BTreeSet<String> {
    let resources = stage.inventory().await.resources;
    resources.into_iter().filter(|one| one.kind != ResourceKind::BackupBucket).map(|one| one.name).collect()
}

#[test]
fn connect_names_everything_that_is_missing() {
    deep(async || {
        let Some(world) = begin("permissions::connect_names_everything_that_is_missing").await else { return };
        for (seed, permission) in (100..).zip(emulated()) {
            let stage = new_stage(&world, seed).await;
            revoke(&world, &stage, permission).await;
            let head = stage.ended(Connect).await;
            assert_eq!(head.status, OperationStatus::Failed, "{permission:?}: {:?}", head.problem);
            assert!(names(head.problem.as_ref(), permission), "{permission:?} is not named: {:#?}", head.problem);
        }
        // Several at once, and what the module makes besides.
        let stage = new_stage(&world, 99).await;
        let documents = world.documents.without("access", "PassNodeRole", "iam:PassRole").without("access", "MakeBackupBucket", "s3:CreateBucket");
        world.customer.onboard(&world.aws, &documents, &world.customer.names(&stage.world.environment())).await.unwrap();
        let iam = world.aws.sdk(&kiven_tests::ministack::MiniStack::root(crate::ACCOUNT)).iam();
        let arn = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy";
        iam.detach_role_policy().role_name("kiven-node").policy_arn(arn).send().await.unwrap();
        let said = stage.ended(Connect).await.problem.unwrap().detail;
        for missing in ["iam:PassRole", "s3:CreateBucket", "AmazonEKSWorkerNodePolicy"] {
            assert!(said.contains(missing), "{missing} is not in {said}");
        }
    });
}

#[test]
fn every_permission_is_needed_and_its_absence_is_named_and_undone() {
    deep(async || {
        let Some(world) = begin("permissions::every_permission_is_needed_and_its_absence_is_named_and_undone").await else { return };
        let mut told = 0;
        for (seed, permission) in (200..).zip(emulated()) {
            let story = story(permission);
            match story {
                Story::Connect => {}
                Story::Operation(kind) => operation(&world, seed, permission, kind).await,
                Story::Cancelled => cancelled(&world, seed, permission).await,
                Story::Inventory => inventory(&world, seed, permission).await,
                Story::Direct => direct(&world, seed, permission).await,
            }
            told += u32::from(story != Story::Connect);
        }
        println!("{told} permissions were missed by a call of their own, the others by the preflight");
        assert!(told >= 30, "{told}");
    });
}

/// An operation that lacks a permission ends with its name, with nothing left of what it had begun.
async fn operation(world: &World, seed: u64, permission: &Permission, kind: OperationKind) {
    let stage = new_stage(world, seed).await;
    stage.complete(Connect).await;
    if kind != Provision {
        stage.complete(Provision).await;
    }
    if kind == PatchNodes {
        stage.pass_months();
        world.aws.switch("release", &json!({"name": format!("1.34.{seed}-20260501")})).await.unwrap();
    }
    if kind == Purge {
        stage.complete(Delete).await;
    }
    let before = held(&stage).await;
    revoke(world, &stage, permission).await;
    let id = stage.accept(kind).await;
    let head = stage.run_until(&id, async |head| head.problem.is_some() && head.status == OperationStatus::Running).await;
    assert!(names(head.problem.as_ref(), permission), "{kind:?} without {}: {:#?}", permission.action, head.problem);
    if head.status == OperationStatus::Failed {
        assert_eq!(held(&stage).await, before, "{kind:?} without {} has left something", permission.action);
    }
    restore(world, &stage).await;
    if !head.status.over() {
        // Past the point of no return it waits and goes on once the permission is back.
        let head = stage.run(&id).await;
        assert!(matches!(head.status, OperationStatus::Succeeded | OperationStatus::Stuck), "{kind:?}: {:?}", head.problem);
    }
    clear(&stage).await;
}

/// A provision that is cancelled once its role is made: its undo needs what takes roles away.
async fn cancelled(world: &World, seed: u64, permission: &Permission) {
    let stage = new_stage(world, seed).await;
    stage.complete(Connect).await;
    let before = held(&stage).await;
    revoke(world, &stage, permission).await;
    let id = stage.accept(Provision).await;
    stage.run_until(&id, async |_| held(&stage).await.iter().any(|name| name.contains("-backup-"))).await;
    stage.world.cancel(&id);
    let told = async |head: &Operation| names(head.problem.as_ref(), permission);
    let head = stage.run_until(&id, told).await;
    assert!(names(head.problem.as_ref(), permission), "an undo without {}: {:#?}", permission.action, head.problem);
    restore(world, &stage).await;
    let head = stage.run(&id).await;
    if head.status == OperationStatus::Failed {
        assert_eq!(held(&stage).await, before, "an undo without {} has left something", permission.action);
    }
    clear(&stage).await;
}

/// A look at the account says what it may not see, and nothing else is missing from it.
async fn inventory(world: &World, seed: u64, permission: &Permission) {
    let stage = new_stage(world, seed).await;
    stage.complete(Connect).await;
    revoke(world, &stage, permission).await;
    let unseen = stage.inventory().await.unseen;
    assert!(unseen.iter().any(|(_, why)| why.contains(&permission.action)), "{}: {unseen:?}", permission.action);
    restore(world, &stage).await;
}

fn denied<T: std::fmt::Debug>(answer: Result<T, PortError>, permission: &Permission) {
    match answer {
        Err(PortError::Refused(problem)) => assert!(names(Some(&problem), permission), "{problem:?}"),
        other => panic!("without {}: {other:?}", permission.action),
    }
}

/// Calls that a life makes only when something else has happened: a role whose trust was changed, a patch that runs already, a
/// bucket that is there already.
async fn direct(world: &World, seed: u64, permission: &Permission) {
    let (account, bytes) = (&world.account, [u8::try_from(seed % 251).unwrap(); 16]);
    let (prepared, names) = prepared(&world.customer, EnvironmentId::from_random(bytes));
    world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
    let database_id = kiven_model::DatabaseId::from_random(bytes);
    let (access, cluster) = (&prepared.access, prepared.cluster.as_str());
    let without = world.documents.without("access", &permission.sid, &permission.action);
    if permission.action == "eks:ListUpdates" {
        let group = NodeGroup {
            name: kiven_model::names::node_group(&database_id, "eu-west-1a", "m6g.large"),
            cluster: cluster.to_owned(),
            database_id,
            node_type: "m6g.large".to_owned(),
            node_types: vec!["m6g.large".to_owned()],
            subnet: prepared.subnet.clone(),
            launch_template: prepared.launch_template.clone(),
            node_role_arn: prepared.node_role_arn.clone(),
            nodes: 1,
        };
        account.node_group_ensure(access, &group, "t").await.unwrap();
        while account.node_group_get(access, cluster, &group.name).await.unwrap() == NodeGroupState::Changing {}
        world.aws.switch("release", &json!({"name": format!("1.34.{seed}-20260601")})).await.unwrap();
        world.aws.switch("looks", &json!({"count": 6})).await.unwrap();
        account.node_group_patch(access, cluster, &group.name, "first").await.unwrap();
        world.customer.onboard(&world.aws, &without, &names).await.unwrap();
        denied(account.node_group_patch(access, cluster, &group.name, "second").await, permission);
        world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
        world.aws.switch("looks", &json!({"count": 2})).await.unwrap();
        while account.node_group_delete(access, cluster, &group.name).await.unwrap() != NodeGroupState::Absent {}
        return;
    }
    if permission.action == "s3:ListBucket" {
        let bucket = BackupBucket { name: format!("kiven-backups-{}-eu-west-1-{seed:08x}", crate::ACCOUNT), noncurrent_days: 35, kms_key_arn: None };
        account.backup_bucket_ensure(access, &bucket).await.unwrap();
        world.customer.onboard(&world.aws, &without, &names).await.unwrap();
        denied(account.backup_bucket_ensure(access, &bucket).await, permission);
        return;
    }
    let role = BackupRole {
        name: format!("kiven-{}-backup-1", database_id.short(10)),
        prefix: format!("{database_id}/1"),
        database_id,
        oidc_provider_arn: format!("arn:aws:iam::{}:oidc-provider/{}", crate::ACCOUNT, names.oidc_host),
        oidc_issuer: format!("https://{}", names.oidc_host),
        service_account: "kiven-databases:shop-abc-1".to_owned(),
        kms_key_arn: None,
        bucket: "kiven-backups-x".to_owned(),
    };
    account.backup_role_ensure(access, &role).await.unwrap();
    world.customer.onboard(&world.aws, &without, &names).await.unwrap();
    let moved = BackupRole { service_account: "kiven-databases:shop-abc-2".to_owned(), ..role.clone() };
    denied(account.backup_role_ensure(access, &moved).await, permission);
    world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
    account.backup_role_delete(access, &role.name).await.unwrap();
}

/// Takes what is left out of the way of the next one: the account has room for thirty groups.
async fn clear(stage: &Stage) {
    let access = stage.access().await;
    let left = stage.inventory().await.resources;
    for group in left.iter().filter(|one| one.kind == ResourceKind::NodeGroup) {
        while stage.aws().node_group_delete(&access, crate::onboarding::CLUSTER, &group.name).await.unwrap() != NodeGroupState::Absent {}
    }
}
