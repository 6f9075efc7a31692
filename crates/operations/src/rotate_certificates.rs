//! Rotate certificates: a new server certificate from the database's own authority, while everything goes on. The authority, and
//! so what clients verify, stays; connections that are open stay too.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{AwaitWhole, ReadCertificate, RenewCertificate, ServerCertificate};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct RotateCertificates;

impl<P: Ports> Body<P> for RotateCertificates {
    const KIND: OperationKind = OperationKind::RotateCertificates;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    type Output = ServerCertificate;

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<ServerCertificate, Stop> {
        cx.step(AwaitWhole::before(&input)).await?;
        let old = cx.step(ReadCertificate::of(&input)).await?;
        cx.no_way_back().await?; // the old certificate is not brought back
        cx.step(RenewCertificate::of(&input, &old)).await
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::unchanged).await
    }
}
