//! Change: another size, other settings. Until PostgreSQL takes them it can be taken back whole; from then on it goes forward.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{
    ApplyCluster, ApplyNetworkPolicy, ApplyPooler, ApplyScheduledBackup, AwaitCurrent, CheckNodeGroupQuota, DeleteNodeGroup, EnsureInitialDatabase,
    ReadPlacement, ScaleNodeGroup, VerifyRevision,
};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::database::Placement;
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Change;

impl<P: Ports> Body<P> for Change {
    const KIND: OperationKind = OperationKind::Change;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = Placement;

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<Placement, Stop> {
        cx.each(CheckNodeGroupQuota::of(&input)).await?;
        cx.each(ScaleNodeGroup::growing(&input)).await?;
        cx.no_way_back().await?; // from here PostgreSQL takes the new settings: going back would be another change
        cx.step(ApplyCluster::of(&input)).await?;
        cx.all((ApplyPooler::on(&input), ApplyNetworkPolicy::of(&input))).await?;
        cx.all((ApplyScheduledBackup::on(&input), EnsureInitialDatabase::of(&input))).await?;
        arrive(&cx, &input).await
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::changed).await
    }
}

/// The end of every change, a resume's too: PostgreSQL runs with it, and nodes that nothing stands on any more go.
pub(crate) async fn arrive<P: Ports>(cx: &Cx<P>, input: &DatabaseInput) -> Result<Placement, Stop> {
    cx.step(VerifyRevision::of(input)).await?;
    cx.step(AwaitCurrent::of(input)).await?;
    let placement = cx.step(ReadPlacement::of(input)).await?;
    cx.each(ScaleNodeGroup::shrinking(input, &placement)).await?;
    cx.each(DeleteNodeGroup::left(input, &placement)).await?;
    Ok(placement)
}
