//! Pause: PostgreSQL stops, volumes stay, nodes go. Until hibernation is asked for it can be taken back whole.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{
    ApplyPooler, ApplyScheduledBackup, ArchiveWal, AwaitBackups, AwaitHibernated, EnterAccount, HibernateCluster, RecordVolumes, ScaleNodeGroup,
    VerifyVolumes,
};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::database::Database;
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Pause;

impl<P: Ports> Body<P> for Pause {
    const KIND: OperationKind = OperationKind::Pause;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = ();

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<(), Stop> {
        cx.step(EnterAccount::of(&input)).await?; // what is off and cannot be entered stays off
        cx.step(ApplyScheduledBackup::off(&input)).await?;
        cx.step(AwaitBackups::of(&input)).await?;
        cx.step(ApplyPooler::off(&input)).await?;
        cx.step(ArchiveWal::of(&input)).await?;
        let recorded = cx.step(RecordVolumes::of(&input)).await?;
        cx.step(HibernateCluster::of(&input)).await?;
        cx.step(AwaitHibernated::of(&input)).await?;
        cx.step(VerifyVolumes::of(&input, recorded)).await?;
        cx.no_way_back().await?;
        cx.each(ScaleNodeGroup::all_to_zero(&input)).await?;
        Ok(())
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        let wal = settle::archived_wal(ports, operation).await?;
        let proved = |_: &P, _: &Operation, database: &mut Database| {
            database.archived_wal = wal;
            Vec::new()
        };
        settle::database(ports, operation, outcome, proved).await
    }
}
