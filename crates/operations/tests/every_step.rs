//! Every operation, every step it meets, everything that can happen there: complete, as it began, or stuck with the data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{At, Stage, judge, stage};
use kiven_durable::{Hit, Point};
use kiven_model::operation::{OperationKind, OperationStatus};
use kiven_sim::{Odds, Snapshot};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SEED: u64 = 7;

/// What happens at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Fail,
    Crash,
    Cancel,
    WithdrawLease,
}

/// A place where an operation can begin.
type Begin = fn(OperationKind, u64) -> (Stage, Snapshot);

fn steps_of(kind: OperationKind, stage: Begin) -> Vec<String> {
    let (mut stage, before) = stage(kind, SEED);
    let id = stage.accept(kind, 0).expect("it is allowed");
    let head = stage.run(&id);
    assert_eq!(head.status, OperationStatus::Succeeded, "{kind:?}: {:?}", head.problem);
    judge(&stage, &head, &before).unwrap();
    stage.steps(&id).into_iter().map(|step| step.key).collect()
}

/// Lets something happen at one place and judges the end. Answers how the operation ended.
fn check(kind: OperationKind, stage: Begin, key: &str, point: Point, what: What) -> Result<OperationStatus, String> {
    let (mut stage, before) = stage(kind, SEED);
    let id = stage.accept(kind, 0).expect("it is allowed");
    let (world, operation, once) = (Arc::clone(&stage.world), id.clone(), AtomicBool::new(false));
    let act = move || {
        let first = !once.swap(true, Ordering::Relaxed);
        match what {
            What::Fail => return Hit::Fail,
            What::Crash if first => return Hit::Crash,
            What::Cancel if first => world.cancel(&operation),
            What::WithdrawLease if first => world.withdraw_lease(&operation),
            What::Crash | What::Cancel | What::WithdrawLease => {}
        }
        Hit::Pass
    };
    stage.faults = Arc::new(At { key: key.to_owned(), point, act: Box::new(act) });
    let head = stage.run(&id);
    judge(&stage, &head, &before)?;
    let expected = match what {
        What::Crash | What::WithdrawLease => head.status == OperationStatus::Succeeded,
        What::Fail => head.status != OperationStatus::Succeeded,
        What::Cancel => head.status != OperationStatus::Stuck,
    };
    if expected { Ok(head.status) } else { Err(format!("ended {:?}: {:?}", head.status, head.problem)) }
}

fn ask_for_a_final_backup(stage: &Stage) {
    let mut database = stage.database().expect("it is there");
    database.spec.deletion.final_backup = true;
    stage.database_put(database);
}

/// A running database that is to be backed up before it goes.
fn with_final_backup(kind: OperationKind, seed: u64) -> (Stage, Snapshot) {
    let (stage, before) = stage(kind, seed);
    ask_for_a_final_backup(&stage);
    (stage, before)
}

/// The same, paused, and nobody has proved its last WAL archived: it came back from a grace.
fn unproven_with_final_backup(_: OperationKind, seed: u64) -> (Stage, Snapshot) {
    let (mut stage, _) = stage(OperationKind::Undelete, seed);
    stage.complete(OperationKind::Undelete);
    ask_for_a_final_backup(&stage);
    let before = stage.settle();
    (stage, before)
}

fn with_a_destroy(kind: OperationKind, seed: u64) -> (Stage, Snapshot) {
    let (mut stage, before) = stage(kind, seed);
    stage.farewell = kiven_model::environment::Farewell::Destroy;
    (stage, before)
}

fn every_place(kind: OperationKind) {
    every_place_from(kind, stage);
}

