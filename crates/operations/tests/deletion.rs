//! Taking a deletion back, and the backup before one: who wins a race with the purge, and what a failing backup leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{At, Stage, judge, stage};
use kiven_durable::{Hit, NoFaults, Point};
use kiven_model::Code;
use kiven_model::database::Database;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_operations::{Accepted, accept_undelete};
use kiven_ports::{Clock, NameClaim, PortError, Random, Records, Write};
use kiven_sim::block_on;
use std::sync::Arc;

const SEED: u64 = 13;
const DAYS_MS: i64 = 24 * 3_600_000;

fn deleted_with_a_grace() -> Stage {
    let (mut stage, _) = stage(OperationKind::Delete, SEED);
    let mut database = stage.database().expect("it is there");
    database.spec.deletion.grace_days = 2;
    stage.database_put(database);
    stage.complete(OperationKind::Delete);
    stage
}

fn purge_of(stage: &Stage) -> Operation {
    stage.operation(&stage.database().and_then(|d| d.operation_id).expect("the delete has made it"))
}

fn undelete(stage: &Stage) -> Result<Accepted<Database>, Code> {
    let id = kiven_model::OperationId::from_random(Random::bits(&*stage.world));
    let database = stage.database().expect("it is there");
    accept_undelete(&stage.environment(), database, purge_of(stage), id, "key_test", Clock::now(&*stage.world)).map_err(|problem| problem.code)
}

fn commit(stage: &Stage, writes: Vec<Write>) -> Result<(), PortError> {
    block_on(stage.world.records_commit(writes)).expect("the world never waits")
}

#[test]
fn what_was_taken_back_resumes_as_the_same_and_is_never_purged() {
    let mut stage = deleted_with_a_grace();
    let (before, purge) = (stage.world.snapshot(), purge_of(&stage));
    stage.complete(OperationKind::Undelete);
    assert_eq!(stage.operation(&purge.id).status, OperationStatus::Failed);
    let id = stage.accept(OperationKind::Resume, 0).expect("it is paused");
    let head = stage.run(&id);
    judge(&stage, &head, &before).unwrap();
    // Well beyond the end of the grace that was.
    let pause = stage.accept(OperationKind::Pause, 0).expect("it is available");
    stage.run(&pause);
    stage.world.advance_to(stage.world.now_ms() + 5 * DAYS_MS);
    stage.complete(OperationKind::Resume);
    assert_eq!(stage.world.snapshot().data(), before.data());
    assert_eq!(stage.operation(&purge.id).version, purge.version + 1);
}

#[test]
fn a_purge_that_has_begun_is_not_taken_back() {
    let mut stage = deleted_with_a_grace();
    let purge = purge_of(&stage);
    // It says that it begins, and dies before it has done anything.
    stage.faults = Arc::new(At { key: "begin_purge".to_owned(), point: Point::IntentRecorded, act: Box::new(|| Hit::Crash) });
    stage.run_for(&purge.id, 2 * DAYS_MS + 60_000);
    assert_eq!(stage.database().map(|d| d.status), Some(DatabaseStatus::Grace), "nothing is done yet");
    assert_eq!(undelete(&stage).unwrap_err(), Code::WRONG_STATE);
    stage.faults = Arc::new(NoFaults);
    assert_eq!(stage.run(&purge.id).status, OperationStatus::Succeeded);
    assert_eq!(undelete(&stage).unwrap_err(), Code::WRONG_STATE);
}

