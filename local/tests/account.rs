//! The shipped account adapter against the local STS, IAM, EKS and S3, with every policy enforced.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod support;

use kiven_aws::account::Account;
use kiven_model::{Code, DatabaseId, EnvironmentId, OperationId, OrganizationId};
use kiven_ports::PortError;
use kiven_ports::account::{
    Access, AccountNeeds, BackupBucket, BackupRole, CustomerAccount, Inventory, NodeGroup, NodeGroupState, ResourceKind, UpdateState,
};
use kiven_ports::contract;
use serde_json::json;
use support::{CUSTOMER, DELAY_MS, Local, REGION, SAAS};

const EXTERNAL_ID: &str = "kvx-0123456789abcdef";

fn access() -> Access {
    Access {
        role_arn: format!("arn:aws:iam::{CUSTOMER}:role/kiven"),
        external_id: EXTERNAL_ID.into(),
        account_id: CUSTOMER.into(),
        region: REGION.into(),
        organization_id: OrganizationId::from_random([1; 16]),
        environment_id: EnvironmentId::from_random([2; 16]),
        operation_id: OperationId::from_random([3; 16]),
    }
}

fn group(nodes: u32) -> NodeGroup {
    NodeGroup {
        name: "kiven-abcdefghij-eu-west-1a".into(),
        cluster: "local".into(),
        database_id: DatabaseId::from_random([4; 16]),
        node_type: "m6g.large".into(),
        node_types: vec!["m6g.large".into(), "m7g.large".into()],
        subnet: "subnet-a".into(),
        launch_template: "lt-0123".into(),
        node_role_arn: format!("arn:aws:iam::{CUSTOMER}:role/nodes"),
        nodes,
    }
}

fn trust(condition: serde_json::Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:aws:iam::{SAAS}:role/kiven-worker")},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": condition,
    }]})
    .to_string()
}

