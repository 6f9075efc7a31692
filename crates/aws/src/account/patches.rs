//! Newer machine images under a node group: EKS replaces its nodes one by one, and says how far it is.

use aws_sdk_eks::error::ProvideErrorMetadata;
use aws_sdk_eks::types::{AmiTypes, LaunchTemplateSpecification, Nodegroup, Update, UpdateStatus, UpdateType};
use kiven_ports::PortError;
use kiven_ports::account::{Access, UpdateState};

use super::clusters;
use super::node_groups::{own, request_token};
use crate::Sdk;
use crate::error::{is, port_error};

/// Updates of a group that are looked at to find the one that runs; EKS lists the newest first.
const LOOKED_AT_MAX: usize = 20;
/// How EKS says that a group is as new as it can be; everything else that it finds wrong with a request is an error.
const NOTHING_NEWER: [&str; 6] = ["already", "no changes needed", "no newer", "no update", "up to date", "up-to-date"];

pub(super) async fn start(sdk: &Sdk, access: &Access, cluster: &str, name: &str, token: &str) -> Result<Option<String>, PortError> {
    let Some(found) = own(sdk, access, cluster, name).await? else { return Ok(None) };
    let version = version(sdk, cluster, &found).await?;
    // Without a release EKS takes the newest one of the version. The token says the version: a control plane that was upgraded
    // since is another wish, which EKS refuses under the same token.
    let sent = sdk
        .eks()
        .update_nodegroup_version()
        .cluster_name(cluster)
        .nodegroup_name(name)
        .client_request_token(request_token(&[token, name, "patch", version.as_deref().unwrap_or_default()]))
        .set_version(version)
        .set_launch_template(template(&found));
    match sent.send().await {
        Ok(answer) => Ok(answer.update.and_then(|update| update.id)),
        Err(error) if is(&error, &["ResourceInUseException"]) => match running(sdk, cluster, name).await? {
            Some(update) => Ok(Some(update)),
            None => Err(PortError::retry("eks", "another change of the node group runs")),
        },
        Err(error) if is(&error, &["InvalidParameterException", "InvalidRequestException"]) && says_nothing_newer(error.message()) => {
            let refused = port_error("eks:UpdateNodegroupVersion", error);
            tracing::info!(error = %refused, group = name, release = found.release_version(), "EKS has no newer release");
            Ok(None)
        }
        Err(error) => Err(port_error("eks:UpdateNodegroupVersion", error)),
    }
}

/// The control plane's Kubernetes: without it EKS keeps the group's own, and nodes stay behind until they can no longer join.
/// An image of the customer's own has none.
async fn version(sdk: &Sdk, cluster: &str, found: &Nodegroup) -> Result<Option<String>, PortError> {
    match found.ami_type() {
        Some(AmiTypes::Custom) => Ok(None),
        _ => Ok(Some(clusters::get(sdk, cluster).await?.version)),
    }
}

/// The group's own launch template at its default version, which the onboarding module moves: EKS allows no other template, and
/// takes no newer version of this one unless it is told.
fn template(found: &Nodegroup) -> Option<LaunchTemplateSpecification> {
    let known = found.launch_template()?;
    let same = LaunchTemplateSpecification::builder();
    // Either one, never both.
    let same = match (known.id(), known.name()) {
        (Some(id), _) => same.id(id),
        (None, Some(name)) => same.name(name),
        (None, None) => return None,
    };
    Some(same.build())
}

fn says_nothing_newer(message: Option<&str>) -> bool {
    let said = message.unwrap_or_default().to_lowercase();
    NOTHING_NEWER.iter().any(|words| said.contains(words))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_so_is_nothing_newer() {
        for (said, nothing) in [
            ("Nodegroup shop is already at the release 1.34.1-20260301", true),
            ("No changes needed for the node group", true),
            ("there is no newer release than 1.34.1-20260301", true),
            ("Requested Nodegroup release version 1.18.9-20210125 is invalid. Allowed release version is 1.18.9-20210127", false),
            ("The launch template does not exist", false),
            ("Nodegroup version 1.36 is newer than the cluster's", false),
            ("", false),
        ] {
            assert_eq!(says_nothing_newer(Some(said)), nothing, "{said}");
        }
        assert!(!says_nothing_newer(None));
    }
}
