//! Whoever should not get in does not, and whatever AWS does besides ends in a clear word: throttled, half made, full, gone.
use crate::account::{Customer, WORKER, principal, saas};
use crate::contracts::prepared;
use crate::onboarding::ROLE;
use crate::stage::Stage;
use crate::{World, begin, deep};
use kiven_aws::account::Account;
use kiven_model::environment::EnvironmentStatus;
use kiven_model::operation::OperationKind::{Connect, Pause, Provision, Resume};
use kiven_model::operation::OperationStatus;
use kiven_model::{Code, EnvironmentId};
use kiven_ports::PortError;
use kiven_ports::account::{Access, BackupBucket, BackupRole, CustomerAccount, NodeGroup, NodeGroupState, ResourceKind};
use kiven_ports::contract::Prepared;
use kiven_tests::ministack::{Keys, MiniStack, REGION};
use serde_json::{Value, json};

pub(crate) fn code<T: std::fmt::Debug>(answer: Result<T, PortError>) -> Code {
    match answer {
        Err(PortError::Refused(problem)) => problem.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub(crate) async fn onboarded(world: &World, seed: u8) -> Prepared {
    let (prepared, names) = prepared(&world.customer, EnvironmentId::from_random([seed; 16]));
    world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
    prepared
}

pub(crate) fn group(prepared: &Prepared, nodes: u32) -> NodeGroup {
    let database_id = kiven_model::DatabaseId::from_random([7; 16]);
    NodeGroup {
        name: kiven_model::names::node_group(&database_id, "eu-west-1a", "m6g.large"),
        cluster: prepared.cluster.clone(),
        database_id,
        node_type: "m6g.large".to_owned(),
        node_types: vec!["m6g.large".to_owned(), "m7g.large".to_owned()],
        subnet: prepared.subnet.clone(),
        launch_template: prepared.launch_template.clone(),
        node_role_arn: prepared.node_role_arn.clone(),
        nodes,
    }
}

fn role(prepared: &Prepared, oidc_host: &str) -> BackupRole {
    let database_id = kiven_model::DatabaseId::from_random([7; 16]);
    BackupRole {
        name: format!("kiven-{}-backup-1", database_id.short(10)),
        prefix: format!("{database_id}/1"),
        database_id,
        oidc_provider_arn: format!("arn:aws:iam::{}:oidc-provider/{oidc_host}", prepared.access.account_id),
        oidc_issuer: format!("https://{oidc_host}"),
        service_account: "kiven-databases:shop-abc-1".to_owned(),
        kms_key_arn: None,
        bucket: bucket(prepared).name,
    }
}

fn bucket(prepared: &Prepared) -> BackupBucket {
    let access = &prepared.access;
    let name = kiven_model::names::backup_bucket(&access.account_id, &access.region, &access.environment_id);
    BackupBucket { name, noncurrent_days: 35, kms_key_arn: None }
}

pub(crate) async fn settled(account: &Account, prepared: &Prepared, name: &str) -> NodeGroupState {
    loop {
        match account.node_group_get(&prepared.access, &prepared.cluster, name).await.unwrap() {
            NodeGroupState::Changing => {}
            state => return state,
        }
    }
}

#[tokio::test]
async fn only_kiven_gets_in_and_only_with_this_environments_external_id() {
    let Some(world) = begin("denial::only_kiven_gets_in_and_only_with_this_environments_external_id").await else { return };
    let prepared = onboarded(&world, 2).await;
    let (access, account) = (&prepared.access, &world.account);
    account.access_prove(access).await.unwrap();
    let wrong = Access { external_id: "ffffffffffffffffffffffffffffffff".to_owned(), ..access.clone() };
    assert_eq!(code(account.access_prove(&wrong).await), Code::ACCESS_DENIED);
    let empty = Access { external_id: "00".to_owned(), ..access.clone() };
    assert_eq!(code(account.access_prove(&empty).await), Code::ACCESS_DENIED);
    let other = Access { environment_id: EnvironmentId::from_random([9; 16]), ..access.clone() };
    assert_eq!(code(account.access_prove(&other).await), Code::ACCESS_DENIED, "the role is this environment's");
    // Another principal of Kiven's account, who may assume every role as far as that account goes.
    let stranger = Account::new(world.aws.sdk(&saas(&world.aws, "stranger").await.unwrap()));
    assert_eq!(code(stranger.access_prove(access).await), Code::ACCESS_DENIED);
    // A role that asks for no external id is refused by Kiven itself.
    let iam = world.aws.sdk(&MiniStack::root(crate::ACCOUNT)).iam();
    let open = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": principal(WORKER)}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]});
    iam.update_assume_role_policy().role_name(ROLE).policy_document(open.to_string()).send().await.unwrap();
    assert_eq!(code(account.access_prove(access).await), Code::EXTERNAL_ID_UNCHECKED);
}

#[tokio::test]
async fn without_each_permission_of_the_trust_policy_nobody_gets_in() {
    let Some(world) = begin("denial::without_each_permission_of_the_trust_policy_nobody_gets_in").await else { return };
    let (prepared, names) = prepared(&world.customer, EnvironmentId::from_random([2; 16]));
    for permission in kiven_aws::account::permissions().iter().filter(|one| one.document == "trust") {
        let documents = world.documents.without("trust", &permission.sid, &permission.action);
        world.customer.onboard(&world.aws, &documents, &names).await.unwrap();
        assert_eq!(code(world.account.access_prove(&prepared.access).await), Code::ACCESS_DENIED, "{}", permission.action);
    }
}

#[tokio::test]
async fn expired_credentials_are_asked_for_again_and_unknown_ones_are_refused() {
    let Some(world) = begin("denial::expired_credentials_are_asked_for_again_and_unknown_ones_are_refused").await else { return };
    let prepared = onboarded(&world, 2).await;
    let expired = json!({"service": "eks", "operation": "DescribeCluster", "code": "ExpiredTokenException", "status": 403, "times": 9});
    world.aws.switch("faults", &expired).await.unwrap();
    let answer = world.account.cluster_get(&prepared.access, &prepared.cluster).await;
    assert!(matches!(answer, Err(PortError::Retry { .. })), "{answer:?}");
    world.aws.switch("faults/clear", &json!({})).await.unwrap();
    world.account.cluster_get(&prepared.access, &prepared.cluster).await.unwrap();
    let unknown = Keys { id: "ASIAUNKNOWNUNKNOWN00".to_owned(), secret: "x".to_owned(), token: Some("x".to_owned()) };
    let nobody = Account::new(world.aws.sdk(&unknown));
    assert!(matches!(nobody.access_prove(&prepared.access).await, Err(PortError::Refused(_))));
}

#[tokio::test]
async fn throttling_and_lost_answers_are_ridden_out() {
    let Some(world) = begin("denial::throttling_and_lost_answers_are_ridden_out").await else { return };
    let prepared = onboarded(&world, 2).await;
    let (account, access, group) = (&world.account, &prepared.access, group(&prepared, 1));
    let fault = async |service: &str, operation: &str, code: &str, status: u16, times: u32, effect: bool| {
        let fault = json!({"service": service, "operation": operation, "code": code, "status": status, "times": times, "effect": effect});
        world.aws.switch("faults", &fault).await.unwrap();
    };
    // Fewer than the SDK tries: nobody notices.
    fault("sts", "AssumeRole", "Throttling", 400, 1, false).await;
    fault("eks", "CreateNodegroup", "ThrottlingException", 429, 2, false).await;
    account.node_group_ensure(access, &group, "t").await.unwrap();
    // The effect is there, the answer is lost: asking again finds it.
    fault("s3", "CreateBucket", "InternalError", 500, 1, true).await;
    fault("s3", "PutBucketPolicy", "SlowDown", 503, 1, true).await;
    account.backup_bucket_ensure(access, &bucket(&prepared)).await.unwrap();
    account.cluster_get(access, &prepared.cluster).await.unwrap();
    let role = role(&prepared, &world.customer.oidc_host);
    fault("iam", "CreateRole", "ServiceFailure", 500, 1, true).await;
    for _ in 0..2 {
        if account.backup_role_ensure(access, &role).await.is_ok() {
            break;
        }
    }
    account.backup_role_ensure(access, &role).await.unwrap();
    // IAM knows a role in one place and not yet in another.
    for (operation, code, status) in [("PutRolePolicy", "NoSuchEntity", 404), ("PutRolePolicy", "EntityTemporarilyUnmodifiable", 409)] {
        fault("iam", operation, code, status, 1, false).await;
        let answer = account.backup_role_ensure(access, &role).await;
        assert!(matches!(answer, Err(PortError::Retry { .. })), "{operation} {code}: {answer:?}");
    }
    account.backup_role_ensure(access, &role).await.unwrap();
    // More than the SDK tries: the step is told to come back.
    fault("eks", "DescribeNodegroup", "ThrottlingException", 429, 3, false).await;
    let answer = account.node_group_get(access, &prepared.cluster, &group.name).await;
    assert!(matches!(answer, Err(PortError::Retry { .. })), "{answer:?}");
    assert_eq!(settled(account, &prepared, &group.name).await, NodeGroupState::Active { nodes: 1 });
    // A quota is a word of its own.
    fault("eks", "CreateNodegroup", "ResourceLimitExceededException", 400, 1, false).await;
    let another = NodeGroup { name: "kiven-another-eu-west-1a".to_owned(), ..group.clone() };
    assert_eq!(code(account.node_group_ensure(access, &another, "t").await), Code::AWS_QUOTA);
}

#[tokio::test]
async fn what_was_half_made_is_finished_and_what_others_made_is_refused() {
    let Some(world) = begin("denial::what_was_half_made_is_finished_and_what_others_made_is_refused").await else { return };
    let prepared = onboarded(&world, 2).await;
    let (account, access) = (&world.account, &prepared.access);
    let root = world.aws.sdk(&MiniStack::root(crate::ACCOUNT));
    // A bucket that is made and tagged and nothing more, at every place where a call can fail.
    let bucket = bucket(&prepared);
    for operation in ["PutPublicAccessBlock", "PutBucketEncryption", "PutBucketVersioning", "PutBucketLifecycleConfiguration", "PutBucketPolicy"] {
        let fault = json!({"service": "s3", "operation": operation, "code": "InternalError", "status": 500, "times": 3});
        world.aws.switch("faults", &fault).await.unwrap();
        assert!(matches!(account.backup_bucket_ensure(access, &bucket).await, Err(PortError::Retry { .. })), "{operation}");
    }
    account.backup_bucket_ensure(access, &bucket).await.unwrap();
    let s3 = root.s3();
    let versioning = s3.get_bucket_versioning().bucket(&bucket.name).send().await.unwrap();
    assert_eq!(versioning.status().map(|status| status.as_str()), Some("Enabled"));
    let policy: Value = serde_json::from_str(s3.get_bucket_policy().bucket(&bucket.name).send().await.unwrap().policy().unwrap()).unwrap();
    let sids: Vec<&str> = policy["Statement"].as_array().unwrap().iter().filter_map(|one| one["Sid"].as_str()).collect();
    assert_eq!(sids, ["TlsOnly", "ThisEnvironmentOnly", "KivenKeepsItsHandsOff"]);
    // Without TLS the finished bucket answers nobody.
    world.aws.switch("transport", &json!({"tls": false})).await.unwrap();
    assert!(account.backup_bucket_ensure(access, &bucket).await.is_err());
    world.aws.switch("transport", &json!({"tls": true})).await.unwrap();
    // A role without its rights, and one that somebody else has made.
    let role = role(&prepared, &world.customer.oidc_host);
    world
        .aws
        .switch("faults", &json!({"service": "iam", "operation": "PutRolePolicy", "code": "ServiceFailure", "status": 500, "times": 3}))
        .await
        .unwrap();
    assert!(matches!(account.backup_role_ensure(access, &role).await, Err(PortError::Retry { .. })));
    account.backup_role_ensure(access, &role).await.unwrap();
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    // Its trust is put back when somebody has changed it.
    let trusted = async || {
        let role = root.iam().get_role().role_name(&role.name).send().await.unwrap().role.unwrap();
        role.assume_role_policy_document.unwrap().contains("AssumeRoleWithWebIdentity")
    };
    root.iam().update_assume_role_policy().role_name(&role.name).policy_document(trust.to_string()).send().await.unwrap();
    assert!(!trusted().await);
    account.backup_role_ensure(access, &role).await.unwrap();
    assert!(trusted().await);
    root.iam().create_role().role_name("kiven-theirs-backup-1").assume_role_policy_document(trust.to_string()).send().await.unwrap();
    let theirs = BackupRole { name: "kiven-theirs-backup-1".to_owned(), ..role };
    assert_eq!(code(account.backup_role_ensure(access, &theirs).await), Code::FOREIGN_RESOURCE);
    kiven_aws::store::bucket_ensure(&root, &format!("{}-theirs", bucket.name), REGION).await.unwrap();
    let theirs = BackupBucket { name: format!("{}-theirs", bucket.name), ..bucket };
    assert_eq!(code(account.backup_bucket_ensure(access, &theirs).await), Code::FOREIGN_RESOURCE);
}

#[tokio::test]
async fn labels_that_were_taken_off_are_put_back() {
    let Some(world) = begin("denial::labels_that_were_taken_off_are_put_back").await else { return };
    let prepared = onboarded(&world, 2).await;
    let (account, group) = (&world.account, group(&prepared, 1));
    account.node_group_ensure(&prepared.access, &group, "t").await.unwrap();
    settled(account, &prepared, &group.name).await;
    let drift = json!({"account": crate::ACCOUNT, "group": format!("{}/{}", prepared.cluster, group.name), "labels": {}, "taints": []});
    world.aws.switch("drift", &drift).await.unwrap();
    assert_eq!(account.node_group_ensure(&prepared.access, &group, "again").await.unwrap(), NodeGroupState::Changing);
    assert_eq!(settled(account, &prepared, &group.name).await, NodeGroupState::Active { nodes: 1 });
    let eks = world.aws.sdk(&MiniStack::root(crate::ACCOUNT)).eks();
    let seen = eks.describe_nodegroup().cluster_name(&prepared.cluster).nodegroup_name(&group.name).send().await.unwrap().nodegroup.unwrap();
    assert_eq!(seen.labels().unwrap()["kiven.io/database"], group.database_id.to_string());
    assert_eq!(seen.taints().len(), 1);
    assert_eq!(seen.update_config().and_then(|config| config.max_unavailable()), Some(1));
}

#[test]
fn a_cluster_without_room_is_told_before_anything_is_made() {
    deep(async || {
        let Some(world) = begin("denial::a_cluster_without_room_is_told_before_anything_is_made").await else { return };
        // Another environment's groups count as well: the quota is the cluster's.
        let theirs = onboarded(&world, 2).await;
        for number in 0..29 {
            let group = NodeGroup { name: format!("kiven-theirs{number}-eu-west-1a"), ..group(&theirs, 1) };
            world.account.node_group_ensure(&theirs.access, &group, &format!("t{number}")).await.unwrap();
        }
        let stage = ready(&world, 8).await;
        let (_, index) = world.aws.calls(0).await.unwrap();
        let head = stage.ended(Provision).await;
        let problem = head.problem.unwrap();
        assert_eq!((head.status, problem.code), (OperationStatus::Failed, Code::AWS_QUOTA));
        assert!(problem.message.contains("has 29 node groups of 30, 2 more are needed"), "{}", problem.message);
        let (calls, _) = world.aws.calls(index).await.unwrap();
        let changes =
            calls.iter().filter(|call| call["operation"].as_str().is_some_and(|name| name.starts_with("Create") || name.starts_with("Put")));
        assert_eq!(changes.count(), 0, "{calls:#?}");
    });
}

#[test]
fn a_cluster_without_any_room_is_told_when_it_is_connected() {
    deep(async || {
        let Some(world) = begin("denial::a_cluster_without_any_room_is_told_when_it_is_connected").await else { return };
        let theirs = onboarded(&world, 2).await;
        for number in 0..30 {
            let group = NodeGroup { name: format!("kiven-theirs{number}-eu-west-1a"), ..group(&theirs, 1) };
            world.account.node_group_ensure(&theirs.access, &group, &format!("t{number}")).await.unwrap();
        }
        let stage = Stage::new(10, &world.customer, &world.account).await;
        world.customer.onboard(&world.aws, &world.documents, &world.customer.names(&stage.world.environment())).await.unwrap();
        let problem = stage.ended(Connect).await.problem.unwrap();
        assert!(problem.code == Code::ACCOUNT_INCOMPLETE && problem.detail.contains("has 30 node groups of 30"), "{problem:?}");
    });
}

#[test]
fn a_zone_without_machines_is_waited_for() {
    deep(async || {
        let Some(world) = begin("denial::a_zone_without_machines_is_waited_for").await else { return };
        let stage = ready(&world, 7).await;
        stage.complete(Provision).await;
        stage.complete(Pause).await;
        let subnet = world.customer.subnets.values().next().unwrap();
        world.aws.switch("capacity", &json!({"subnet": subnet, "available": false})).await.unwrap();
        let id = stage.accept(Resume).await;
        let short = async |_: &_| stage.inventory().await.resources.iter().any(|one| one.nodes > 0);
        stage.run_until(&id, short).await;
        for _ in 0..3 {
            stage.world.advance_to(stage.world.now_ms() + 60_000);
        }
        world.aws.switch("capacity", &json!({"subnet": subnet, "available": true})).await.unwrap();
        assert_eq!(stage.run(&id).await.status, OperationStatus::Succeeded);
    });
}

#[test]
fn a_role_that_no_longer_opens_stops_no_database_and_undoes_nothing() {
    deep(async || {
        let Some(world) = begin("denial::a_role_that_no_longer_opens_stops_no_database_and_undoes_nothing").await else { return };
        let stage = ready(&world, 8).await;
        stage.complete(Provision).await;
        let iam = world.aws.sdk(&MiniStack::root(crate::ACCOUNT)).iam();
        let nobody = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}]});
        let close = async || {
            iam.update_assume_role_policy().role_name(ROLE).policy_document(nobody.to_string()).send().await.unwrap();
        };
        let mend = async |stage: &Stage| {
            let names = world.customer.names(&stage.world.environment());
            let names = crate::onboarding::Names { principal: principal("kiven-cold"), ..names };
            world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
        };
        // Kept sessions still open for a while; a new adapter has none.
        let sdk = saas(&world.aws, "kiven-cold").await.unwrap();
        let (cold, colder) = (Account::new(world.aws.sdk(&sdk)), Account::new(world.aws.sdk(&sdk)));
        close().await;
        let stage = stage.with(&cold);
        let ended = stage.ended(Pause).await;
        assert_eq!((ended.status, ended.problem.map(|problem| problem.code)), (OperationStatus::Failed, Some(Code::ACCESS_DENIED)));
        assert_eq!(stage.environment().await.status, EnvironmentStatus::AccessLost);
        mend(&stage).await;
        stage.complete(Pause).await;
        assert_eq!(stage.environment().await.status, EnvironmentStatus::Connected);
        close().await;
        let stage = stage.with(&colder);
        let id = stage.accept(Resume).await;
        let lost = async |_: &_| stage.environment().await.status == EnvironmentStatus::AccessLost;
        let head = stage.run_until(&id, lost).await;
        assert!(!head.status.over(), "nothing is undone while the way in is lost: {:?}", head.problem);
        mend(&stage).await;
        assert_eq!(stage.run(&id).await.status, OperationStatus::Succeeded);
        assert_eq!(stage.environment().await.status, EnvironmentStatus::Connected);
    });
}

