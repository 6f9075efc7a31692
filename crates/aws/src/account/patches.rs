//! Newer machine images under a node group: EKS replaces its nodes one by one, and says how far it is.

use aws_sdk_eks::types::{Update, UpdateStatus, UpdateType};
use kiven_ports::PortError;
use kiven_ports::account::{Access, UpdateState};

use super::node_groups::{release, request_token};
use crate::Sdk;
use crate::error::{is, port_error};

/// Updates of a group that are looked at to find the one that runs; EKS lists the newest first.
const LOOKED_AT_MAX: usize = 20;

pub(super) async fn start(sdk: &Sdk, access: &Access, cluster: &str, name: &str, token: &str) -> Result<Option<String>, PortError> {
    // Says whose the group is, too.
    let Some(release) = release(sdk, access, cluster, name).await? else { return Ok(None) };
    // Without a release EKS takes the newest one for the cluster's Kubernetes.
    let sent =
        sdk.eks().update_nodegroup_version().cluster_name(cluster).nodegroup_name(name).client_request_token(request_token(&[token, name, "patch"]));
    match sent.send().await {
        Ok(answer) => Ok(answer.update.and_then(|update| update.id)),
        Err(error) if is(&error, &["ResourceInUseException"]) => match running(sdk, cluster, name).await? {
            Some(update) => Ok(Some(update)),
            None => Err(PortError::retry("eks", "another change of the node group runs")),
        },
        // Nothing was asked for that could be wrong but to be newer than the group is.
        Err(error) if is(&error, &["InvalidParameterException"]) => {
            let refused = port_error("eks:UpdateNodegroupVersion", error);
            tracing::info!(error = %refused, group = name, release, "EKS has no newer release");
            Ok(None)
        }
        Err(error) => Err(port_error("eks:UpdateNodegroupVersion", error)),
    }
}

/// The patch that runs on a group, whoever began it.
async fn running(sdk: &Sdk, cluster: &str, name: &str) -> Result<Option<String>, PortError> {
    let sent = sdk.eks().list_updates().name(cluster).nodegroup_name(name).send().await;
    let listed = sent.map_err(|error| port_error("eks:ListUpdates", error))?;
    for id in listed.update_ids().iter().take(LOOKED_AT_MAX) {
        let Some(update) = describe(sdk, cluster, name, id).await? else { continue };
        if update.r#type() == Some(&UpdateType::VersionUpdate) && update.status() == Some(&UpdateStatus::InProgress) {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}

pub(super) async fn get(sdk: &Sdk, cluster: &str, name: &str, id: &str) -> Result<UpdateState, PortError> {
    let Some(update) = describe(sdk, cluster, name, id).await? else { return Ok(UpdateState::Failed("EKS has forgotten the update".to_owned())) };
    let words = |error: &aws_sdk_eks::types::ErrorDetail| {
        format!("{}: {}", error.error_code().map_or("unknown", |code| code.as_str()), error.error_message().unwrap_or_default())
    };
    Ok(match update.status() {
        Some(UpdateStatus::Successful) => UpdateState::Done,
        Some(UpdateStatus::Failed | UpdateStatus::Cancelled) => UpdateState::Failed(update.errors().iter().map(words).collect::<Vec<_>>().join("; ")),
        _ => UpdateState::Running,
    })
}

async fn describe(sdk: &Sdk, cluster: &str, name: &str, id: &str) -> Result<Option<Update>, PortError> {
    match sdk.eks().describe_update().name(cluster).nodegroup_name(name).update_id(id).send().await {
        Ok(answer) => Ok(answer.update),
        Err(error) if is(&error, &["ResourceNotFoundException"]) => Ok(None),
        Err(error) => Err(port_error("eks:DescribeUpdate", error)),
    }
}
