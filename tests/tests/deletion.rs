//! A deletion with a final backup, taken back: the same PostgreSQL answers with every row.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use kiven_client::ClientError;
use kiven_model::Code;
use kiven_model::api::{DatabaseRequest, DeletionRequest};
use kiven_model::database::Power;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_tests::customer::database_request;
use kiven_tests::{Customer, Stack};
use serde_json::Value;

#[tokio::test]
async fn a_deleted_database_is_backed_up_and_comes_back_with_every_row() {
    let stack = Stack::start("deletion").await.unwrap();
    let customer = Customer::connect(&stack).await.unwrap();
    let deletion = DeletionRequest { final_backup: Some(true), grace_days: Some(7) };
    let request = DatabaseRequest { deletion, ..database_request(&customer.environment, "keeper", 1) };
    let (database, operation) = customer.ask(&request).await.unwrap();
    customer.succeed(&operation).await.unwrap();
    let view = customer.client.database_get(&database.id).await.unwrap();
    customer.query(&view, "CREATE TABLE kept (said text); INSERT INTO kept VALUES ('still here')").await.unwrap();
    let identifier = customer.query(&view, "SELECT system_identifier FROM pg_control_system()").await.unwrap();

    let deleting = customer.client.database_delete(&database.id).await.unwrap();
    customer.succeed(&deleting.operation_id.unwrap()).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    let backups = customer.objects("apis/postgresql.cnpg.io/v1", "backups").await.unwrap();
    let is_final = |backup: &&Value| backup["metadata"]["name"].as_str().is_some_and(|name| name.contains("-final-"));
    let taken: Vec<&Value> = backups.iter().filter(is_final).collect();
    assert!(matches!(taken.as_slice(), [one] if one["status"]["phase"] == "completed"), "{taken:?}");
    let census = customer.census(&view).await.unwrap();
    assert_eq!((census["services"], census["persistentvolumeclaims"]), (0, 1), "{census:?}");

    let undeleting = customer.client.database_undelete(&database.id).await.unwrap();
    assert_eq!(undeleting.status, DatabaseStatus::Undeleting);
    customer.succeed(&undeleting.operation_id.unwrap()).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    let paused = customer.client.database_get(&database.id).await.unwrap();
    assert_eq!((paused.status, paused.power_state, paused.delete_after), (DatabaseStatus::Paused, Power::Off, None));
    customer.succeed(&customer.power(&database.id, true).await.unwrap()).await.unwrap();
    let view = customer.client.database_get(&database.id).await.unwrap();
    assert_eq!(customer.query(&view, "SELECT said FROM kept").await.unwrap(), "still here");
    assert_eq!(customer.query(&view, "SELECT system_identifier FROM pg_control_system()").await.unwrap(), identifier);

    // Nodes that a database of long ago left behind.
    assert_eq!(customer.client.environment_orphans(&customer.environment).await.unwrap().orphans, []);
    let organization = customer.client.me().await.unwrap().organization_id;
    let eks = stack.sdk("CUSTOMERLOCAL").unwrap().eks();
    let group = eks.create_nodegroup().cluster_name("local").nodegroup_name("kiven-0123456789-eu-west-1a").subnets("subnet-local-a");
    let group = group.node_role("arn:aws:iam::000000000000:role/kiven-node").instance_types("m6g.large");
    let group = group.tags("kiven:organization", organization.as_str()).tags("kiven:environment", customer.environment.as_str());
    group.tags("kiven:database", "db_longago").send().await.unwrap();
    let seen = customer.client.environment_orphans(&customer.environment).await.unwrap();
    let names: Vec<_> = seen.orphans.iter().map(|orphan| (orphan.name.as_str(), orphan.why.as_str())).collect();
    assert_eq!(names, [("kiven-0123456789-eu-west-1a", "database db_longago is not known any more")]);
    assert!(seen.usd_per_month > 0.0 && seen.unseen.is_empty(), "{seen:?}");

    changed_by_hand(&stack, &customer, &database.id).await;

    // Deleted again; its name goes to another, and then it does not come back.
    let deleting = customer.client.database_delete(&database.id).await.unwrap();
    customer.succeed(&deleting.operation_id.unwrap()).await.unwrap();
    customer.ask(&database_request(&customer.environment, "keeper", 1)).await.unwrap();
    match customer.client.database_undelete(&database.id).await {
        Err(ClientError::Refused { problem, .. }) => assert_eq!(problem.code, Code::NAME_TAKEN, "{problem}"),
        other => panic!("{other:?}"),
    }
    stack.end().await.unwrap();
}

/// Settings of the bucket and of a role that somebody changed are what a check finds, and nothing else.
async fn changed_by_hand(stack: &Stack, customer: &Customer, database: &kiven_model::DatabaseId) {
    let checked = customer.client.environment_check(&customer.environment).await.unwrap();
    assert_eq!((checked.drift.as_slice(), checked.unseen.as_slice()), (&[][..], &[][..]));
    let sdk = stack.sdk("CUSTOMERLOCAL").unwrap();
    let mut buckets = std::fs::read_dir(stack.state.join("blobs")).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let bucket = buckets.find(|name| name.starts_with("kiven-backups-")).unwrap();
    sdk.s3().delete_public_access_block().bucket(&bucket).send().await.unwrap();
    let role = format!("kiven-{}-backup-1", database.short(10));
    let anybody = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}"#;
    sdk.iam().update_assume_role_policy().role_name(&role).policy_document(anybody).send().await.unwrap();
    let checked = customer.client.environment_check(&customer.environment).await.unwrap();
    let found: Vec<_> = checked.drift.iter().map(|one| (one.kind.as_str(), one.what.as_str())).collect();
    assert!(
        matches!(found.as_slice(), [("backup_role", trust), ("backup_bucket", open)] if trust.contains("trust policy") && open.contains("public access block")),
        "{found:?}"
    );
}
