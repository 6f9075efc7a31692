//! Disconnecting an environment: what a release leaves, what a destroy waits for, and what stands in the way of each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{Stage, now, stage};
use kiven_model::Code;
use kiven_model::database::Database;
use kiven_model::environment::{EnvironmentStatus, Farewell};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_operations::{EksCluster, accept_database, refuse_farewell};
use kiven_ports::{Clock, Random, Records, Write};

const SEED: u64 = 17;
const DAYS_MS: i64 = 24 * 3_600_000;

fn asked_for(stage: &mut Stage, farewell: Farewell) -> Operation {
    stage.farewell = farewell;
    let id = stage.accept(OperationKind::Disconnect, 0).expect("it is allowed");
    stage.run(&id)
}

fn changed(stage: &Stage, edit: impl FnOnce(&mut Database)) {
    let mut database = stage.database().expect("it is there");
    edit(&mut database);
    stage.database_put(database);
}

fn code_and_detail(head: &Operation) -> (Option<Code>, String) {
    let problem = head.problem.clone();
    (problem.as_ref().map(|p| p.code), problem.map(|p| p.detail).unwrap_or_default())
}

fn refused(stage: &Stage, farewell: Option<Farewell>) -> Option<(Code, String)> {
    let databases: Vec<Database> = stage.database().into_iter().collect();
    refuse_farewell("production", farewell, &databases).err().map(|problem| (problem.code, problem.detail))
}

#[test]
fn a_release_leaves_every_object_node_role_and_bucket_and_ends_the_records() {
    let (mut stage, before) = stage(OperationKind::Disconnect, SEED);
    let head = asked_for(&mut stage, Farewell::Release);
    assert_eq!((head.status, head.output), (OperationStatus::Succeeded, Some(true.into())), "the agent was told");
    assert_eq!(stage.settle(), before);
    let (environment, database) = (stage.environment(), stage.database().unwrap());
    assert_eq!((environment.status, environment.connection, database.status), (EnvironmentStatus::Created, None, DatabaseStatus::Released));
    assert_eq!((database.maintenance_due, stage.name_is_free(&database)), (None, true));
    assert_eq!(now(stage.world.name_owner(&EksCluster::of(&environment.spec).claim())).unwrap(), None);
    // Nothing wakes anything any more.
    stage.world.advance_to(stage.world.now_ms() + 40 * DAYS_MS);
    assert_eq!((stage.world.snapshot(), stage.world.next_due_ms()), (before, None));
}

#[test]
fn a_hundred_databases_are_released_in_one_go_and_their_schedules_end() {
    use kiven_model::schedule::{Schedule, ScheduleRequest, ScheduledPower, WindowRequest};
    let (mut stage, _) = stage(OperationKind::Disconnect, SEED);
    let (first, at) = (stage.database().unwrap(), Clock::now(&*stage.world));
    let window = WindowRequest { days: vec!["mon".to_owned()], start: "08:00".to_owned(), end: "18:00".to_owned() };
    let asked = ScheduleRequest {
        database_ids: vec![first.id.to_string()],
        time_zone: "UTC".to_owned(),
        windows: vec![window],
        ..ScheduleRequest::default()
    };
    let (id, organization_id) = (kiven_model::ScheduleId::from_random([5; 16]), first.organization_id.clone());
    let schedule = Schedule { id, organization_id, spec: asked.validate().unwrap().into_inner(), created_at: at, updated_at: at, version: 1 };
    let power = ScheduledPower::joined(&schedule, first.id.clone(), at);
    stage.quietly(vec![Write::ScheduledPower { record: Box::new(power), expected: None }]);
    for number in 1..100_u8 {
        let id = kiven_model::DatabaseId::from_random([number; 16]);
        stage.quietly(vec![Write::Database { record: Box::new(Database { id, version: 1, ..first.clone() }), expected: None }]);
    }
    assert_eq!(asked_for(&mut stage, Farewell::Release).status, OperationStatus::Succeeded);
    let databases = now(stage.world.database_list(&first.organization_id)).unwrap();
    assert_eq!(databases.iter().filter(|database| database.status == DatabaseStatus::Released).count(), 100);
    assert_eq!(now(stage.world.scheduled_power_get(&first.id)).unwrap(), None);
}

#[test]
fn a_release_of_what_does_not_run_is_refused_and_says_which() {
    let cases = [(OperationKind::Resume, "shop (paused)"), (OperationKind::Undelete, "shop (grace)")];
    for (kind, detail) in cases {
        let (mut stage, _) = stage(kind, SEED);
        if kind == OperationKind::Undelete {
            changed(&stage, |database| database.spec.deletion.grace_days = 7);
        }
        assert_eq!(refused(&stage, Some(Farewell::Release)), Some((Code::NOT_RELEASABLE, detail.to_owned())));
        // Asked for all the same, as when it came to be so a moment later, it goes back.
        let before = stage.world.snapshot();
        let head = asked_for(&mut stage, Farewell::Release);
        assert_eq!((head.status, code_and_detail(&head)), (OperationStatus::Failed, (Some(Code::NOT_RELEASABLE), detail.to_owned())));
        assert_eq!((stage.environment().status, stage.world.snapshot().data()), (EnvironmentStatus::Connected, before.data()));
    }
}