/// What sessions of a role are worth that is deleted meanwhile: AWS denies them everything at once.
#[test]
fn a_role_that_goes_while_its_sessions_are_kept_undoes_nothing() {
    deep(async || {
        let Some(world) = begin("denial::a_role_that_goes_while_its_sessions_are_kept_undoes_nothing").await else { return };
        let stage = ready(&world, 9).await;
        let iam = world.aws.sdk(&MiniStack::root(crate::ACCOUNT)).iam();
        let names = world.customer.names(&stage.world.environment());
        let made = async |stage: &Stage| stage.inventory().await.resources.into_iter().map(|one| one.name).collect::<Vec<_>>();
        for kind in [Provision, Pause] {
            let id = stage.accept(kind).await;
            // In the middle of it, with sessions that are good for minutes yet.
            let half = async |head: &kiven_model::operation::Operation| head.version > 6 && !made(&stage).await.is_empty();
            assert!(!stage.run_until(&id, half).await.status.over());
            let before = made(&stage).await;
            iam.delete_role_policy().role_name(ROLE).policy_name("kiven-access").send().await.unwrap();
            iam.delete_role().role_name(ROLE).send().await.unwrap();
            let lost = async |_: &_| stage.environment().await.status == EnvironmentStatus::AccessLost;
            let head = stage.run_until(&id, lost).await;
            assert!(!head.status.over(), "{kind:?}: nothing is undone while the way in is lost: {:?}", head.problem);
            world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
            let after = made(&stage).await;
            assert!(before.iter().all(|name| after.contains(name)), "{kind:?}: {before:?} became {after:?}");
            assert_eq!(stage.run(&id).await.status, OperationStatus::Succeeded, "{kind:?}");
            assert_eq!(stage.environment().await.status, EnvironmentStatus::Connected);
        }
    });
}

