//! Maintenance: what is patched, in which order, and what stands in its way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{judge, stage};
use kiven_model::Code;
use kiven_model::operation::{OperationKind, OperationStatus};
use kiven_sim::Odds;

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
