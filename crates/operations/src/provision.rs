//! Provision: from a request to a database that answers, in thirteen steps; complete, or as if it had never been asked for.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{
    ApplyCluster, ApplyNetworkPolicy, ApplyPooler, ApplyScheduledBackup, AwaitHealthy, AwaitNodeGroup, CheckNodeGroupQuota, EnsureBackupBucket,
    EnsureBackupRole, EnsureInitialDatabase, EnsureNodeGroup, EnsureSecrets, ReadConnection, VerifyOperator, VerifyStorageClass,
};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::database::Connection;
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Provision;

impl<P: Ports> Body<P> for Provision {
    const KIND: OperationKind = OperationKind::Provision;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = Connection;

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<Connection, Stop> {
        let groups = input.node_groups();
        cx.each(CheckNodeGroupQuota::of(&input)).await?;
        cx.each(EnsureNodeGroup::all(&input, &groups)).await?;
        cx.all((VerifyStorageClass::of(&input), VerifyOperator::of(&input))).await?;
        cx.all((EnsureBackupBucket::of(&input), EnsureBackupRole::of(&input))).await?;
        let secrets = cx.step(EnsureSecrets::of(&input)).await?;
        cx.step(ApplyCluster::of(&input)).await?;
        cx.all((ApplyPooler::on(&input), ApplyNetworkPolicy::of(&input))).await?;
        cx.each(AwaitNodeGroup::all(&input, &groups)).await?;
        cx.step(AwaitHealthy::of(&input)).await?;
        cx.all((ApplyScheduledBackup::on(&input), EnsureInitialDatabase::of(&input))).await?;
        cx.no_way_back().await?; // the next step hands the database over: from then on only its owner may destroy it
        cx.step(ReadConnection::of(&input, secrets)).await
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::provisioned).await
    }
}
