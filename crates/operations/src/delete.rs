//! Delete: a last backup where one is wanted; then PostgreSQL stops, the name is free, the volumes wait for the end of their grace.
use crate::input::{DatabaseInput, FinalBackup};
use crate::settle;
use crate::steps::{ArchiveWal, AwaitHealthy, AwaitStopped, RetireCluster, ScaleNodeGroup, TakeFinalBackup, VerifyIdentity, WakeCluster};
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
        if input.final_backup == Some(FinalBackup::Paused) {
            cx.no_way_back().await?;
            cx.each(ScaleNodeGroup::all_up(&input)).await?;
            cx.step(WakeCluster::of(&input)).await?;
            cx.step(AwaitHealthy::of(&input)).await?;
            cx.step(VerifyIdentity::of(&input)).await?;
        }
        if input.final_backup.is_some() {
            cx.step(TakeFinalBackup::of(&input)).await?;
            // What was written while the backup ran, up to this moment.
            cx.step(ArchiveWal::of(&input)).await?;
        }
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
