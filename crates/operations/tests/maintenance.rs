//! Maintenance: what is patched, in which order, and what stands in its way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{judge, stage};
use kiven_model::Code;
use kiven_model::operation::{OperationKind, OperationStatus};
use kiven_operations::{Ticked, maintain};
use kiven_sim::{Odds, block_on};

const SEED: u64 = 5;

#[test]
fn the_primary_moves_once_and_its_nodes_come_last() {
    let (mut stage, before) = stage(OperationKind::PatchNodes, SEED);
    let id = stage.accept(OperationKind::PatchNodes, 0).expect("it is allowed");
    let head = stage.run(&id);
    assert_eq!(head.status, OperationStatus::Succeeded, "{:?}", head.problem);
    judge(&stage, &head, &before).unwrap();
    let patched: Vec<String> = serde_json::from_value(head.output.expect("it says what it did")).unwrap();
    assert_eq!(patched.iter().map(|name| name.contains("eu-west-1a")).collect::<Vec<_>>(), [false, true], "the primary began in zone a: {patched:?}");
}

#[test]
fn where_there_is_nothing_newer_nothing_is_done() {
    let (mut stage, before) = stage(OperationKind::RotateCertificates, SEED);
    let id = stage.accept(OperationKind::PatchNodes, 0).expect("it is allowed");
    let head = stage.run(&id);
    assert_eq!((head.status, head.output), (OperationStatus::Succeeded, Some(serde_json::json!([]))));
    assert_eq!(stage.settle(), before);
}

#[test]
fn nothing_is_begun_on_a_database_that_is_not_whole() {
    for kind in [OperationKind::PatchNodes, OperationKind::RotateCertificates] {
        let (mut stage, _) = stage(kind, SEED);
        stage.world.break_instance();
        let before = stage.settle();
        let id = stage.accept(kind, 0).expect("it is allowed");
        let head = stage.run(&id);
        let code = head.problem.as_ref().map(|problem| problem.code);
        assert_eq!((head.status, code), (OperationStatus::Failed, Some(Code::CLUSTER_NOT_HEALTHY)));
        judge(&stage, &head, &before).unwrap();
    }
}

#[test]
fn a_bad_day_does_not_keep_maintenance_from_its_end() {
    for seed in 0..20 {
        let (mut stage, before) = stage(OperationKind::PatchNodes, seed);
        stage.world.odds_set(Odds::rough());
        let id = stage.accept(OperationKind::PatchNodes, 0).expect("it is allowed");
        let head = stage.run(&id);
        stage.world.odds_set(Odds::none());
        assert_ne!(head.status, OperationStatus::Failed, "seed {seed}: {:?}", head.problem);
        judge(&stage, &head, &before).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn every_window_is_looked_at_once_and_starts_one_thing_at_most() {
    let (mut stage, _) = stage(OperationKind::PatchNodes, SEED);
    let database = stage.database().expect("it is there").id;
    let mut started = Vec::new();
    for _ in 0..7 {
        let due = stage.database().and_then(|database| database.maintenance_due).expect("it is always looked at again");
        stage.world.advance_to(due.as_millisecond());
        let now = kiven_ports::Clock::now(&*stage.world);
        let decided = block_on(maintain(&*stage.world, &database)).expect("the world never waits").unwrap();
        assert_eq!(block_on(maintain(&*stage.world, &database)).expect("the world never waits").unwrap(), Ticked::Idle, "asked twice");
        let decision = stage.database().and_then(|database| database.maintenance).expect("it is remembered");
        assert_eq!((decision.at, Ticked::Decided(decision.operation_id.clone())), (now, decided), "{}", decision.reason);
        if let Some(id) = &decision.operation_id {
            let head = stage.run(id);
            assert_eq!(head.status, OperationStatus::Succeeded, "{:?}", head.problem);
        }
        started.push(decision.starts);
    }
    let (patch, rotate) = (Some(OperationKind::PatchNodes), Some(OperationKind::RotateCertificates));
    // The first look comes weeks late. Then 15 February; 22 February and 1 March; 8 March, when February's release is 35 days
    // old and the certificate has 24 days left: nodes first; 15 March; 22 March.
    assert_eq!(started, [None, patch, None, None, patch, rotate, None]);
    assert!(stage.world.violations().is_empty(), "{:?}", stage.world.violations());
}

#[test]
fn what_runs_or_sleeps_is_left_alone_until_the_next_window() {
    let (mut stage, _) = stage(OperationKind::PatchNodes, SEED);
    let database = stage.database().expect("it is there").id;
    let look = |stage: &common::Stage| {
        let due = stage.database().and_then(|database| database.maintenance_due).expect("it is always looked at again");
        stage.world.advance_to(due.as_millisecond());
        block_on(maintain(&*stage.world, &database)).expect("the world never waits").unwrap()
    };
    assert_eq!(look(&stage), Ticked::Decided(None), "the first look comes weeks late");
    let pause = stage.accept(OperationKind::Pause, 0).expect("it is allowed");
    assert_eq!(look(&stage), Ticked::Decided(None), "a pause runs");
    assert_eq!(stage.run(&pause).status, OperationStatus::Succeeded);
    assert_eq!(look(&stage), Ticked::Decided(None), "it sleeps");
    let reason = stage.database().and_then(|database| database.maintenance).map(|decision| decision.reason).unwrap_or_default();
    assert!(reason.contains("paused"), "{reason}");
}
