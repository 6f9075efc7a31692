//! Node groups as time goes by: a control plane that is newer, a launch template that has changed, a zone that was short when a group
//! was made, an update that EKS has given up.
use crate::begin;
use crate::denial::{code, group, onboarded, ready, settled};
use crate::onboarding::CLUSTER;
use crate::{ACCOUNT, World, deep};
use aws_sdk_eks::types::Nodegroup;
use kiven_model::Code;
use kiven_model::operation::OperationKind::Provision;
use kiven_model::operation::OperationStatus;
use kiven_ports::account::{CustomerAccount, NodeGroup, NodeGroupState, UpdateState};
use kiven_tests::ministack::{MiniStack, REGION};
use serde_json::json;

/// Attempts of one test at what takes some.
const ATTEMPTS_MAX: u32 = 20;

async fn seen(world: &World, group: &NodeGroup) -> Nodegroup {
    let eks = world.aws.sdk(&MiniStack::root(ACCOUNT)).eks();
    eks.describe_nodegroup().cluster_name(&group.cluster).nodegroup_name(&group.name).send().await.unwrap().nodegroup.unwrap()
}

#[tokio::test]
async fn a_patch_follows_the_control_plane_and_the_launch_template() {
    let Some(world) = begin("nodes::a_patch_follows_the_control_plane_and_the_launch_template").await else { return };
    let prepared = onboarded(&world, 2).await;
    let (account, access, group) = (&world.account, &prepared.access, group(&prepared, 1));
    account.node_group_ensure(access, &group, "t").await.unwrap();
    settled(account, &prepared, &group.name).await;
    let patch = async |token: &str| {
        let begun = account.node_group_patch(access, CLUSTER, &group.name, token).await;
        let Ok(Some(update)) = &begun else { return begun };
        while account.node_group_update(access, CLUSTER, &group.name, update).await.unwrap() == UpdateState::Running {}
        begun
    };
    assert_eq!(patch("nothing is newer").await.unwrap(), None);

    // A newer image alone.
    world.aws.switch("release", &json!({"name": "1.34.2-20260501"})).await.unwrap();
    assert!(patch("image").await.unwrap().is_some());
    let now = seen(&world, &group).await;
    assert_eq!((now.version(), now.release_version()), (Some("1.34"), Some("1.34.2-20260501")));

    // A newer control plane: nodes follow it, and never go beyond it.
    world.aws.switch("upgrade", &json!({"account": ACCOUNT, "cluster": CLUSTER, "version": "1.35"})).await.unwrap();
    world.aws.switch("release", &json!({"name": "1.36.0-20260601"})).await.unwrap();
    assert!(patch("control plane").await.unwrap().is_some());
    let now = seen(&world, &group).await;
    assert_eq!((now.version(), now.release_version()), (Some("1.35"), Some("1.35.0-20260601")));

    // A newer version of the launch template reaches groups that are there.
    let template = json!({"account": ACCOUNT, "region": REGION, "template": prepared.launch_template});
    let made = world.aws.switch("template-version", &template).await.unwrap();
    assert!(patch("template").await.unwrap().is_some());
    let now = seen(&world, &group).await;
    assert_eq!(now.launch_template().and_then(|one| one.version()), made["version"].as_str());
    assert_eq!(patch("nothing is newer again").await.unwrap(), None);

    // A patch that runs is the one that everybody waits for.
    world.aws.switch("release", &json!({"name": "1.35.1-20260701"})).await.unwrap();
    world.aws.switch("looks", &json!({"count": 6})).await.unwrap();
    let first = account.node_group_patch(access, CLUSTER, &group.name, "first").await.unwrap();
    assert!(first.is_some());
    assert_eq!(account.node_group_patch(access, CLUSTER, &group.name, "second").await.unwrap(), first);
    settled(account, &prepared, &group.name).await;

    // Another parameter that EKS does not like is no answer.
    let fault = json!({"service": "eks", "operation": "UpdateNodegroupVersion", "code": "InvalidParameterException", "status": 400,
        "message": "The launch template does not exist"});
    world.aws.switch("faults", &fault).await.unwrap();
    assert_eq!(code(patch("broken").await), Code::AWS_REFUSED);
}

