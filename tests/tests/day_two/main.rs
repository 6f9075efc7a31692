//! Day two: a database changes its size and its settings under a writer, and no acknowledged row is lost.
//!
//! The write gap of each change is printed beside that of a plain PostgreSQL restart in the same run, and judged by nobody.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
mod plain;
mod writer;

use kiven_model::Code;
use kiven_model::api::{DatabaseRequest, DatabaseView};
use kiven_model::change::How;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_tests::{Customer, Stack, customer, within};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use writer::{Target, Writer};

/// How long the pooler's port is waited for.
const POOLER_MAX: Duration = Duration::from_secs(20);

type Edit = fn(&mut DatabaseRequest);

/// Every change with the way it is to be carried out, in an order in which none is refused.
const CHANGES: [(&str, How, Edit); 7] = [
    ("a setting", How::Online, |asked| drop(asked.parameters.insert("work_mem".into(), "8MB".into()))),
    ("larger volumes", How::Online, |asked| asked.storage_gb = Some(120)),
    ("a setting at start", How::Switchover, |asked| drop(asked.parameters.insert("max_connections".into(), "250".into()))),
    ("another plan", How::Switchover, |asked| (asked.plan, asked.instances) = ("business".into(), Some(3))),
    ("fewer instances", How::Online, |asked| asked.instances = Some(2)),
    ("a limit lowered", How::Switchover, |asked| drop(asked.parameters.insert("max_connections".into(), "150".into()))),
    ("another pool mode", How::Online, |asked| asked.pooler.mode = Some("session".into())),
];

struct Row {
    what: &'static str,
    how: String,
    took: Duration,
    gap: Duration,
    pooled_gap: Duration,
}