#[test]
fn without_a_choice_it_is_refused_while_there_is_a_database_in_any_state() {
    let (stage, _) = stage(OperationKind::Disconnect, SEED);
    for status in DatabaseStatus::ALL {
        changed(&stage, |database| database.status = status);
        let expected = (!status.gone()).then(|| (Code::ENVIRONMENT_IN_USE, format!("shop ({status})")));
        assert_eq!(refused(&stage, None), expected, "{status}");
    }
}

#[test]
fn a_destroy_refuses_what_is_protected_and_says_which() {
    let (mut stage, before) = stage(OperationKind::Disconnect, SEED);
    changed(&stage, |database| database.spec.deletion_protection = true);
    let expected = (Code::DELETION_PROTECTED, "shop (available)".to_owned());
    assert_eq!(refused(&stage, Some(Farewell::Destroy)), Some(expected.clone()));
    assert_eq!(refused(&stage, Some(Farewell::Release)), None, "a release destroys nothing");
    let head = asked_for(&mut stage, Farewell::Destroy);
    assert_eq!((head.status, code_and_detail(&head)), (OperationStatus::Failed, (Some(expected.0), expected.1)));
    assert_eq!((stage.environment().status, stage.settle()), (EnvironmentStatus::Connected, before));
}

#[test]
fn a_destroy_keeps_the_connection_until_the_last_grace_is_over() {
    let (mut stage, _) = stage(OperationKind::Disconnect, SEED);
    changed(&stage, |database| database.spec.deletion.grace_days = 3);
    let began = stage.world.now_ms();
    stage.farewell = Farewell::Destroy;
    let id = stage.accept(OperationKind::Disconnect, 0).unwrap();
    let head = stage.run_for(&id, DAYS_MS);
    assert!(head.current_step.as_deref().unwrap_or_default().contains("the grace of database `shop`, until"), "{:?}", head.current_step);
    assert_eq!((stage.environment().status, stage.database().unwrap().status), (EnvironmentStatus::Disconnecting, DatabaseStatus::Grace));
    assert_eq!(stage.run(&id).status, OperationStatus::Succeeded);
    assert!(stage.world.now_ms() - began >= 3 * DAYS_MS);
    let left = stage.settle();
    assert!(left.clusters.is_empty() && left.node_groups.is_empty() && left.buckets.len() == 1, "{left:#?}");
    assert_eq!((stage.environment().connection, stage.database().unwrap().status), (None, DatabaseStatus::Deleted));
}

#[test]
fn an_undelete_within_the_grace_keeps_the_environment() {
    let (mut stage, before) = stage(OperationKind::Disconnect, SEED);
    changed(&stage, |database| database.spec.deletion.grace_days = 3);
    stage.farewell = Farewell::Destroy;
    let id = stage.accept(OperationKind::Disconnect, 0).unwrap();
    stage.run_for(&id, DAYS_MS);
    stage.complete(OperationKind::Undelete);
    let head = stage.run(&id);
    assert_eq!((head.status, code_and_detail(&head).0), (OperationStatus::Stuck, Some(Code::WRONG_STATE)));
    assert_eq!((stage.environment().status, stage.settle().data()), (EnvironmentStatus::Connected, before.data()));
    stage.complete(OperationKind::Resume);
}

#[test]
fn what_is_paused_is_destroyed_too() {
    let (mut stage, _) = stage(OperationKind::Resume, SEED);
    assert_eq!(asked_for(&mut stage, Farewell::Destroy).status, OperationStatus::Succeeded);
    assert_eq!((stage.database().unwrap().status, stage.settle().clusters.len()), (DatabaseStatus::Deleted, 0));
}

#[test]
fn an_agent_that_is_silent_does_not_keep_an_environment() {
    let (mut stage, before) = stage(OperationKind::Disconnect, SEED);
    stage.world.agent_set(false);
    stage.world.advance_to(stage.world.now_ms() + 10 * 60_000);
    let head = asked_for(&mut stage, Farewell::Release);
    assert_eq!((head.status, head.output), (OperationStatus::Succeeded, Some(false.into())));
    assert_eq!(stage.settle(), before);
}

#[test]
fn while_it_runs_nothing_is_begun_but_what_ends_a_database() {
    let (mut stage, _) = stage(OperationKind::Disconnect, SEED);
    changed(&stage, |database| database.spec.deletion.grace_days = 3);
    stage.farewell = Farewell::Destroy;
    let id = stage.accept(OperationKind::Disconnect, 0).unwrap();
    let (environment, database) = (stage.environment(), stage.database().unwrap());
    for kind in OperationKind::of_databases() {
        let fresh = kiven_model::OperationId::from_random(Random::bits(&*stage.world));
        let expected = (kind != OperationKind::Provision).then_some(database.version);
        let refused = accept_database(&environment, database.clone(), expected, kind, fresh, "key_test", Clock::now(&*stage.world)).err();
        let ends = matches!(kind, OperationKind::Delete | OperationKind::Purge | OperationKind::Undelete);
        let running = refused.filter(|problem| problem.code == Code::OPERATION_RUNNING).and_then(|problem| problem.operation_id);
        assert_eq!(running, (!ends).then(|| id.clone()), "{kind:?}");
    }
}
