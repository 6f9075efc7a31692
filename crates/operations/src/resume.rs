//! Resume: nodes, the same volumes, the same address. It only ever goes forward.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{ApplyPooler, ApplyScheduledBackup, AwaitHealthy, ScaleNodeGroup, VerifyIdentity, WakeCluster};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Resume;

impl<P: Ports> Body<P> for Resume {
    const KIND: OperationKind = OperationKind::Resume;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = ();

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<(), Stop> {
        cx.no_way_back().await?;
        cx.each(ScaleNodeGroup::all_up(&input)).await?;
        cx.step(WakeCluster::of(&input)).await?;
        cx.step(AwaitHealthy::of(&input)).await?;
        cx.step(VerifyIdentity::of(&input)).await?;
        cx.all((ApplyPooler::on(&input), ApplyScheduledBackup::on(&input))).await?;
        Ok(())
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::resumed).await
    }
}
