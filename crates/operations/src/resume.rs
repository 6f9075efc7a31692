//! Resume: nodes, the same volumes, the same address, and what was changed meanwhile. It only ever goes forward.
use crate::change::arrive;
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{
    ApplyNetworkPolicy, ApplyPooler, ApplyScheduledBackup, AwaitHealthy, EnsureInitialDatabase, ScaleNodeGroup, VerifyIdentity, WakeCluster,
};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::database::Placement;
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Resume;

impl<P: Ports> Body<P> for Resume {
    const KIND: OperationKind = OperationKind::Resume;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = Option<Placement>;

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<Option<Placement>, Stop> {
        cx.no_way_back().await?;
        cx.each(ScaleNodeGroup::all_up(&input)).await?;
        cx.step(WakeCluster::of(&input)).await?;
        cx.step(AwaitHealthy::of(&input)).await?;
        cx.step(VerifyIdentity::of(&input)).await?;
        cx.all((ApplyPooler::on(&input), ApplyScheduledBackup::on(&input))).await?;
        if !input.changes() {
            return Ok(input.was.placement);
        }
        cx.all((ApplyNetworkPolicy::of(&input), EnsureInitialDatabase::of(&input))).await?;
        arrive(&cx, &input).await.map(Some)
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::resumed).await
    }
}