async fn change(customer: &Customer, database: &DatabaseView, request: &DatabaseRequest) -> DatabaseView {
    let view = customer.client.database_put(&database.id, request).await.unwrap();
    assert_eq!(view.status, DatabaseStatus::Changing);
    customer.succeed(&view.operation_id.unwrap()).await.unwrap();
    customer.client.database_get(&database.id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_under_a_writer_lose_no_acknowledged_row() {
    let stack = Stack::start("daytwo").await.unwrap();
    let customer = Customer::connect(&stack).await.unwrap();
    let mut request =
        DatabaseRequest { plan: "startup".to_owned(), storage_gb: Some(100), ..customer::database_request(&customer.environment, "shop", 2) };
    let (asked, operation) = customer.ask(&request).await.unwrap();
    customer.succeed(&operation).await.unwrap();
    let database = customer.client.database_get(&asked.id).await.unwrap();
    let identifier = database.system_identifier.clone().unwrap();
    let plain = plain::Plain::start(&stack).unwrap().restart_gap().await.unwrap();

    let uri = database.connection_uri.as_ref().unwrap();
    let target = Target::of_stack(uri, None, &stack.state, "shop").unwrap();
    let writer = Writer::start(target.clone(), "writes").await.unwrap();
    let pooled = Target::of_stack(uri, Some(pooler_port(&customer).await), &stack.state, "shop").unwrap();
    let pooled = Writer::start(pooled, "pooled_writes").await.unwrap();
    let mut rows = Vec::new();
    for (what, how, edit) in CHANGES {
        assert!(writer.settle().await && pooled.settle().await, "nobody writes before {what}");
        let is = request.clone();
        edit(&mut request);
        let began = Instant::now();
        change(&customer, &database, &request).await;
        let row = Row { what, how: word(&is, &request), took: began.elapsed(), gap: writer.gap().await, pooled_gap: pooled.gap().await };
        assert_eq!(row.how, format!("{how:?}"), "{what}");
        rows.push(row);
    }
    shown(&customer, &database, &[("work_mem", "8MB"), ("max_connections", "150")]).await;
    refused_growth(&customer, &database, &request).await;
    let acknowledged = [writer.stop().await.unwrap(), pooled.stop().await.unwrap()];
    kept_while_off(&customer, &database, &mut request).await;

    let client = target.connect().await.unwrap();
    let mut lost = 0;
    for (table, acknowledged) in &acknowledged {
        let stored: BTreeSet<i64> = client.query(&format!("SELECT n FROM {table}"), &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        lost += acknowledged.iter().filter(|n| !stored.contains(n)).count();
    }
    let after = customer.client.database_get(&database.id).await.unwrap();
    assert_eq!(after.system_identifier, Some(identifier), "the same PostgreSQL");
    let ms = |gap: &Duration| gap.as_secs_f64() * 1000.0;
    println!("\n{:<20} {:<11} {:>8} {:>12} {:>12}", "change", "how", "took s", "write gap ms", "pooled ms");
    for Row { what, how, took, gap, pooled_gap } in &rows {
        println!("{what:<20} {how:<11} {:>8.1} {:>12.1} {:>12.1}", took.as_secs_f64(), ms(gap), ms(pooled_gap));
    }
    println!("{:<20} {:<11} {:>8} {:>12.1}", "plain PostgreSQL", "Restart", "", ms(&plain));
    println!("acknowledged rows: {}, lost: {lost}", acknowledged.iter().map(|(_, rows)| rows.len()).sum::<usize>());
    assert_eq!(lost, 0);
    customer.delete(&[database.id]).await.unwrap();
    stack.end().await.unwrap();
}

/// The port of the pooler's Service, which leads to the primary where no PgBouncer is installed.
async fn pooler_port(customer: &Customer) -> u16 {
    let look = async || {
        let services = customer.objects("api/v1", "services").await.ok()?;
        let pooler = services.iter().find(|service| service["spec"]["selector"]["cnpg.io/poolerName"].is_string())?;
        pooler["metadata"]["annotations"]["local.kiven.io/port"].as_str()?.parse().ok()
    };
    assert!(within(POOLER_MAX, async || look().await.is_some()).await, "the pooler's Service has no port");
    look().await.unwrap()
}

/// How the model says that a change is carried out.
fn word(is: &DatabaseRequest, wanted: &DatabaseRequest) -> String {
    let spec = |request: &DatabaseRequest| kiven_model::request::database(request, &[]).unwrap().into_inner();
    let change = kiven_model::change::change(&spec(is), &spec(wanted), None, jiff::Timestamp::UNIX_EPOCH).unwrap().unwrap();
    format!("{:?}", change.how)
}

async fn shown(customer: &Customer, database: &DatabaseView, settings: &[(&str, &str)]) {
    let database = customer.client.database_get(&database.id).await.unwrap();
    for (name, value) in settings {
        assert_eq!(customer.query(&database, &format!("SHOW {name}")).await.unwrap(), *value, "{name}");
    }
}

/// AWS takes no second growth within hours: said before anything is changed.
async fn refused_growth(customer: &Customer, database: &DatabaseView, request: &DatabaseRequest) {
    let larger = DatabaseRequest { storage_gb: Some(200), ..request.clone() };
    let error = customer.client.database_put(&database.id, &larger).await.unwrap_err();
    assert!(error.is(Code::STORAGE_COOLDOWN), "{error}");
    let view = customer.client.database_get(&database.id).await.unwrap();
    assert_eq!((view.status, view.spec.storage_gb), (DatabaseStatus::Available, 120), "nothing has changed");
}

/// What is changed while it is off is kept, told, and there after the resume.
async fn kept_while_off(customer: &Customer, database: &DatabaseView, request: &mut DatabaseRequest) {
    let paused = customer.power(&database.id, false).await.unwrap();
    customer.succeed(&paused).await.unwrap();
    request.power = Some("off".into());
    request.parameters.insert("work_mem".into(), "16MB".into());
    (request.plan, request.instances) = ("startup".into(), Some(3));
    let view = customer.client.database_put(&database.id, request).await.unwrap();
    assert_eq!(view.status, DatabaseStatus::Paused);
    let kept = view.pending_change.unwrap();
    assert!(kept.fields.iter().any(|field| field.field == "plan") && kept.fields.iter().any(|field| field.field == "parameters"), "{kept}");
    let resumed = customer.power(&database.id, true).await.unwrap();
    customer.succeed(&resumed).await.unwrap();
    shown(customer, database, &[("work_mem", "16MB")]).await;
    let view = customer.client.database_get(&database.id).await.unwrap();
    assert_eq!((view.pending_change.as_ref(), view.spec.instances), (None, 3));
    let census = customer.census(&view).await.unwrap();
    assert_eq!((census["persistentvolumeclaims"], census["node groups"]), (3, 2), "{census:?}");
}
