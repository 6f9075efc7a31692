//! The ports' contract suites on the simulated world.
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