pub(crate) async fn ready(world: &World, seed: u64) -> Stage {
    let stage = Stage::new(seed, &world.customer, &world.account).await;
    let names = world.customer.names(&stage.world.environment());
    world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
    stage.complete(Connect).await;
    stage
}

#[tokio::test]
async fn two_organizations_in_one_account_cannot_touch_each_others() {
    let Some(world) = begin("denial::two_organizations_in_one_account_cannot_touch_each_others").await else { return };
    let mine = onboarded(&world, 2).await;
    // The other one's role is another, in the same account and, at worst, for the same cluster.
    let (theirs, names) = prepared(&world.customer, EnvironmentId::from_random([5; 16]));
    world.customer.onboard_as(&world.aws, &world.documents, &names, "kiven-access-second").await.unwrap();
    let second = format!("arn:aws:iam::{}:role/kiven-access-second", crate::ACCOUNT);
    let organization_id = kiven_model::OrganizationId::from_random([8; 16]);
    let theirs = Access { role_arn: second, organization_id, ..theirs.access };
    let (account, group) = (&world.account, group(&mine, 1));
    let (bucket, role) = (bucket(&mine), role(&mine, &world.customer.oidc_host));
    account.node_group_ensure(&mine.access, &group, "t").await.unwrap();
    settled(account, &mine, &group.name).await;
    account.backup_bucket_ensure(&mine.access, &bucket).await.unwrap();
    account.backup_role_ensure(&mine.access, &role).await.unwrap();

    // The adapter refuses by the tags before it asks for anything.
    assert_eq!(code(account.node_group_ensure(&theirs, &group, "x").await), Code::FOREIGN_RESOURCE);
    assert_eq!(code(account.node_group_delete(&theirs, &mine.cluster, &group.name).await), Code::FOREIGN_RESOURCE);
    assert_eq!(code(account.backup_role_delete(&theirs, &role.name).await), Code::FOREIGN_RESOURCE);
    assert!(account.backup_bucket_ensure(&theirs, &bucket).await.is_err());
    let seen = account.inventory(&theirs, &mine.cluster).await.unwrap();
    assert!(seen.resources.is_empty(), "{seen:?}");

    // And so does AWS, to a Kiven that has lost its mind: their session with all the rights of their role.
    let kiven = saas(&world.aws, "kiven-mad").await.unwrap();
    let mad = crate::onboarding::Names { principal: principal("kiven-mad"), ..names };
    world.customer.onboard_as(&world.aws, &world.documents, &mad, "kiven-access-second").await.unwrap();
    let tags = json!({"kiven:organization": theirs.organization_id, "kiven:environment": theirs.environment_id});
    let session = world.aws.assume(&kiven, &theirs.role_arn, &theirs.external_id, &tags).await.unwrap();
    let session = world.aws.sdk(&session);
    let (eks, iam, s3) = (session.eks(), session.iam(), session.s3());
    assert!(eks.delete_nodegroup().cluster_name(&mine.cluster).nodegroup_name(&group.name).send().await.is_err());
    assert!(eks.update_nodegroup_version().cluster_name(&mine.cluster).nodegroup_name(&group.name).send().await.is_err());
    assert!(iam.delete_role_policy().role_name(&role.name).policy_name("kiven-backups").send().await.is_err());
    assert!(iam.put_role_policy().role_name(&role.name).policy_name("x").policy_document("{}").send().await.is_err());
    assert!(iam.update_assume_role_policy().role_name(&role.name).policy_document("{}").send().await.is_err());
    assert!(s3.head_bucket().bucket(&bucket.name).send().await.is_err());
    assert!(s3.put_bucket_policy().bucket(&bucket.name).policy("{}").send().await.is_err());
    assert!(s3.delete_bucket().bucket(&bucket.name).send().await.is_err());
    let left = account.inventory(&mine.access, &mine.cluster).await.unwrap();
    let kinds: Vec<ResourceKind> = left.resources.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ResourceKind::LISTED, "{left:?}");
}

