//! Managed node groups: one per database and zone.

use aws_sdk_eks::types::{
    AmiTypes, CapacityTypes, LaunchTemplateSpecification, Nodegroup, NodegroupScalingConfig, NodegroupStatus, Taint, TaintEffect,
};
use kiven_model::Code;
use kiven_ports::PortError;
use kiven_ports::account::{Access, NodeGroup, NodeGroupState, ownership_tags};
use sha2::{Digest, Sha256};

use super::owned;
use crate::Sdk;
use crate::error::{is, port_error};

/// Health issues that mean a zone is short of machines.
const SHORTAGES: &[&str] = &["InsufficientInstanceCapacity", "InsufficientFreeAddresses", "AsgInstanceLaunchFailures"];

pub(super) async fn ensure(sdk: &Sdk, access: &Access, group: &NodeGroup, token: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = describe(sdk, &group.cluster, &group.name).await? else {
        return create(sdk, access, group, token).await;
    };
    check(access, &found, Some(group))?;
    settle(sdk, &found, &group.cluster, &group.name, group.nodes, token).await
}

pub(super) async fn scale(sdk: &Sdk, access: &Access, cluster: &str, name: &str, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = describe(sdk, cluster, name).await? else { return Ok(NodeGroupState::Absent) };
    check(access, &found, None)?;
    settle(sdk, &found, cluster, name, nodes, token).await
}

pub(super) async fn get(sdk: &Sdk, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = describe(sdk, cluster, name).await? else { return Ok(NodeGroupState::Absent) };
    check(access, &found, None)?;
    Ok(state(&found))
}

pub(super) async fn delete(sdk: &Sdk, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = describe(sdk, cluster, name).await? else { return Ok(NodeGroupState::Absent) };
    check(access, &found, None)?;
    // EKS refuses a delete while another change runs.
    if let Some(NodegroupStatus::Creating | NodegroupStatus::Updating | NodegroupStatus::Deleting) = found.status() {
        return Ok(NodeGroupState::Changing);
    }
    match sdk.eks().delete_nodegroup().cluster_name(cluster).nodegroup_name(name).send().await {
        Ok(_) => Ok(NodeGroupState::Changing),
        Err(error) if is(&error, &["ResourceNotFoundException"]) => Ok(NodeGroupState::Absent),
        Err(error) if is(&error, &["ResourceInUseException"]) => Ok(NodeGroupState::Changing),
        Err(error) => Err(port_error("eks:DeleteNodegroup", error)),
    }
}

pub(super) async fn release(sdk: &Sdk, access: &Access, cluster: &str, name: &str) -> Result<Option<String>, PortError> {
    let Some(found) = describe(sdk, cluster, name).await? else { return Ok(None) };
    check(access, &found, None)?;
    Ok(Some(found.release_version().unwrap_or_default().to_owned()))
}

pub(super) async fn describe(sdk: &Sdk, cluster: &str, name: &str) -> Result<Option<Nodegroup>, PortError> {
    match sdk.eks().describe_nodegroup().cluster_name(cluster).nodegroup_name(name).send().await {
        Ok(answer) => Ok(answer.nodegroup),
        Err(error) if is(&error, &["ResourceNotFoundException"]) => Ok(None),
        Err(error) => Err(port_error("eks:DescribeNodegroup", error)),
    }
}

fn check(access: &Access, found: &Nodegroup, wanted: Option<&NodeGroup>) -> Result<(), PortError> {
    let expected = ownership_tags(access, wanted.map(|group| &group.database_id));
    let name = found.nodegroup_name().unwrap_or_default();
    owned::check("node group", name, &expected, |key| found.tags().and_then(|tags| tags.get(key)).cloned())
}