/// What the onboarding module does.
async fn onboard(local: &Local) {
    let iam = local.sdk("CUSTOMER").iam();
    let checked = trust(json!({"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}));
    iam.create_role().role_name("kiven").assume_role_policy_document(checked).send().await.unwrap();
    let may = json!({"Statement": [
        {"Effect": "Allow", "Action": ["eks:*", "iam:*", "s3:*", "ec2:*"], "Resource": "*"},
        {"Effect": "Deny", "Action": ["s3:DeleteObject*", "s3:DeleteBucket"], "Resource": "*"}]});
    let put = iam.put_role_policy().role_name("kiven").policy_name("kiven").policy_document(may.to_string());
    put.send().await.unwrap();
}

async fn start() -> (tempfile::TempDir, Local, Account) {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::start(folder.path().to_owned()).await;
    onboard(&local).await;
    let account = Account::new(local.sdk("KIVEN"));
    (folder, local, account)
}

/// What an account has once.
async fn furnish(local: &Local) {
    let iam = local.sdk("CUSTOMER").iam();
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    for (name, path) in [("kiven-node", "/"), ("AWSServiceRoleForAmazonEKSNodegroup", "/aws-service-role/eks-nodegroup.amazonaws.com/")] {
        iam.create_role().role_name(name).path(path).assume_role_policy_document(trust.to_string()).send().await.unwrap();
    }
    for policy in ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"] {
        let arn = format!("arn:aws:iam::aws:policy/{policy}");
        iam.attach_role_policy().role_name("kiven-node").policy_arn(arn).send().await.unwrap();
    }
    let most = json!({"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    iam.create_policy().policy_name("kiven-boundary").policy_document(most.to_string()).send().await.unwrap();
}

#[tokio::test]
async fn the_contract_holds() {
    let (_folder, local, account) = start().await;
    furnish(&local).await;
    let prepared = contract::Prepared {
        access: access(),
        cluster: "local".into(),
        subnet: "subnet-a".into(),
        launch_template: "lt-0123".into(),
        node_role_arn: format!("arn:aws:iam::{CUSTOMER}:role/kiven-node"),
        kms_key_arn: None,
    };
    contract::account(&account, &prepared, async || local.advance(DELAY_MS)).await.unwrap();
}

#[tokio::test]
async fn everything_missing_is_named_in_one_go() {
    let (_folder, local, account) = start().await;
    let less = json!({"Statement": [
        {"Effect": "Allow", "Action": ["iam:*", "s3:*", "ec2:*"], "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:PassRole", "Resource": "*"}]});
    let put = local.sdk("CUSTOMER").iam().put_role_policy().role_name("kiven").policy_name("kiven").policy_document(less.to_string());
    put.send().await.unwrap();
    let needs = AccountNeeds {
        cluster: "local".into(),
        oidc_issuer: "https://oidc.local/id/1".into(),
        node_role_arn: format!("arn:aws:iam::{CUSTOMER}:role/kiven-node"),
        launch_template: "lt-0123".into(),
    };
    let missing: Vec<String> = account.preflight(&access(), &needs).await.unwrap().into_iter().map(|one| one.message).collect();
    for named in
        ["eks:CreateNodegroup", "eks:DeleteNodegroup", "eks:DescribeCluster", "iam:PassRole", "kiven-node", "kiven-boundary", "AWSServiceRole"]
    {
        assert!(missing.iter().any(|one| one.contains(named)), "{named} is not in {missing:?}");
    }
    assert!(!missing.iter().any(|one| one.contains("s3:")), "{missing:?}");
}

fn code<T: std::fmt::Debug>(result: Result<T, PortError>) -> Code {
    match result {
        Err(PortError::Refused(problem)) => problem.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn access_is_proved_and_its_absence_noticed() {
    let (_folder, local, account) = start().await;
    account.access_prove(&access()).await.unwrap();
    let wrong = Access { external_id: "another".into(), ..access() };
    assert_eq!(code(account.access_prove(&wrong).await), Code::ACCESS_DENIED);
    let nowhere = Access { role_arn: format!("arn:aws:iam::{CUSTOMER}:role/none"), ..access() };
    assert_eq!(code(account.access_prove(&nowhere).await), Code::ACCESS_DENIED);
    assert_eq!(code(Account::new(local.sdk("STRANGER")).access_prove(&access()).await), Code::ACCESS_DENIED);
    let other = Access { account_id: SAAS.into(), ..access() };
    assert_eq!(code(account.access_prove(&other).await), Code::ACCESS_DENIED);

    let iam = local.sdk("CUSTOMER").iam();
    for unchecked in [json!({}), json!({"StringLike": {"sts:ExternalId": "*"}})] {
        let update = iam.update_assume_role_policy().role_name("kiven").policy_document(trust(unchecked));
        update.send().await.unwrap();
        assert_eq!(code(account.access_prove(&access()).await), Code::EXTERNAL_ID_UNCHECKED);
    }
}

#[tokio::test]
async fn a_cluster_is_read_and_its_provider_made_once() {
    let (_folder, _local, account) = start().await;
    let facts = account.cluster_get(&access(), "local").await.unwrap();
    assert_eq!(facts.version, "1.34");
    assert_eq!(code(account.cluster_get(&access(), "other").await), Code::NOT_FOUND);
    let made = account.oidc_provider_ensure(&access(), &facts.oidc_issuer).await.unwrap();
    let found = account.oidc_provider_ensure(&access(), &facts.oidc_issuer).await.unwrap();
    assert_eq!((&made, made.as_str()), (&found, "arn:aws:iam::111122223333:oidc-provider/oidc.local/id/1"));
}

#[tokio::test]
async fn nodes_are_patched_once_there_is_a_newer_release() {
    const MONTH_MS: i64 = 31 * 24 * 3_600_000;
    let (_folder, local, account) = start().await;
    let (access, group) = (access(), group(1));
    let (cluster, name) = (group.cluster.as_str(), group.name.as_str());
    assert_eq!(account.node_group_release(&access, cluster, name).await.unwrap(), None);
    account.node_group_ensure(&access, &group, "t").await.unwrap();
    local.advance(DELAY_MS);
    let old = account.node_group_release(&access, cluster, name).await.unwrap().unwrap();
    assert_eq!(account.node_group_patch(&access, cluster, name, "p").await.unwrap(), None, "there is none newer than {old}");
    local.advance(MONTH_MS);
    // Sessions last a quarter of an hour.
    let account = Account::new(local.sdk("KIVEN"));
    let update = account.node_group_patch(&access, cluster, name, "p2").await.unwrap().unwrap();
    assert_eq!(account.node_group_patch(&access, cluster, name, "p2").await.unwrap().as_ref(), Some(&update), "same token, same update");
    assert_eq!(account.node_group_patch(&access, cluster, name, "p3").await.unwrap().as_ref(), Some(&update), "the one that runs");
    assert_eq!(account.node_group_update(&access, cluster, name, &update).await.unwrap(), UpdateState::Running);
    local.advance(DELAY_MS);
    assert_eq!(account.node_group_update(&access, cluster, name, &update).await.unwrap(), UpdateState::Done);
    assert!(account.node_group_release(&access, cluster, name).await.unwrap().unwrap() > old);
    assert_eq!(account.node_group_get(&access, cluster, name).await.unwrap(), NodeGroupState::Active { nodes: 1 });
}

#[tokio::test]
async fn a_node_group_lives_from_none_to_none() {
    let (_folder, local, account) = start().await;
    let (access, group) = (access(), group(1));
    let (cluster, name) = (group.cluster.as_str(), group.name.as_str());
    assert_eq!(account.node_group_get(&access, cluster, name).await.unwrap(), NodeGroupState::Absent);
    for _ in 0..2 {
        assert_eq!(account.node_group_ensure(&access, &group, "t").await.unwrap(), NodeGroupState::Changing);
    }
    assert_eq!(account.node_group_delete(&access, cluster, name).await.unwrap(), NodeGroupState::Changing);
    local.advance(DELAY_MS);
    assert_eq!(account.node_group_ensure(&access, &group, "t").await.unwrap(), NodeGroupState::Active { nodes: 1 });
    for nodes in [0, 1] {
        let scaled = account.node_group_scale(&access, cluster, name, nodes, "s").await.unwrap();
        assert_eq!(scaled, NodeGroupState::Changing);
        local.advance(DELAY_MS);
        let scaled = account.node_group_scale(&access, cluster, name, nodes, "s").await.unwrap();
        assert_eq!(scaled, NodeGroupState::Active { nodes });
    }
    let running = local.endpoints.node_groups(cluster);
    assert_eq!(running[0].nodes_running(), 1);
    assert_eq!(running[0].spec.labels["kiven.io/database"], group.database_id.to_string());
    assert_eq!(account.node_group_delete(&access, cluster, name).await.unwrap(), NodeGroupState::Changing);
    local.advance(DELAY_MS);
    assert_eq!(account.node_group_delete(&access, cluster, name).await.unwrap(), NodeGroupState::Absent);
}

#[tokio::test]
async fn what_others_made_is_refused_and_shortage_is_told() {
    let (_folder, local, account) = start().await;
    let (mine, theirs) = (access(), Access { environment_id: EnvironmentId::from_random([9; 16]), ..access() });
    account.node_group_ensure(&theirs, &group(1), "t").await.unwrap();
    assert_eq!(code(account.node_group_ensure(&mine, &group(1), "t").await), Code::FOREIGN_RESOURCE);
    let refused = account.node_group_delete(&mine, "local", &group(1).name).await;
    assert_eq!(code(refused), Code::FOREIGN_RESOURCE);

    local.endpoints.capacity_set("subnet-a", false).unwrap();
    let short = NodeGroup { name: "kiven-short-eu-west-1a".into(), ..group(1) };
    account.node_group_ensure(&mine, &short, "t").await.unwrap();
    local.advance(DELAY_MS);
    let NodeGroupState::GivenUp(why) = account.node_group_ensure(&mine, &short, "t").await.unwrap() else {
        panic!("what a zone without capacity has not made is made again");
    };
    assert!(why.contains("KV-306"), "{why}");
    local.advance(DELAY_MS);
    local.endpoints.capacity_set("subnet-a", true).unwrap();
    assert_eq!(account.node_group_ensure(&mine, &short, "t#1").await.unwrap(), NodeGroupState::Changing);
    local.advance(DELAY_MS);
    assert_eq!(account.node_group_get(&mine, "local", &short.name).await.unwrap(), NodeGroupState::Active { nodes: 1 });
    let outside = NodeGroup { name: "outside".into(), ..group(1) };
    assert_eq!(code(account.node_group_ensure(&mine, &outside, "t").await), Code::PERMISSION_MISSING, "not in the session policy");
}

#[tokio::test]
async fn a_bucket_is_finished_once_and_then_out_of_reach() {
    let (_folder, local, account) = start().await;
    let bucket = BackupBucket { name: "kiven-backups-111122223333-eu-west-1-0a1b2c".into(), noncurrent_days: 35, kms_key_arn: None };
    account.backup_bucket_ensure(&access(), &bucket).await.unwrap();
    account.backup_bucket_ensure(&access(), &bucket).await.unwrap();
    let s3 = local.sdk("CUSTOMER").s3();
    let versioning = s3.get_bucket_versioning().bucket(&bucket.name).send().await.unwrap();
    assert_eq!(versioning.status().map(|status| status.as_str()), Some("Enabled"));
    let lifecycle = s3.get_bucket_lifecycle_configuration().bucket(&bucket.name).send().await.unwrap();
    let kept = lifecycle.rules()[0].noncurrent_version_expiration().and_then(|rule| rule.noncurrent_days());
    assert_eq!(kept, Some(35));
    let theirs = Access { environment_id: EnvironmentId::from_random([9; 16]), ..access() };
    assert_eq!(code(account.backup_bucket_ensure(&theirs, &bucket).await), Code::FOREIGN_RESOURCE);
    s3.create_bucket().bucket("kiven-backups-foreign").send().await.unwrap();
    let foreign = BackupBucket { name: "kiven-backups-foreign".into(), noncurrent_days: 35, kms_key_arn: None };
    assert_eq!(code(account.backup_bucket_ensure(&access(), &foreign).await), Code::FOREIGN_RESOURCE);

    // The policy is what keeps Kiven out, not its good will: a session of the role with all its rights.
    let kiven = local.sdk("KIVEN").sts().assume_role().role_arn(access().role_arn).role_session_name("attack");
    let given = kiven.external_id(EXTERNAL_ID).duration_seconds(900).send().await.unwrap().credentials.unwrap();
    let session = local.sdk(given.access_key_id()).s3();
    session.head_bucket().bucket(&bucket.name).send().await.unwrap();
    assert!(session.delete_bucket_policy().bucket(&bucket.name).send().await.is_err());
    assert!(session.delete_bucket_lifecycle().bucket(&bucket.name).send().await.is_err());
    assert!(session.delete_object().bucket(&bucket.name).key("k").send().await.is_err());
    assert!(session.delete_bucket().bucket(&bucket.name).send().await.is_err());
}

#[tokio::test]
async fn an_inventory_lists_the_organizations_own_and_says_what_it_may_not_see() {
    let (_folder, local, account) = start().await;
    let (access, group) = (access(), group(2));
    let bucket = BackupBucket { name: format!("kiven-backups-{CUSTOMER}-{REGION}-0123abcd"), noncurrent_days: 35, kms_key_arn: None };
    let role = BackupRole {
        name: "kiven-abcdefghij-backup-1".into(),
        database_id: DatabaseId::from_random([4; 16]),
        oidc_provider_arn: format!("arn:aws:iam::{CUSTOMER}:oidc-provider/oidc.local/id/1"),
        oidc_issuer: "https://oidc.local/id/1".into(),
        service_account: "kiven-databases:shop-abc-1".into(),
        bucket: bucket.name.clone(),
        prefix: "db-1".into(),
        kms_key_arn: None,
    };
    assert_eq!(account.inventory(&access, "local").await.unwrap(), Inventory::default());
    account.node_group_ensure(&access, &group, "t").await.unwrap();
    // Another environment of the organization is seen too: it may be gone.
    let second = Access { environment_id: EnvironmentId::from_random([9; 16]), ..access.clone() };
    account.backup_role_ensure(&second, &role).await.unwrap();
    account.backup_bucket_ensure(&access, &bucket).await.unwrap();
    let foreign = Access { organization_id: OrganizationId::from_random([8; 16]), ..access.clone() };
    account.backup_role_ensure(&foreign, &BackupRole { name: "kiven-foreign-backup-1".into(), ..role.clone() }).await.unwrap();
    local.sdk("CUSTOMER").s3().create_bucket().bucket(format!("kiven-backups-{CUSTOMER}-{REGION}-untagged")).send().await.unwrap();
    let found = account.inventory(&access, "local").await.unwrap();
    let seen: Vec<_> = found.resources.iter().map(|one| (one.kind, one.name.as_str(), one.environment_id.as_str(), one.nodes)).collect();
    let (here, there) = (access.environment_id.as_str(), second.environment_id.as_str());
    assert_eq!(
        seen,
        [
            (ResourceKind::NodeGroup, group.name.as_str(), here, 2),
            (ResourceKind::BackupRole, role.name.as_str(), there, 0),
            (ResourceKind::BackupBucket, bucket.name.as_str(), here, 0)
        ]
    );
    assert_eq!(found.resources[0].node_types, group.node_types);
    assert_eq!(found.resources[1].database_id.as_deref(), Some(role.database_id.as_str()));

    let less = json!({"Statement": [{"Effect": "Allow", "Action": ["eks:*", "s3:*"], "Resource": "*"}]}).to_string();
    let put = local.sdk("CUSTOMER").iam().put_role_policy().role_name("kiven").policy_name("kiven").policy_document(less);
    put.send().await.unwrap();
    let found = account.inventory(&access, "local").await.unwrap();
    assert_eq!(found.unseen.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [ResourceKind::BackupRole]);
    assert_eq!(found.resources.len(), 2);
}

#[tokio::test]
async fn a_role_is_made_mended_and_deleted() {
    let (_folder, local, account) = start().await;
    let role = BackupRole {
        name: "kiven-abcdefghij-1".into(),
        database_id: DatabaseId::from_random([4; 16]),
        oidc_provider_arn: format!("arn:aws:iam::{CUSTOMER}:oidc-provider/oidc.local/id/1"),
        oidc_issuer: "https://oidc.local/id/1".into(),
        service_account: "kiven-databases:shop-abc-1".into(),
        bucket: "kiven-backups-x".into(),
        prefix: "db-1".into(),
        kms_key_arn: None,
    };
    let arn = account.backup_role_ensure(&access(), &role).await.unwrap();
    assert_eq!(arn, format!("arn:aws:iam::{CUSTOMER}:role/kiven-abcdefghij-1"));
    let iam = local.sdk("CUSTOMER").iam();
    let open = json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}).to_string();
    iam.update_assume_role_policy().role_name(&role.name).policy_document(open).send().await.unwrap();
    account.backup_role_ensure(&access(), &role).await.unwrap();
    let mended = iam.get_role().role_name(&role.name).send().await.unwrap().role.unwrap();
    assert!(mended.assume_role_policy_document().unwrap().contains("AssumeRoleWithWebIdentity"));
    let theirs = Access { environment_id: EnvironmentId::from_random([9; 16]), ..access() };
    assert_eq!(code(account.backup_role_delete(&theirs, &role.name).await), Code::FOREIGN_RESOURCE);
    for _ in 0..2 {
        account.backup_role_delete(&access(), &role.name).await.unwrap();
    }
    assert!(iam.get_role().role_name(&role.name).send().await.is_err());
}
