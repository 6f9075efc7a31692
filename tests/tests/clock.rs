//! Virtual time: a stack that loses days at once, as a machine that slept does, works on within seconds.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use jiff::{SignedDuration, Timestamp};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_tests::customer::database_request;
use kiven_tests::{Customer, Stack};
use std::time::{Duration, Instant};

/// From Friday evening to Monday morning: longer than every session, token and certificate of an agent lives.
const WEEKEND: SignedDuration = SignedDuration::from_hours(61);
/// How long the first operation after a jump may take, what the operation itself takes included.
const BACK_AT_WORK_MAX: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_stack_that_loses_a_weekend_works_on() {
    #[expect(clippy::disallowed_methods, reason = "psql, which runs in real time, judges certificates: virtual time ends there")]
    let end = Timestamp::now();
    let times = [end - WEEKEND * 2, end - WEEKEND, end];
    let mut stack = Stack::start_at("clock", &times[0].to_string()).await.unwrap();
    let customer = Customer::connect(&stack).await.unwrap();
    let (database, operation) = customer.ask(&database_request(&customer.environment, "sleeper", 1)).await.unwrap();
    let provision = customer.succeed(&operation).await.unwrap();
    assert!(provision.updated_at < times[1], "operations are not in virtual time");

    stack.clock_set(&times[1].to_string()).unwrap();
    let began = Instant::now();
    customer.succeed(&customer.power(&database.id, false).await.unwrap()).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    println!("paused {:?} after the first jump", began.elapsed());
    assert!(began.elapsed() < BACK_AT_WORK_MAX, "{:?}\n{}", began.elapsed(), stack.tail());

    stack.restart().await.unwrap();
    let refused = stack.clock_set(&times[0].to_string()).unwrap_err().to_string();
    assert!(refused.contains("only goes forward"), "{refused}");
    stack.clock_set(&times[2].to_string()).unwrap();
    let began = Instant::now();
    customer.succeed(&customer.power(&database.id, true).await.unwrap()).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    println!("resumed {:?} after the second jump", began.elapsed());
    assert!(began.elapsed() < BACK_AT_WORK_MAX, "{:?}\n{}", began.elapsed(), stack.tail());
    let view = customer.client.database_get(&database.id).await.unwrap();
    assert_eq!((view.status, customer.query(&view, "SELECT 1").await.unwrap().as_str()), (DatabaseStatus::Available, "1"));
    stack.end().await.unwrap();
}
