//! Purge: the grace is over; the agent removes what it kept, by its own clock, and the nodes' groups go.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{BeginPurge, DeleteNodeGroup, PurgeCluster};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Purge;

impl<P: Ports> Body<P> for Purge {
    const KIND: OperationKind = OperationKind::Purge;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = ();

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<(), Stop> {
        cx.no_way_back().await?;
        cx.step(BeginPurge::of(&input)).await?;
        cx.step(PurgeCluster::of(&input)).await?;
        cx.each(DeleteNodeGroup::all(&input)).await?;
        Ok(())
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::unchanged).await
    }
}