#[tokio::test]
async fn a_role_of_backups_reaches_its_own_prefix_and_no_version() {
    let Some(world) = begin("denial::a_role_of_backups_reaches_its_own_prefix_and_no_version").await else { return };
    let mine = onboarded(&world, 2).await;
    let (account, bucket, role) = (&world.account, bucket(&mine), role(&mine, &world.customer.oidc_host));
    account.backup_bucket_ensure(&mine.access, &bucket).await.unwrap();
    account.backup_role_ensure(&mine.access, &role).await.unwrap();
    let root = world.aws.sdk(&MiniStack::root(crate::ACCOUNT));
    // The rights are tried by a principal of the account, since no pod is here to come with a token.
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", crate::ACCOUNT)}, "Action": "sts:AssumeRole"}]});
    root.iam().update_assume_role_policy().role_name(&role.name).policy_document(trust.to_string()).send().await.unwrap();
    let arn = format!("arn:aws:iam::{}:role/{}", crate::ACCOUNT, role.name);
    let given = root.sts().assume_role().role_arn(arn).role_session_name("pod").send().await.unwrap().credentials.unwrap();
    let pod = world.aws.sdk(&Keys { id: given.access_key_id, secret: given.secret_access_key, token: Some(given.session_token) }).s3();
    let own = format!("{}/base/1", role.prefix);
    let put = pod.put_object().bucket(&bucket.name).key(&own).send().await.unwrap();
    pod.get_object().bucket(&bucket.name).key(&own).send().await.unwrap();
    pod.list_objects_v2().bucket(&bucket.name).prefix(&role.prefix).send().await.unwrap();
    pod.delete_object().bucket(&bucket.name).key(&own).send().await.unwrap();
    let version = put.version_id().expect("the bucket keeps versions");
    assert!(pod.delete_object().bucket(&bucket.name).key(&own).version_id(version).send().await.is_err(), "versions are out of its reach");
    assert!(pod.put_object().bucket(&bucket.name).key("db_another/1/base").send().await.is_err());
    assert!(pod.list_objects_v2().bucket(&bucket.name).send().await.is_err());
    assert!(pod.put_bucket_policy().bucket(&bucket.name).policy("{}").send().await.is_err());
}