fn every_place_from(kind: OperationKind, stage: Begin) {
    let mut wrong = Vec::new();
    for key in steps_of(kind, stage) {
        for point in [Point::IntentRecorded, Point::EffectDone] {
            for what in [What::Fail, What::Crash, What::Cancel, What::WithdrawLease] {
                if let Err(why) = check(kind, stage, &key, point, what) {
                    wrong.push(format!("{what:?} at {point:?} of {key}: {}", why.chars().take(1500).collect::<String>()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong endings of {kind:?}:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_step_of_connect() {
    every_place(OperationKind::Connect);
}
#[test]
fn every_step_of_provision() {
    every_place(OperationKind::Provision);
}
#[test]
fn every_step_of_pause() {
    every_place(OperationKind::Pause);
}
#[test]
fn every_step_of_resume() {
    every_place(OperationKind::Resume);
}
#[test]
fn every_step_of_change() {
    every_place(OperationKind::Change);
}
#[test]
fn every_step_of_patch_nodes() {
    every_place(OperationKind::PatchNodes);
}
#[test]
fn every_step_of_rotate_certificates() {
    every_place(OperationKind::RotateCertificates);
}
#[test]
fn every_step_of_upgrade() {
    every_place(OperationKind::Upgrade);
}
#[test]
fn every_step_of_delete() {
    every_place(OperationKind::Delete);
}
#[test]
fn every_step_of_purge() {
    every_place(OperationKind::Purge);
}

#[test]
fn every_step_of_undelete() {
    every_place(OperationKind::Undelete);
}
#[test]
fn every_step_of_a_delete_with_a_final_backup() {
    every_place_from(OperationKind::Delete, with_final_backup);
}
#[test]
fn every_step_of_a_delete_that_resumes_for_its_final_backup() {
    every_place_from(OperationKind::Delete, unproven_with_final_backup);
}

#[test]
fn every_step_of_a_disconnect_that_releases() {
    every_place(OperationKind::Disconnect);
}
#[test]
fn every_step_of_a_disconnect_that_destroys() {
    every_place_from(OperationKind::Disconnect, with_a_destroy);
}

#[test]
fn a_doorbell_that_is_lost_or_doubled_changes_nothing() {
    for kind in OperationKind::ALL {
        for odds in [Odds::deaf(), Odds::echoing()] {
            let (mut stage, before) = stage(kind, SEED);
            stage.world.odds_set(odds);
            let id = stage.accept(kind, 0).expect("it is allowed");
            let head = stage.run(&id);
            assert_eq!(head.status, OperationStatus::Succeeded, "{kind:?} {odds:?}: {:?}", head.problem);
            judge(&stage, &head, &before).unwrap();
        }
    }
}

#[test]
fn a_cancel_before_the_first_drive_leaves_the_world_as_it_was() {
    for kind in OperationKind::ALL {
        let (mut stage, before) = stage(kind, SEED);
        let id = stage.accept(kind, 0).expect("it is allowed");
        stage.world.cancel(&id);
        let head = stage.run(&id);
        let forward = matches!(kind, OperationKind::Resume | OperationKind::Delete | OperationKind::Purge | OperationKind::Undelete);
        assert_eq!(head.status, if forward { OperationStatus::Succeeded } else { OperationStatus::Failed }, "{kind:?}: {:?}", head.problem);
        judge(&stage, &head, &before).unwrap();
    }
}

#[test]
fn a_zone_without_capacity_ends_as_it_began() {
    let (mut stage, before) = stage(OperationKind::Provision, SEED);
    stage.world.capacity_set("subnet-b", false);
    let id = stage.accept(OperationKind::Provision, 0).expect("it is allowed");
    let head = stage.run(&id);
    assert_eq!((head.status, head.problem.as_ref().map(|p| p.code)), (OperationStatus::Failed, Some(kiven_model::Code::NO_CAPACITY)));
    judge(&stage, &head, &before).unwrap();
}

#[test]
fn a_purge_waits_for_the_end_of_its_grace() {
    let (mut stage, _) = stage(OperationKind::Delete, SEED);
    let mut database = stage.database().expect("it is there");
    database.spec.deletion.grace_days = 2;
    stage.database_put(database);
    let began = stage.world.now_ms();
    stage.complete(OperationKind::Delete);
    let before = stage.world.snapshot();
    let id = stage.accept(OperationKind::Purge, 0).expect("the delete has made it");
    let head = stage.run(&id);
    assert_eq!(head.status, OperationStatus::Succeeded, "{:?}", head.problem);
    assert!(stage.world.now_ms() - began >= 2 * 24 * 3_600_000, "the grace is over first");
    judge(&stage, &head, &before).unwrap();
}
