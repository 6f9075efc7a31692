//! The ports' contract suites on the simulated world.
use kiven_model::OperationId;
use kiven_ports::account::Access;
use kiven_ports::contract;
use kiven_sim::{Odds, World, block_on};

#[test]
fn records_keep_their_contract() {
    block_on(contract::records(&World::new(1, Odds::none()))).expect("the world never waits").unwrap();
}

#[test]
fn agents_keep_their_contract() {
    block_on(contract::agents(&World::new(1, Odds::none()))).expect("the world never waits").unwrap();
}

#[test]
fn the_account_keeps_its_contract() {
    let world = World::new(1, Odds::none());
    let (environment, connection) = (world.environment(), world.connection());
    let access = Access {
        role_arn: connection.role_arn.clone(),
        external_id: environment.external_id.clone(),
        account_id: environment.spec.aws_account_id.clone(),
        region: environment.spec.aws_region.clone(),
        organization_id: environment.organization_id.clone(),
        environment_id: environment.id.clone(),
        operation_id: OperationId::from_random([1; 16]),
    };
    let prepared = contract::Prepared {
        cluster: environment.spec.eks_cluster_name.clone(),
        subnet: connection.subnets.values().next().cloned().unwrap(),
        launch_template: connection.launch_template.clone(),
        node_role_arn: format!("arn:aws:iam::{}:role/kiven-node", access.account_id),
        kms_key_arn: None,
        access,
    };
    let pass = async || world.advance_to(world.now_ms() + 30_000);
    block_on(contract::account(&world, &prepared, pass)).expect("the world never waits").unwrap();
}

#[test]
fn the_archive_of_statistics_keeps_its_contract() {
    let world = World::new(1, Odds::none());
    block_on(contract::statistics(&world)).expect("the world never waits").unwrap();
}
