//! Delete: PostgreSQL stops, the name is free, the volumes wait for the end of their grace.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{AwaitStopped, RetireCluster, ScaleNodeGroup};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Delete;

impl<P: Ports> Body<P> for Delete {
    const KIND: OperationKind = OperationKind::Delete;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = ();

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<(), Stop> {
        cx.no_way_back().await?;
        cx.step(RetireCluster::of(&input)).await?;
        cx.step(AwaitStopped::of(&input)).await?;
        cx.each(ScaleNodeGroup::all_to_zero(&input)).await?;
        Ok(())
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::retired).await
    }
}