#[tokio::test]
async fn the_customer_of_another_account_is_another_matter() {
    let Some(world) = begin("denial::the_customer_of_another_account_is_another_matter").await else { return };
    let prepared = onboarded(&world, 2).await;
    let elsewhere = Customer::new(&world.aws, "444455556666").await.unwrap();
    let access = Access { account_id: elsewhere.account, ..prepared.access };
    assert_eq!(code(world.account.access_prove(&access).await), Code::ACCESS_DENIED, "the role is in another account than was said");
}

#[tokio::test]
async fn a_key_of_the_customers_encrypts_backups_and_the_role_may_use_it() {
    let Some(world) = begin("denial::a_key_of_the_customers_encrypts_backups_and_the_role_may_use_it").await else { return };
    let mine = onboarded(&world, 2).await;
    let key = format!("arn:aws:kms:{REGION}:{}:key/11111111-2222-3333-4444-555555555555", crate::ACCOUNT);
    let bucket = BackupBucket { kms_key_arn: Some(key.clone()), ..bucket(&mine) };
    let role = BackupRole { kms_key_arn: Some(key.clone()), ..role(&mine, &world.customer.oidc_host) };
    world.account.backup_bucket_ensure(&mine.access, &bucket).await.unwrap();
    world.account.backup_role_ensure(&mine.access, &role).await.unwrap();
    let root = world.aws.sdk(&MiniStack::root(crate::ACCOUNT));
    let seen = root.s3().get_bucket_encryption().bucket(&bucket.name).send().await.unwrap();
    let rule = &seen.server_side_encryption_configuration().unwrap().rules()[0];
    let default = rule.apply_server_side_encryption_by_default().unwrap();
    assert_eq!((default.sse_algorithm().as_str(), default.kms_master_key_id()), ("aws:kms", Some(key.as_str())));
    assert_eq!(rule.bucket_key_enabled(), Some(true));
    let policy = root.iam().get_role_policy().role_name(&role.name).policy_name("kiven-backups").send().await.unwrap();
    let policy = percent_encoding::percent_decode_str(policy.policy_document()).decode_utf8().unwrap().into_owned();
    assert!(policy.contains("kms:GenerateDataKey") && policy.contains(&key), "{policy}");
}

#[tokio::test]
async fn a_key_without_auto_scalings_grant_is_told_apart_from_a_shortage() {
    let Some(world) = begin("denial::a_key_without_auto_scalings_grant_is_told_apart_from_a_shortage").await else { return };
    for granted in [false, true] {
        let asked = json!({"account": crate::ACCOUNT, "region": REGION, "granted": granted});
        let made = world.aws.switch("encrypted-template", &asked).await.unwrap();
        let customer = Customer { launch_template: made["launch_template"].as_str().unwrap().to_owned(), ..world.customer.clone() };
        let (prepared, names) = prepared(&customer, EnvironmentId::from_random([2; 16]));
        customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
        let group = NodeGroup { name: format!("kiven-key-{granted}"), ..group(&prepared, 1) };
        world.account.node_group_ensure(&prepared.access, &group, "t").await.unwrap();
        match settled(&world.account, &prepared, &group.name).await {
            NodeGroupState::Active { nodes: 1 } if granted => {}
            NodeGroupState::Degraded(why) if !granted => assert!(why.contains("KMS") && !why.contains("KV-306"), "{why}"),
            state => panic!("granted {granted}: {state:?}"),
        }
    }
}
