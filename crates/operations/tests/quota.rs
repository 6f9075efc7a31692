//! Room for node groups: what does not fit into AWS' quota is refused before anything is made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{Stage, stage};
use kiven_model::environment::{ConnectionSpec, Environment};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_model::{Code, Problem};
use kiven_ports::Write;

/// Names of the EKS cluster's node groups.
fn groups(stage: &Stage) -> Vec<String> {
    stage.world.snapshot().node_groups.into_keys().collect()
}

fn run(stage: &mut Stage, kind: OperationKind) -> Operation {
    let id = stage.accept(kind, 0).expect("it is accepted");
    stage.run(&id)
}

fn told(head: &Operation) -> &Problem {
    assert_eq!(head.status, OperationStatus::Failed, "{:?}", head.problem);
    head.problem.as_ref().expect("it says why")
}

#[test]
fn a_database_that_does_not_fit_is_refused_before_anything_is_made() {
    let (mut stage, _) = stage(OperationKind::Provision, 5);
    stage.world.strangers_add(29);
    let before = groups(&stage);
    let head = run(&mut stage, OperationKind::Provision);
    let problem = told(&head);
    assert_eq!(problem.code, Code::AWS_QUOTA);
    assert!(problem.message.contains("has 29 node groups of 30, 2 more are needed"), "{}", problem.message);
    assert!(problem.hint.contains("node_group_quota"), "{}", problem.hint);
    assert_eq!(groups(&stage), before);
    let begun: Vec<String> = stage.steps(&head.id).into_iter().map(|step| step.key).collect();
    assert_eq!(begun, ["check_node_group_quota"], "nothing else was begun");
}

#[test]
fn what_fits_to_the_last_group_is_made() {
    let (mut stage, _) = stage(OperationKind::Provision, 5);
    stage.world.strangers_add(28);
    let head = run(&mut stage, OperationKind::Provision);
    assert_eq!(head.status, OperationStatus::Succeeded, "{:?}", head.problem);
    assert_eq!(groups(&stage).len(), 30);
}

#[test]
fn a_raised_quota_is_believed_until_eks_says_otherwise() {
    let (mut stage, _) = stage(OperationKind::Provision, 5);
    let environment = stage.environment();
    let connection = environment.connection.clone().expect("it is connected");
    let connection = Some(ConnectionSpec { node_group_quota: Some(60), ..connection });
    let (expected, version) = (Some(environment.version), environment.version + 1);
    stage.quietly(vec![Write::Environment { record: Box::new(Environment { connection, version, ..environment }), expected }]);
    stage.world.strangers_add(29);
    let before = groups(&stage);
    let head = run(&mut stage, OperationKind::Provision);
    assert_eq!(told(&head).code, Code::AWS_QUOTA, "EKS itself allows the simulated account thirty");
    assert!(stage.steps(&head.id).len() > 1);
    stage.settle();
    assert_eq!(groups(&stage), before, "what was made is undone");
}

#[test]
fn a_change_that_needs_more_groups_than_fit_changes_nothing() {
    let (mut stage, _) = stage(OperationKind::Change, 5);
    stage.world.strangers_add(28);
    let before = groups(&stage);
    let head = run(&mut stage, OperationKind::Change);
    assert_eq!(told(&head).code, Code::AWS_QUOTA);
    assert_eq!(groups(&stage), before);
    assert_eq!(stage.database().map(|database| database.status), Some(DatabaseStatus::Available));
}
