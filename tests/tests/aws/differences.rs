//! What somebody has changed by hand in the account: each setting by itself is found by a check, and nothing else is.
use crate::onboarding::CLUSTER;
use crate::stage::Stage;
use crate::{ACCOUNT, World, begin, deep};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
};
use kiven_model::api::DriftView;
use kiven_model::operation::OperationKind::{Connect, Pause, Provision};
use kiven_ports::account::ResourceKind::{self, BackupBucket, BackupRole, NodeGroup, OidcProvider};
use kiven_tests::ministack::MiniStack;
use serde_json::{Value, json};

/// A check after each change: what was known stays known, and exactly one thing is new.
struct Watch<'a> {
    stage: &'a Stage,
    known: Vec<DriftView>,
}

impl Watch<'_> {
    async fn finds(&mut self, kind: ResourceKind, what: &str) {
        let seen = self.stage.check().await;
        assert_eq!(seen.unseen, Vec::<String>::new());
        let new: Vec<&DriftView> = seen.drift.iter().filter(|one| !self.known.contains(one)).collect();
        assert!(self.known.iter().all(|one| seen.drift.contains(one)), "something is no longer told: {:#?}", seen.drift);
        assert_eq!(new.len(), 1, "after a change of {kind:?}, {what}: {new:#?}");
        assert!(new[0].kind == kind.as_str() && new[0].what.contains(what), "{what}: {new:#?}");
        let own = matches!(kind, NodeGroup | BackupRole);
        assert_eq!(new[0].database_id.is_some(), own, "{new:#?}");
        self.known = seen.drift;
    }
}

async fn named(stage: &Stage, kind: ResourceKind) -> String {
    stage.inventory().await.resources.into_iter().find(|one| one.kind == kind).unwrap().name
}

#[test]
fn a_check_finds_each_setting_that_somebody_has_changed() {
    deep(async || {
        let Some(world) = begin("differences::a_check_finds_each_setting_that_somebody_has_changed").await else { return };
        let stage = Stage::new(31, &world.customer, &world.account).await;
        world.customer.onboard(&world.aws, &world.documents, &world.customer.names(&stage.world.environment())).await.unwrap();
        stage.complete(Connect).await;
        let seen = stage.check().await;
        assert!(seen.drift.is_empty() && seen.unseen.is_empty(), "before the first database: {seen:#?}");
        stage.complete(Provision).await;
        let seen = stage.check().await;
        assert!(seen.drift.is_empty() && seen.unseen.is_empty(), "nobody has changed anything: {seen:#?}");
        let mut watch = Watch { stage: &stage, known: Vec::new() };
        bucket(&world, &mut watch).await;
        role(&world, &mut watch).await;
        node_group(&world, &mut watch).await;
        provider(&world, &mut watch).await;
        // Settings are told of a paused database too; how many nodes it has is no difference.
        let known = watch.known.len();
        stage.complete(Pause).await;
        assert_eq!(stage.check().await.drift.len(), known);
        println!("{known} settings changed one after the other, each found by itself");
    });
}