async fn create(sdk: &Sdk, access: &Access, group: &NodeGroup, token: &str) -> Result<NodeGroupState, PortError> {
    let template = LaunchTemplateSpecification::builder();
    let template = if group.launch_template.starts_with("lt-") { template.id(&group.launch_template) } else { template.name(&group.launch_template) };
    let taint = Taint::builder().key("kiven.io/role").value("database").effect(TaintEffect::NoSchedule).build();
    let sent = sdk
        .eks()
        .create_nodegroup()
        .cluster_name(&group.cluster)
        .nodegroup_name(&group.name)
        .scaling_config(scaling(group.nodes))
        .subnets(&group.subnet)
        .set_instance_types(Some(group.node_types.clone()))
        .ami_type(AmiTypes::Al2023Arm64Standard)
        .capacity_type(CapacityTypes::OnDemand)
        .node_role(&group.node_role_arn)
        .launch_template(template.build())
        .labels("kiven.io/role", "database")
        .labels("kiven.io/database", group.database_id.as_str())
        .labels("kiven.io/node-type", &group.node_type)
        .taints(taint)
        .set_tags(Some(ownership_tags(access, Some(&group.database_id)).into_iter().collect()))
        .client_request_token(request_token(&[token, &group.name, "create"]))
        .send()
        .await;
    match sent {
        Ok(_) => Ok(NodeGroupState::Changing),
        // Made between the look and the call; the next look says whose it is.
        Err(error) if is(&error, &["ResourceInUseException"]) => Ok(NodeGroupState::Changing),
        Err(error) => Err(port_error("eks:CreateNodegroup", error)),
    }
}

/// Moves a group that is Kiven's to the wanted size, one change at a time.
async fn settle(sdk: &Sdk, found: &Nodegroup, cluster: &str, name: &str, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
    let wanted = scaling(nodes);
    let now = state(found);
    let resizable = matches!(found.status(), Some(NodegroupStatus::Active | NodegroupStatus::Degraded));
    if found.scaling_config() == Some(&wanted) || !resizable {
        return Ok(now);
    }
    let sent = sdk
        .eks()
        .update_nodegroup_config()
        .cluster_name(cluster)
        .nodegroup_name(name)
        .scaling_config(wanted)
        .client_request_token(request_token(&[token, name, &nodes.to_string()]))
        .send()
        .await;
    match sent {
        Ok(_) => Ok(NodeGroupState::Changing),
        Err(error) if is(&error, &["ResourceInUseException"]) => Ok(NodeGroupState::Changing),
        Err(error) => Err(port_error("eks:UpdateNodegroupConfig", error)),
    }
}

fn state(found: &Nodegroup) -> NodeGroupState {
    let issues: Vec<String> = found
        .health()
        .map(|health| health.issues())
        .unwrap_or_default()
        .iter()
        .map(|issue| {
            let code = issue.code().map_or("unknown", |code| code.as_str());
            let shortage = if SHORTAGES.contains(&code) { format!("{}: ", Code::NO_CAPACITY) } else { String::new() };
            format!("{shortage}{code}: {}", issue.message().unwrap_or_default())
        })
        .collect();
    let nodes = found.scaling_config().and_then(|scaling| scaling.desired_size()).unwrap_or(0);
    match found.status() {
        Some(NodegroupStatus::Active) if issues.is_empty() => NodeGroupState::Active { nodes: u32::try_from(nodes).unwrap_or(0) },
        Some(NodegroupStatus::Creating | NodegroupStatus::Updating | NodegroupStatus::Deleting) => NodeGroupState::Changing,
        status => {
            let word = status.map_or("without a status", |status| status.as_str());
            NodeGroupState::Degraded(if issues.is_empty() { word.to_owned() } else { issues.join("; ") })
        }
    }
}

/// Running: min = desired = max. Paused: an empty group still needs room for one.
fn scaling(nodes: u32) -> NodegroupScalingConfig {
    let nodes = i32::try_from(nodes).unwrap_or(i32::MAX);
    NodegroupScalingConfig::builder().min_size(nodes).desired_size(nodes).max_size(nodes.max(1)).build()
}

/// A token of EKS's length from the step's token and what it asks for.
pub(super) fn request_token(parts: &[&str]) -> String {
    hex::encode(Sha256::digest(parts.join("\n")))
}
