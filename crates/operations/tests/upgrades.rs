//! Operator and plugin: when they move by themselves, what keeps them, and what comes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{Stage, judge, moves, stage};
use kiven_model::environment::Environment;
use kiven_model::maintenance::MaintenanceWindow;
use kiven_model::operation::{OperationKind, OperationStatus};
use kiven_model::upgrade::Upgrades;
use kiven_operations::{Ticked, maintain, newer};
use kiven_ports::{Agents, Records, Write};
use kiven_sim::{Odds, block_on};

const SEED: u64 = 5;
/// Long after every listed release came to every ring.
const LATER_MS: i64 = 1_811_000_000_000;

/// A database that runs, and a clock that shows a year in which the release has come to everybody.
fn later() -> Stage {
    let (stage, _) = stage(OperationKind::Upgrade, SEED);
    stage.world.agent_set(false);
    stage.world.advance_to(LATER_MS);
    stage.world.agent_set(true);
    stage.settle();
    stage
}

/// The next window of the database opens and it is looked at.
fn look(stage: &Stage) -> Ticked {
    let database = stage.database().expect("it is there");
    let due = database.maintenance_due.expect("it is always looked at again");
    stage.world.advance_to(due.as_millisecond().max(stage.world.now_ms()));
    block_on(maintain(&*stage.world, &database.id)).expect("the world never waits").unwrap()
}

/// The first look comes months late, outside of the window.
fn looked(stage: &Stage) {
    assert_eq!(look(stage), Ticked::Decided(None));
    assert!(stage.environment().upgrades.is_default(), "{:?}", stage.environment().upgrades);
}

fn write(stage: &Stage, change: impl FnOnce(&mut Environment)) {
    let mut environment = stage.environment();
    let expected = Some(environment.version);
    change(&mut environment);
    environment.version += 1;
    stage.quietly(vec![Write::Environment { record: Box::new(environment), expected }]);
}

#[test]
fn it_moves_when_the_window_opens_and_the_databases_own_maintenance_waits() {
    let mut stage = later();
    looked(&stage);
    let before = stage.settle();
    assert_eq!(look(&stage), Ticked::Decided(None), "the nodes are old, and wait for the operator");
    let upgrades = stage.environment().upgrades;
    let id = upgrades.running.clone().expect("it has begun");
    assert_eq!(upgrades.decision.as_ref().map(|decision| decision.moves.clone()), Some(moves()));
    let reason = stage.database().and_then(|database| database.maintenance).map(|decision| decision.reason).unwrap_or_default();
    assert!(reason.contains("operator is being moved"), "{reason}");
    let head = stage.run(&id);
    assert_eq!((head.kind, head.status), (OperationKind::Upgrade, OperationStatus::Succeeded), "{:?}", head.problem);
    judge(&stage, &head, &before).unwrap();
    let agent = block_on(stage.world.agent_get(&stage.environment().id)).expect("the world never waits").unwrap().expect("it is heard");
    assert!(newer(&agent.facts).is_empty(), "there is nothing newer now");
    // Then it is the database's turn.
    let Ticked::Decided(Some(patch)) = look(&stage) else { panic!("nothing was begun") };
    assert_eq!(stage.operation(&patch).kind, OperationKind::PatchNodes);
}

#[test]
fn a_stop_for_all_or_for_one_holds_it() {
    let stage = later();
    looked(&stage);
    let stop = |reason: Option<&str>| stage.quietly(vec![Write::UpgradesStopped { reason: reason.map(str::to_owned) }]);
    stop(Some("1.29.2 loses WAL"));
    // Its own maintenance is not held.
    let Ticked::Decided(Some(patch)) = look(&stage) else { panic!("nothing was begun") };
    assert!(stage.environment().upgrades.running.is_none());
    let mut stage = stage;
    stage.run(&patch);
    stage.quietly(vec![Write::UpgradesStopped { reason: None }]);
    write(&stage, |environment| environment.upgrades.paused = true);
    let Ticked::Decided(other) = look(&stage) else { panic!("nothing was decided") };
    assert!(stage.environment().upgrades.running.is_none());
    if let Some(other) = other {
        stage.run(&other);
    }
    write(&stage, |environment| environment.upgrades.paused = false);
    look(&stage);
    assert!(stage.environment().upgrades.running.is_some(), "nothing holds it any more");
}

#[test]
fn a_window_that_is_closed_or_an_operation_on_a_database_holds_it() {
    let stage = later();
    looked(&stage);
    // Another database whose window never is when the first one's is.
    let mut other = stage.database().expect("it is there");
    other.id = kiven_model::DatabaseId::from_random([9; 16]);
    other.version = 1;
    other.spec.name = kiven_model::names::DatabaseName::parse("other").unwrap();
    let elsewhere = MaintenanceWindow { days: vec![kiven_model::schedule::Day::Wed], ..MaintenanceWindow::default() };
    other.spec.maintenance_window = Some(elsewhere);
    other.maintenance_due = None;
    stage.quietly(vec![Write::Database { record: Box::new(other), expected: None }]);
    let first = stage.ask(|| common::now(stage.world.database_list(&stage.environment().organization_id)));
    let first = first.into_iter().find(|database| database.maintenance_due.is_some()).expect("it is there");
    stage.world.advance_to(first.maintenance_due.unwrap().as_millisecond());
    block_on(maintain(&*stage.world, &first.id)).expect("the world never waits").unwrap();
    assert!(stage.environment().upgrades.running.is_none());
}

#[test]
fn an_operator_that_is_not_kivens_or_known_to_be_bad_stays() {
    let stage = later();
    looked(&stage);
    for version in ["1.30.0", "1.31.0", "1.29.2"] {
        stage.world.operator_set(version);
        stage.settle();
        look(&stage);
        assert!(stage.environment().upgrades.running.is_none(), "{version}");
    }
}

#[test]
fn one_that_is_stuck_moves_nothing_by_itself_until_somebody_has_looked() {
    let (mut stage, _) = stage(OperationKind::Upgrade, SEED);
    let id = stage.accept(OperationKind::Upgrade, 0).expect("it is allowed");
    // Somebody else moves the operator past what is asked for: it is never taken back.
    stage.world.operator_set("1.29.9");
    let head = stage.run(&id);
    assert_eq!(head.status, OperationStatus::Stuck, "{:?}", head.problem);
    let environment = stage.environment();
    assert_eq!(environment.upgrades, Upgrades { paused: true, running: None, decision: None });
    assert!(environment.problem.is_some(), "it needs attention");
    assert!(stage.accept(OperationKind::Upgrade, 0).is_some(), "by hand it can be tried again");
}

#[test]
fn a_database_that_is_not_well_keeps_it_from_beginning() {
    let (mut stage, _) = stage(OperationKind::Upgrade, SEED);
    stage.world.break_instance();
    let before = stage.settle();
    let id = stage.accept(OperationKind::Upgrade, 0).expect("it is allowed");
    let head = stage.run(&id);
    assert_eq!(head.status, OperationStatus::Failed, "{:?}", head.problem);
    judge(&stage, &head, &before).unwrap();
    assert!(!stage.environment().upgrades.paused, "the next window is as good");
}

#[test]
fn a_bad_day_does_not_keep_it_from_its_end() {
    for seed in 0..8 {
        let (mut stage, before) = stage(OperationKind::Upgrade, seed);
        stage.world.odds_set(Odds::rough());
        let id = stage.accept(OperationKind::Upgrade, 0).expect("it is allowed");
        let head = stage.run(&id);
        stage.world.odds_set(Odds::none());
        judge(&stage, &head, &before).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}