#[test]
fn a_group_that_eks_has_given_up_is_made_again() {
    deep(async || {
        let Some(world) = begin("nodes::a_group_that_eks_has_given_up_is_made_again").await else { return };
        let stage = ready(&world, 12).await;
        let subnet = world.customer.subnets.values().next().unwrap();
        world.aws.switch("capacity", &json!({"subnet": subnet, "available": false})).await.unwrap();
        let id = stage.accept(Provision).await;
        let given_up = async |_: &_| {
            let (calls, _) = world.aws.calls(0).await.unwrap();
            calls.iter().any(|call| call["operation"] == "DeleteNodegroup")
        };
        let head = stage.run_until(&id, given_up).await;
        assert!(!head.status.over(), "{:?}", head.problem);
        world.aws.switch("capacity", &json!({"subnet": subnet, "available": true})).await.unwrap();
        let head = stage.run(&id).await;
        assert_eq!(head.status, OperationStatus::Succeeded, "{:?}", head.problem);
        let (calls, _) = world.aws.calls(0).await.unwrap();
        let made = calls.iter().filter(|call| call["operation"] == "CreateNodegroup" && call["status"] == 200).count();
        assert!(made > stage.inventory().await.resources.iter().filter(|one| one.nodes > 0).count(), "one was made twice");
    });
}

#[tokio::test]
async fn a_zone_that_stays_short_is_told_and_whose_group_it_is_is_looked_at_first() {
    let Some(world) = begin("nodes::a_zone_that_stays_short_is_told_and_whose_group_it_is_is_looked_at_first").await else { return };
    let prepared = onboarded(&world, 2).await;
    let (account, group) = (&world.account, group(&prepared, 1));
    world.aws.switch("capacity", &json!({"subnet": prepared.subnet, "available": false})).await.unwrap();
    account.node_group_ensure(&prepared.access, &group, "t").await.unwrap();
    let NodeGroupState::Degraded(why) = settled(account, &prepared, &group.name).await else { panic!("it has nodes") };
    assert!(why.starts_with("KV-306"), "{why}");
    // Another environment's request deletes nothing.
    let theirs = onboarded(&world, 5).await;
    assert_eq!(code(account.node_group_ensure(&theirs.access, &group, "x").await), Code::FOREIGN_RESOURCE);
    let mine = onboarded(&world, 2).await;
    let cleared = account.node_group_ensure(&mine.access, &group, "u").await.unwrap();
    assert!(matches!(&cleared, NodeGroupState::GivenUp(why) if why.starts_with("KV-306")), "{cleared:?}");
    assert_eq!(settled(account, &mine, &group.name).await, NodeGroupState::Absent);
}

#[tokio::test]
async fn an_update_that_failed_is_not_waited_for_for_ever() {
    let Some(world) = begin("nodes::an_update_that_failed_is_not_waited_for_for_ever").await else { return };
    let prepared = onboarded(&world, 2).await;
    let (account, access, group) = (&world.account, &prepared.access, group(&prepared, 2));
    account.node_group_ensure(access, &group, "t").await.unwrap();
    settled(account, &prepared, &group.name).await;
    world.aws.switch("updates-fail", &json!({"times": 2})).await.unwrap();
    let mut state = NodeGroupState::Changing;
    for _ in 0..ATTEMPTS_MAX {
        // One step's token, as it asks again and again.
        state = account.node_group_scale(access, CLUSTER, &group.name, 0, "pause").await.unwrap();
        if state == (NodeGroupState::Active { nodes: 0 }) {
            break;
        }
        settled(account, &prepared, &group.name).await;
    }
    assert_eq!(state, NodeGroupState::Active { nodes: 0 });
    // What fails every time is said.
    world.aws.switch("updates-fail", &json!({"times": 9})).await.unwrap();
    for _ in 0..ATTEMPTS_MAX {
        state = account.node_group_scale(access, CLUSTER, &group.name, 2, "resume").await.unwrap();
        if matches!(state, NodeGroupState::Degraded(_)) {
            break;
        }
        settled(account, &prepared, &group.name).await;
    }
    assert!(matches!(&state, NodeGroupState::Degraded(why) if why.contains("given 3 updates")), "{state:?}");
}
