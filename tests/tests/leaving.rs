//! Leaving Kiven: a released database runs on with nothing taken away, a destroyed one is gone, and without a choice nothing happens.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use kiven_client::ClientError;
use kiven_model::Code;
use kiven_model::environment::{EnvironmentStatus, Farewell};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::OperationStatus;
use kiven_tests::customer::{OPERATION_MAX, connection_request, database_request};
use kiven_tests::terraform::{Terraform, find};
use kiven_tests::{Customer, Stack, within};
use std::time::Duration;

/// How long the released agent may take to say so.
const MARK_MAX: Duration = Duration::from_secs(10);
/// Two instances, and two of PgBouncer.
const PODS: usize = 4;

fn code(answer: Result<impl std::fmt::Debug, ClientError>) -> Code {
    match answer {
        Err(ClientError::Refused { problem, .. }) => problem.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_released_runs_on_and_what_is_destroyed_is_gone() {
    let stack = Stack::start("leaving").await.unwrap();
    let customer = Customer::connect(&stack).await.unwrap();
    let (client, environment) = (&customer.client, &customer.environment);
    let (database, operation) = customer.ask(&database_request(environment, "keeper", 2)).await.unwrap();
    customer.succeed(&operation).await.unwrap();
    let view = client.database_get(&database.id).await.unwrap();
    customer.query(&view, "CREATE TABLE kept (said text); INSERT INTO kept VALUES ('still here')").await.unwrap();

    assert_eq!(code(client.connection_delete(environment, None).await), Code::ENVIRONMENT_IN_USE);
    customer.succeed(&customer.power(&database.id, false).await.unwrap()).await.unwrap();
    assert_eq!(code(client.connection_delete(environment, Some(Farewell::Release)).await), Code::NOT_RELEASABLE);
    customer.succeed(&customer.power(&database.id, true).await.unwrap()).await.unwrap();

    let page = customer.runbook().await.unwrap();
    assert!(page.contains("cluster `local` in eu-west-1") && page.contains(&format!("## keeper ({})", database.id)), "{page}");
    // PgBouncer's pods come after the resume has ended.
    assert!(within(MARK_MAX, async || customer.census(&view).await.is_ok_and(|census| census["pods"] == PODS)).await);
    let (before, volumes) = (customer.census(&view).await.unwrap(), customer.volumes(&view).await.unwrap());
    let leaving = client.connection_delete(environment, Some(Farewell::Release)).await.unwrap();
    let again = client.connection_delete(environment, Some(Farewell::Release)).await;
    assert!(again.is_ok_and(|again| again.operation_id == leaving.operation_id), "asking twice is asking once");
    let operation = leaving.operation_id.unwrap();
    let ended = customer.succeed(&operation).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    assert!(ended.events.iter().any(|event| event.message == "release agent"), "{ended:?}");
    let left = client.environment_get(environment).await.unwrap();
    assert_eq!((left.status, left.connection), (EnvironmentStatus::Created, None));
    assert_eq!(client.database_get(&database.id).await.unwrap().status, DatabaseStatus::Released);
    assert_eq!((customer.census(&view).await.unwrap(), customer.volumes(&view).await.unwrap()), (before, volumes));
    assert_eq!(customer.query(&view, "SELECT said FROM kept").await.unwrap(), "still here");
    assert!(within(MARK_MAX, async || stack.processes("kiven-agent").is_empty()).await, "the agent of the local customer is uninstalled");

    // The cluster is free: connected again, it takes a new database, and this time all of it goes.
    let connected = client.connection_put(environment, &connection_request()).await.unwrap();
    customer.succeed(&connected.operation_id.unwrap()).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    // But not one of the released one's name: its Services are in use.
    let (_, refused) = customer.ask(&database_request(environment, "keeper", 1)).await.unwrap();
    assert!(within(OPERATION_MAX, async || client.operation_get(&refused).await.is_ok_and(|view| view.status.over())).await);
    let ended = client.operation_get(&refused).await.unwrap();
    assert_eq!((ended.status, ended.problem.map(|problem| problem.code)), (OperationStatus::Failed, Some(Code::AGENT_REFUSED)));
    assert_eq!(customer.query(&view, "SELECT said FROM kept").await.unwrap(), "still here", "its Services lead where they did");
    let protected = kiven_model::api::DatabaseRequest { deletion_protection: Some(true), ..database_request(environment, "goner", 1) };
    let (goner, operation) = customer.ask(&protected).await.unwrap();
    customer.succeed(&operation).await.unwrap();
    assert_eq!(code(client.connection_delete(environment, Some(Farewell::Destroy)).await), Code::DELETION_PROTECTED);
    client.database_put(&goner.id, &database_request(environment, "goner", 1)).await.unwrap();
    let leaving = client.connection_delete(environment, Some(Farewell::Destroy)).await.unwrap();
    customer.succeed(&leaving.operation_id.unwrap()).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    let gone = client.database_get(&goner.id).await.unwrap();
    let census = customer.census(&gone).await.unwrap();
    let left: usize = census.iter().filter(|(kind, _)| *kind != "buckets").map(|(_, count)| count).sum();
    assert_eq!((gone.status, left), (DatabaseStatus::Deleted, 0), "{census:?}");
    assert_eq!(customer.query(&view, "SELECT said FROM kept").await.unwrap(), "still here", "what was released is nobody else's");
    client.environment_delete(environment).await.unwrap();
    stack.end().await.unwrap();
}

#[tokio::test]
async fn terraform_refuses_by_default_and_releases_when_told() {
    let Some(program) = find("terraform_refuses_by_default_and_releases_when_told") else { return };
    let stack = Stack::start("leaving-tf").await.unwrap();
    let terraform = Terraform::quickstart(program, &stack).await.unwrap();
    terraform.apply("on").await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    let client = stack.client().unwrap();
    let database = client.database_list(None).await.unwrap().pop().unwrap();
    terraform.ok(&["state", "rm", "kiven_database.this"]).await.unwrap();
    let destroy = ["destroy", "-auto-approve", "-input=false", "-target=kiven_environment_connection.this"];
    let refused = terraform.run(&destroy).await.unwrap();
    assert!(refused.code == Some(1) && refused.said.contains("KV-210"), "{}", refused.said);
    assert!(refused.said.contains("`release`") && refused.said.contains("`destroy`"), "{}", refused.said);

    let path = terraform.folder.join("main.tf");
    let text = std::fs::read_to_string(&path).unwrap();
    let told = text.replacen("launch_template = ", "on_destroy      = \"release\"\n  launch_template = ", 1);
    assert_ne!(text, told);
    std::fs::write(&path, told).unwrap();
    let target = "-target=kiven_environment_connection.this";
    let planned = terraform.ok(&["plan", "-input=false", target]).await.unwrap();
    assert!(planned.contains("will be updated in-place") && planned.contains("\"refuse\" -> \"release\""), "{planned}");
    terraform.ok(&["apply", "-auto-approve", "-input=false", target]).await.unwrap();
    terraform.ok(&["destroy", "-auto-approve", "-input=false"]).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    assert_eq!(client.database_get(&database.id).await.unwrap().status, DatabaseStatus::Released);
    assert!(!stack.processes("postgres").is_empty(), "PostgreSQL runs on");
    assert!(client.environment_list().await.unwrap().is_empty());
    stack.end().await.unwrap();
}
