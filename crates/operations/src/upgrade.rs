//! Upgrade: operator and plugin of an environment to their next listed releases, one after the other, while every database is well.
use crate::input::UpgradeInput;
use crate::settle;
use crate::steps::{AwaitDatabasesWell, MoveComponent};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::operation::{Operation, OperationKind};
use kiven_model::upgrade::ComponentMove;
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Upgrade;

impl<P: Ports> Body<P> for Upgrade {
    const KIND: OperationKind = OperationKind::Upgrade;
    const VERSION: u32 = 1;
    type Input = UpgradeInput;
    /// What was moved.
    type Output = Vec<ComponentMove>;

    async fn run(cx: Cx<P>, input: UpgradeInput) -> Result<Vec<ComponentMove>, Stop> {
        cx.step(AwaitDatabasesWell::before(&input)).await?;
        cx.no_way_back().await?; // an operator is never taken back to an older release
        for one in &input.moves {
            cx.step(MoveComponent::of(&input, one)).await?;
            cx.step(AwaitDatabasesWell::after(&input, one)).await?;
        }
        Ok(input.moves)
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::upgraded(ports, operation, outcome).await
    }
}