async fn bucket(world: &World, watch: &mut Watch<'_>) {
    let (s3, name) = (world.aws.sdk(&MiniStack::root(ACCOUNT)).s3(), named(watch.stage, BackupBucket).await);
    // S3 encrypts whatever is taken away; a key that the roles of backups may not use is what hurts.
    let theirs = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::AwsKms).kms_master_key_id("alias/theirs").build();
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(theirs.unwrap()).build();
    let theirs = ServerSideEncryptionConfiguration::builder().rules(rule).build().unwrap();
    s3.put_bucket_encryption().bucket(&name).server_side_encryption_configuration(theirs).send().await.unwrap();
    watch.finds(BackupBucket, "not encrypted with the key that Kiven set").await;
    let suspended = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    s3.put_bucket_versioning().bucket(&name).versioning_configuration(suspended).send().await.unwrap();
    watch.finds(BackupBucket, "keeps no versions").await;
    s3.delete_public_access_block().bucket(&name).send().await.unwrap();
    watch.finds(BackupBucket, "public access block").await;
    // A rule of somebody's own beside Kiven's.
    let expires = LifecycleRule::builder()
        .id("theirs")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .expiration(LifecycleExpiration::builder().days(7).build());
    let found = s3.get_bucket_lifecycle_configuration().bucket(&name).send().await.unwrap();
    let rules = found.rules().iter().cloned().chain([expires.build().unwrap()]).collect();
    let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().unwrap();
    s3.put_bucket_lifecycle_configuration().bucket(&name).lifecycle_configuration(rules).send().await.unwrap();
    watch.finds(BackupBucket, "expires current objects").await;
    let found = s3.get_bucket_policy().bucket(&name).send().await.unwrap();
    let mut policy: Value = serde_json::from_str(found.policy().unwrap()).unwrap();
    policy["Statement"].as_array_mut().unwrap().retain(|one| one["Sid"] != "TlsOnly");
    s3.put_bucket_policy().bucket(&name).policy(policy.to_string()).send().await.unwrap();
    watch.finds(BackupBucket, "its policy").await;
}

async fn role(world: &World, watch: &mut Watch<'_>) {
    let (iam, name) = (world.aws.sdk(&MiniStack::root(ACCOUNT)).iam(), named(watch.stage, BackupRole).await);
    let open = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}, "Action": "sts:AssumeRole"}]});
    iam.update_assume_role_policy().role_name(&name).policy_document(open.to_string()).send().await.unwrap();
    watch.finds(BackupRole, "trust policy").await;
    iam.delete_role_permissions_boundary().role_name(&name).send().await.unwrap();
    watch.finds(BackupRole, "permissions boundary").await;
    let wide = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    iam.put_role_policy().role_name(&name).policy_name("kiven-backups").policy_document(wide.to_string()).send().await.unwrap();
    watch.finds(BackupRole, "its policy is not Kiven's").await;
}

async fn node_group(world: &World, watch: &mut Watch<'_>) {
    let (eks, name) = (world.aws.sdk(&MiniStack::root(ACCOUNT)).eks(), named(watch.stage, NodeGroup).await);
    let found = eks.describe_nodegroup().cluster_name(CLUSTER).nodegroup_name(&name).send().await.unwrap().nodegroup.unwrap();
    let node_type = found.labels().unwrap()["kiven.io/node-type"].clone();
    let change = async |field: &str, value: Value| {
        let mut change = json!({"account": ACCOUNT, "group": format!("{CLUSTER}/{name}")});
        change[field] = value;
        world.aws.switch("drift", &change).await.unwrap();
    };
    change("taints", json!([])).await;
    watch.finds(NodeGroup, "its taint").await;
    change("labels", json!({"kiven.io/node-type": node_type})).await;
    watch.finds(NodeGroup, "label kiven.io/database").await;
    change("labels", json!({})).await;
    watch.finds(NodeGroup, "label kiven.io/node-type").await;
    change("instanceTypes", json!(["t4g.nano"])).await;
    watch.finds(NodeGroup, "instance types").await;
}

/// MiniStack has no call that takes an audience away: the provider is made again with another.
async fn provider(world: &World, watch: &mut Watch<'_>) {
    let iam = world.aws.sdk(&MiniStack::root(ACCOUNT)).iam();
    let host = &world.customer.oidc_host;
    let arn = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{host}");
    iam.delete_open_id_connect_provider().open_id_connect_provider_arn(&arn).send().await.unwrap();
    watch.finds(OidcProvider, "it is not there").await;
    watch.known.retain(|one| one.kind != OidcProvider.as_str());
    iam.create_open_id_connect_provider().url(format!("https://{host}")).client_id_list("somebody-else").send().await.unwrap();
    watch.finds(OidcProvider, "does not accept the audience").await;
}
