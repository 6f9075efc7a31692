//! What customers and their clusters do to a running operation: the role taken away, another role, a cluster that is ill.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{Stage, judge, stage};
use kiven_model::Code;
use kiven_model::environment::{ConnectionSpec, EnvironmentStatus};
use kiven_model::operation::{OperationKind, OperationStatus};
use kiven_operations::{EksCluster, accept_connect};
use kiven_ports::{Clock, NameClaim, Random, Write};

const SEED: u64 = 11;
const HOURS_MS: i64 = 3_600_000;

/// Accepts and runs a connect with this way in; answers how it ended.
fn reconnect(stage: &mut Stage, connection: ConnectionSpec) -> (OperationStatus, Option<Code>) {
    let id = kiven_model::OperationId::from_random(Random::bits(&*stage.world));
    let accepted = accept_connect(stage.environment(), connection, id.clone(), Clock::now(&*stage.world)).unwrap();
    stage.quietly(accepted.writes);
    let head = stage.run(&id);
    (head.status, head.problem.map(|problem| problem.code))
}

fn status(stage: &Stage) -> EnvironmentStatus {
    stage.environment().status
}

#[test]
fn without_its_role_an_operation_waits_undoes_nothing_and_goes_on_when_it_is_back() {
    // An undelete and new certificates have nothing to do in the account.
    let elsewhere = [OperationKind::Undelete, OperationKind::RotateCertificates];
    for kind in OperationKind::of_databases().filter(|kind| !elsewhere.contains(kind)) {
        let (mut stage, before) = stage(kind, SEED);
        let id = stage.accept(kind, 0).expect("it is allowed");
        stage.run_for(&id, 1);
        stage.world.access_set(false);
        let head = stage.run_for(&id, 10 * HOURS_MS);
        assert_eq!(head.status, OperationStatus::Running, "{kind:?}: {:?}", head.problem);
        assert_eq!(status(&stage), EnvironmentStatus::AccessLost, "{kind:?}");
        stage.world.access_set(true);
        let head = stage.run(&id);
        assert_eq!((head.status, status(&stage)), (OperationStatus::Succeeded, EnvironmentStatus::Connected), "{kind:?}: {:?}", head.problem);
        judge(&stage, &head, &before).unwrap();
    }
}

#[test]
fn an_operation_goes_on_with_the_role_that_a_reconnect_has_brought() {
    let (mut stage, before) = stage(OperationKind::Provision, SEED);
    let id = stage.accept(OperationKind::Provision, 0).expect("it is allowed");
    stage.run_for(&id, 1);
    stage.world.role_replace("arn:aws:iam::123456789012:role/kiven-2");
    stage.run_for(&id, HOURS_MS);
    assert_eq!(status(&stage), EnvironmentStatus::AccessLost);
    let connection = stage.world.connection();
    assert_eq!(reconnect(&mut stage, connection), (OperationStatus::Succeeded, None));
    let head = stage.run(&id);
    assert_eq!(head.status, OperationStatus::Succeeded, "{:?}", head.problem);
    judge(&stage, &head, &before).unwrap();
}

#[test]
fn a_reconnect_that_fails_keeps_the_way_that_works() {
    let (mut stage, _) = stage(OperationKind::Provision, SEED);
    let works = stage.world.connection();
    let broken = ConnectionSpec { role_arn: "arn:aws:iam::123456789012:role/mistyped".to_owned(), ..works.clone() };
    assert_eq!(reconnect(&mut stage, broken), (OperationStatus::Failed, Some(Code::ACCESS_DENIED)));
    let environment = stage.environment();
    assert_eq!((environment.status, environment.connection), (EnvironmentStatus::Connected, Some(works)));
    stage.complete(OperationKind::Provision);
}

#[test]
fn a_cluster_belongs_to_whoever_proved_it_first() {
    let mut stage = Stage::new(SEED, kiven_sim::Odds::none());
    let claim: NameClaim = EksCluster::of(&stage.environment().spec).claim();
    let owner = |owner: &str| Write::NameTaken { claim: claim.clone(), owner: owner.to_owned() };
    stage.quietly(vec![owner("env_other")]);
    let connection = stage.world.connection();
    assert_eq!(reconnect(&mut stage, connection.clone()), (OperationStatus::Failed, Some(Code::CLUSTER_TAKEN)));
    stage.quietly(vec![Write::NameFreed { claim: claim.clone(), owner: "env_other".to_owned() }]);
    assert_eq!(reconnect(&mut stage, connection), (OperationStatus::Succeeded, None));
}

#[test]
fn a_connect_that_failed_holds_no_cluster() {
    let mut stage = Stage::new(SEED, kiven_sim::Odds::none());
    stage.world.agent_set(false);
    let connection = stage.world.connection();
    assert_eq!(reconnect(&mut stage, connection), (OperationStatus::Failed, Some(Code::AGENT_SILENT)));
    let claim = EksCluster::of(&stage.environment().spec).claim();
    stage.quietly(vec![Write::NameTaken { claim, owner: "env_other".to_owned() }]);
}

#[test]
fn a_database_that_is_ill_can_be_deleted_and_keeps_its_volumes_through_its_grace() {
    let (mut stage, _) = stage(OperationKind::Delete, SEED);
    let before = stage.settle();
    stage.world.break_instance();
    let id = stage.accept(OperationKind::Delete, 0).expect("it is allowed");
    let head = stage.run(&id);
    assert_eq!(head.status, OperationStatus::Succeeded, "{:?}", head.problem);
    let after = stage.world.snapshot();
    assert_eq!(after.data(), before.data(), "nothing of it is lost");
    assert_eq!(stage.world.violations(), Vec::<String>::new());
    stage.complete(OperationKind::Purge);
}
