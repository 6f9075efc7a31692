//! A check of an environment: nothing to say of what is as it was made; a lost role and a changed account are found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{Stage, stage};
use kiven_model::Code;
use kiven_model::api::CheckView;
use kiven_model::database::Database;
use kiven_model::environment::EnvironmentStatus;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::OperationKind;
use kiven_operations::check;
use kiven_sim::block_on;

fn look(stage: &Stage) -> CheckView {
    let databases: Vec<Database> = stage.database().into_iter().collect();
    block_on(check(&*stage.world, stage.environment(), &databases)).expect("the world never waits").unwrap()
}

#[test]
fn what_is_as_it_was_made_is_no_drift() {
    for kind in [OperationKind::Provision, OperationKind::Pause, OperationKind::Change, OperationKind::Resume, OperationKind::Undelete] {
        let (mut stage, _) = stage(kind, 5);
        stage.complete(kind);
        stage.settle();
        let view = look(&stage);
        assert_eq!((view.drift.as_slice(), view.status, view.problem), (&[][..], EnvironmentStatus::Connected, None), "{kind:?}");
        assert!(view.agent_seen_at.is_some());
    }
}

#[test]
fn other_nodes_than_were_asked_for_are_drift() {
    let (stage, _) = stage(OperationKind::Pause, 5);
    let database = stage.database().expect("it is there");
    stage.database_put(Database { status: DatabaseStatus::Paused, ..database });
    let view = look(&stage);
    assert!(matches!(view.drift.as_slice(), [one] if one.kind == "node_group" && one.what.contains("needs 0 nodes")), "{view:?}");
}

#[test]
fn a_role_that_does_not_open_is_said_in_the_record_until_it_opens_again() {
    let (stage, _) = stage(OperationKind::Pause, 5);
    stage.world.access_set(false);
    let view = look(&stage);
    assert_eq!((view.status, view.problem.map(|problem| problem.code)), (EnvironmentStatus::AccessLost, Some(Code::ACCESS_DENIED)));
    assert_eq!(stage.environment().status, EnvironmentStatus::AccessLost);
    stage.world.access_set(true);
    assert_eq!((look(&stage).status, stage.environment().status), (EnvironmentStatus::Connected, EnvironmentStatus::Connected));
}

#[test]
fn settings_that_somebody_has_changed_are_drift_of_their_database_or_of_the_environment() {
    use kiven_ports::account::ResourceKind::{BackupBucket, BackupRole, NodeGroup, OidcProvider};
    for (kind, count, of_a_database) in [(NodeGroup, 2, true), (BackupRole, 1, true), (BackupBucket, 1, false), (OidcProvider, 1, false)] {
        let (stage, _) = stage(OperationKind::Pause, 5);
        stage.world.meddle(kind);
        let view = look(&stage);
        let id = stage.database().filter(|_| of_a_database).map(|database| database.id);
        assert_eq!(view.drift.len(), count, "{view:?}");
        assert!(
            view.drift.iter().all(|one| one.kind == kind.as_str() && one.database_id == id && one.what.contains(": it is otherwise")),
            "{view:?}"
        );
    }
}
