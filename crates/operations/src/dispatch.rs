//! From an operation's kind and version to its body.
use crate::{Change, Connect, Delete, Disconnect, PatchNodes, Pause, Provision, Purge, Resume, RotateCertificates, Undelete, Upgrade};
use kiven_durable::{Drive, Driven, drive};
use kiven_model::OperationId;
use kiven_model::operation::OperationKind;
use kiven_ports::{PortError, Ports, Records};
use std::sync::Arc;

/// Drives whatever operation has this id, with the body it began with.
///
/// # Errors
/// When the records cannot be read.
pub async fn drive_any<P: Ports>(ports: Arc<P>, id: &OperationId, how: &Drive) -> Result<Driven, PortError> {
    let Some(head) = ports.records().operation_head(id).await? else { return Ok(Driven::Unknown) };
    match (head.kind, head.body_version) {
        (OperationKind::Connect, 1) => drive::<P, Connect>(ports, id, how).await,
        (OperationKind::Provision, 1) => drive::<P, Provision>(ports, id, how).await,
        (OperationKind::Pause, 1) => drive::<P, Pause>(ports, id, how).await,
        (OperationKind::Resume, 1) => drive::<P, Resume>(ports, id, how).await,
        (OperationKind::Change, 1) => drive::<P, Change>(ports, id, how).await,
        (OperationKind::Delete, 1) => drive::<P, Delete>(ports, id, how).await,
        (OperationKind::Purge, 1) => drive::<P, Purge>(ports, id, how).await,
        (OperationKind::Undelete, 1) => drive::<P, Undelete>(ports, id, how).await,
        (OperationKind::PatchNodes, 1) => drive::<P, PatchNodes>(ports, id, how).await,
        (OperationKind::RotateCertificates, 1) => drive::<P, RotateCertificates>(ports, id, how).await,
        (OperationKind::Disconnect, 1) => drive::<P, Disconnect>(ports, id, how).await,
        (OperationKind::Upgrade, 1) => drive::<P, Upgrade>(ports, id, how).await,
        (kind, version) => {
            tracing::error!(operation_id = %id, kind = kind.as_str(), version, "no body of this version is deployed");
            Ok(Driven::Lost(format!("no body of version {version}")))
        }
    }
}
