//! Journals of every body version, recorded once and replayed for ever: a body that has changed is found out here.
//!
//! `UPDATE_GOLDEN=1 cargo test -p kiven-operations --test replay` records them anew; for a version that is out in the
//! world that is never right: make a new version instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::stage;
use kiven_durable::{Drive, Driven, NoFaults};
use kiven_model::Code;
use kiven_model::database::Database;
use kiven_model::environment::Environment;
use kiven_model::operation::{Operation, OperationKind, OperationStatus, StepRecord};
use kiven_operations::drive_any;
use kiven_ports::{Records, Write};
use kiven_sim::{Odds, World, block_on};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SEED: u64 = 11;

/// A complete run.
#[derive(Clone, Serialize, Deserialize)]
struct Recorded {
    /// The head at its end.
    operation: Operation,
    steps: Vec<StepRecord>,
    /// The records that it ends in, as they were before.
    environment: Environment,
    database: Option<Database>,
}

fn path(kind: OperationKind) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("journals").join(format!("{}-v1.json", kind.as_str()))
}

fn record(kind: OperationKind) -> Recorded {
    let (mut stage, _) = stage(kind, SEED);
    let id = stage.accept(kind, 0).expect("it is allowed");
    // While it runs the subject is moving; a purge says so only in its first step.
    let database = stage.database().map(|mut database| {
        if kind == OperationKind::Purge {
            database.status = kiven_model::lifecycle::DatabaseStatus::Purging;
        }
        database
    });
    let environment = stage.environment();
    let operation = stage.run(&id);
    assert_eq!(operation.status, OperationStatus::Succeeded, "{:?}", operation.problem);
    Recorded { operation, steps: stage.steps(&id), environment, database }
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn golden(kind: OperationKind) -> Recorded {
    static WRITTEN: std::sync::Once = std::sync::Once::new();
    WRITTEN.call_once(|| {
        if std::env::var("UPDATE_GOLDEN").is_ok() {
            for kind in OperationKind::ALL {
                let text = serde_json::to_string_pretty(&record(kind)).unwrap();
                std::fs::write(path(kind), text + "\n").unwrap();
            }
        }
    });
    let text = std::fs::read_to_string(path(kind)).expect("the journal is there; UPDATE_GOLDEN=1 records it");
    serde_json::from_str(&text).unwrap()
}

/// Puts a record into an empty world as it was before its end, drives it once, and answers how it came out.
fn replay(recorded: &Recorded) -> (Operation, Driven, u64) {
    let world = Arc::new(World::new(SEED, Odds::none()));
    let head = &recorded.operation;
    let running = Operation {
        status: OperationStatus::Running,
        output: None,
        problem: None,
        lease: None,
        due_at: Some(head.created_at),
        version: 1,
        ..head.clone()
    };
    let environment = Environment { version: 1, ..recorded.environment.clone() };
    let mut writes =
        vec![Write::Environment { record: Box::new(environment), expected: None }, Write::Operation { record: Box::new(running), expected: None }];
    writes.extend(recorded.database.clone().map(|d| Write::Database { record: Box::new(Database { version: 1, ..d }), expected: None }));
    writes.extend(recorded.steps.iter().map(|step| Write::Step(head.id.clone(), Box::new(step.clone()))));
    block_on(world.records_commit(writes)).expect("the world never waits").unwrap();
    let how = Drive { owner: "replay".to_owned(), lease: Duration::from_secs(90), faults: Arc::new(NoFaults) };
    let driven = block_on(drive_any(Arc::clone(&world), &head.id, &how)).expect("the world never waits").unwrap();
    let ended = block_on(world.operation_get(&head.id)).expect("the world never waits").unwrap().expect("it is there");
    (ended, driven, world.effects())
}

#[test]
fn recorded_journals_replay_without_running_a_step() {
    for kind in OperationKind::ALL {
        let recorded = golden(kind);
        let (ended, driven, effects) = replay(&recorded);
        assert_eq!(driven, Driven::Over(OperationStatus::Succeeded), "{kind:?}: {:?}", ended.problem);
        assert_eq!(effects, 0, "{kind:?} touched the world");
        assert_eq!(ended.output.unwrap_or_default(), recorded.operation.output.unwrap_or_default(), "{kind:?} gives what it gave");
    }
}

#[test]
fn a_changed_input_or_key_is_stuck_never_guessed_away() {
    for kind in OperationKind::ALL {
        let recorded = golden(kind);
        for index in 0..recorded.steps.len() {
            let mut other_input = recorded.clone();
            other_input.steps[index].input["changed"] = true.into();
            let mut other_key = recorded.clone();
            other_key.steps[index].key.push_str("-renamed");
            for changed in [other_input, other_key] {
                let (ended, driven, effects) = replay(&changed);
                assert_eq!(driven, Driven::Over(OperationStatus::Stuck), "{kind:?} step {index}");
                assert_eq!(ended.problem.map(|p| p.code), Some(Code::REPLAY_DIFFERS), "{kind:?} step {index}");
                assert_eq!(effects, 0, "{kind:?} step {index} touched the world");
            }
        }
    }
}

#[test]
fn an_unknown_version_is_left_alone() {
    let mut recorded = golden(OperationKind::Connect);
    recorded.operation.body_version = 99;
    let (ended, driven, effects) = replay(&recorded);
    assert!(matches!(driven, Driven::Lost(_)));
    assert_eq!((ended.status, effects), (OperationStatus::Running, 0));
}

#[test]
fn two_runs_of_one_seed_are_the_same_run() {
    let runs = [(); 2].map(|()| serde_json::to_value(record(OperationKind::Provision)).unwrap());
    assert_eq!(runs[0], runs[1]);
}
