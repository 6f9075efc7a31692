//! Undelete: from the grace back to paused. The purge that was to come is withdrawn in the transaction that accepts it.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::UnretireCluster;
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Undelete;

impl<P: Ports> Body<P> for Undelete {
    const KIND: OperationKind = OperationKind::Undelete;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = ();

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<(), Stop> {
        cx.no_way_back().await?;
        cx.step(UnretireCluster::of(&input)).await?;
        Ok(())
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::undeleted).await
    }
}