#[test]
fn of_a_purge_and_an_undelete_that_begin_at_once_one_wins() {
    // The purge begins after the undelete has looked: the undelete writes nothing.
    let mut stage = deleted_with_a_grace();
    let accepted = undelete(&stage).unwrap();
    let purge = purge_of(&stage);
    stage.faults = Arc::new(At { key: "begin_purge".to_owned(), point: Point::IntentRecorded, act: Box::new(|| Hit::Crash) });
    stage.run_for(&purge.id, 2 * DAYS_MS + 60_000);
    assert!(matches!(commit(&stage, accepted.writes), Err(PortError::Conflict(_))));
    // The undelete comes between a drive's look at the purge and its lease: the drive gets no lease, and the purge is over.
    let mut stage = deleted_with_a_grace();
    let (purge, before) = (purge_of(&stage), stage.world.snapshot());
    let id = stage.complete(OperationKind::Undelete);
    let leased = Operation { version: purge.version + 1, ..purge.clone() };
    let lease = vec![Write::Operation { record: Box::new(leased), expected: Some(purge.version) }];
    assert!(matches!(commit(&stage, lease), Err(PortError::Conflict(_))));
    stage.run_for(&id, 3 * DAYS_MS);
    assert_eq!(stage.run_for(&purge.id, 3 * DAYS_MS).status, OperationStatus::Failed);
    assert_eq!(stage.settle().data(), before.data());
    assert_eq!(stage.database().map(|d| d.status), Some(DatabaseStatus::Paused));
}

#[test]
fn a_name_that_was_taken_meanwhile_is_not_taken_back() {
    let stage = deleted_with_a_grace();
    let database = stage.database().expect("it is there");
    let claim = NameClaim::Database(database.spec.environment_id.clone(), database.spec.name.to_string());
    stage.quietly(vec![Write::NameTaken { claim, owner: "db_another".to_owned() }]);
    assert!(matches!(commit(&stage, undelete(&stage).unwrap().writes), Err(PortError::Conflict(_))));
    assert_eq!(stage.database().map(|d| (d.status, d.version)), Some((DatabaseStatus::Grace, database.version)));
}

fn final_backup(stage: &Stage) {
    let mut database = stage.database().expect("it is there");
    database.spec.deletion.final_backup = true;
    stage.database_put(database);
}

#[test]
fn a_final_backup_that_fails_leaves_the_database_as_it_was() {
    let (mut stage, before) = stage(OperationKind::Delete, SEED);
    final_backup(&stage);
    stage.world.backups_fail_set(true);
    let id = stage.accept(OperationKind::Delete, 0).expect("it is allowed");
    let head = stage.run(&id);
    assert_eq!((head.status, head.problem.as_ref().map(|p| p.code)), (OperationStatus::Failed, Some(Code::BACKUP_FAILED)));
    judge(&stage, &head, &before).unwrap();
    stage.world.backups_fail_set(false);
    stage.complete(OperationKind::Delete);
    assert_eq!(stage.world.snapshot().backups.len(), 1);
}

#[test]
fn a_stuck_database_whose_final_backup_fails_stays_stuck() {
    let (mut stage, _) = stage(OperationKind::Delete, SEED);
    final_backup(&stage);
    let database = Database { status: DatabaseStatus::Stuck, ..stage.database().expect("it is there") };
    stage.database_put(database);
    stage.world.backups_fail_set(true);
    let id = stage.accept(OperationKind::Delete, 0).expect("it is allowed from Stuck");
    assert_eq!(stage.run(&id).status, OperationStatus::Failed);
    assert_eq!(stage.database().map(|d| d.status), Some(DatabaseStatus::Stuck));
}

#[test]
fn a_paused_database_whose_last_wal_is_proved_archived_needs_no_other_backup() {
    let (mut stage, _) = stage(OperationKind::Resume, SEED);
    final_backup(&stage);
    assert!(stage.database().is_some_and(|d| d.archived_wal.is_some()));
    let id = stage.complete(OperationKind::Delete);
    let steps: Vec<String> = stage.steps(&id).into_iter().map(|step| step.name).collect();
    assert_eq!(steps.first().map(String::as_str), Some("retire_cluster"), "{steps:?}");
    // Taken back, it is still proved; resumed, it is not.
    stage.complete(OperationKind::Undelete);
    assert!(stage.database().is_some_and(|d| d.archived_wal.is_some()));
    stage.complete(OperationKind::Resume);
    assert!(stage.database().is_some_and(|d| d.archived_wal.is_none()));
}
