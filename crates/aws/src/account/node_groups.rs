//! Managed node groups: one per database and zone.

use aws_sdk_eks::types::{
    AmiTypes, CapacityTypes, LaunchTemplateSpecification, Nodegroup, NodegroupScalingConfig, NodegroupStatus, NodegroupUpdateConfig, Taint,
    TaintEffect, Update, UpdateLabelsPayload, UpdateStatus, UpdateTaintsPayload,
};
use kiven_model::Code;
use kiven_ports::PortError;
use kiven_ports::account::{Access, NodeGroup, NodeGroupState, ownership_tags};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

use super::owned;
use crate::Sdk;
use crate::error::{is, port_error};

/// Health issues that mean a zone is short of machines.
const SHORTAGES: &[&str] = &["InsufficientInstanceCapacity", "InsufficientFreeAddresses"];
/// Updates of a configuration that may fail one after the other before their words are told.
const UPDATES_FAILED_MAX: u32 = 3;
/// Nodes that do not start; the words say why.
const LAUNCH_FAILED: &str = "AsgInstanceLaunchFailures";

pub(super) async fn ensure(sdk: &Sdk, access: &Access, group: &NodeGroup, token: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = describe(sdk, &group.cluster, &group.name).await? else {
        return create(sdk, access, group, token).await;
    };
    check(access, &found, Some(group))?;
    if found.status() == Some(&NodegroupStatus::CreateFailed) {
        return clear(sdk, access, group, &found).await;
    }
    settle(sdk, &found, &group.cluster, Some(group), group.nodes, token).await
}

/// EKS gives a creation up for good: such a group can only be deleted, and has no nodes.
async fn clear(sdk: &Sdk, access: &Access, group: &NodeGroup, found: &Nodegroup) -> Result<NodeGroupState, PortError> {
    let NodeGroupState::Degraded(words) = state(found) else { return Ok(NodeGroupState::Changing) };
    tracing::warn!(group = group.name, words, "EKS has given the node group up; it is to be made again");
    delete(sdk, access, &group.cluster, &group.name).await?;
    Ok(NodeGroupState::GivenUp(words))
}

pub(super) async fn scale(sdk: &Sdk, access: &Access, cluster: &str, name: &str, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = own(sdk, access, cluster, name).await? else { return Ok(NodeGroupState::Absent) };
    settle(sdk, &found, cluster, None, nodes, token).await
}

/// The names of all, Kiven's and others'.
pub(super) async fn list(sdk: &Sdk, cluster: &str) -> Result<Vec<String>, PortError> {
    let pages = sdk.eks().list_nodegroups().cluster_name(cluster).into_paginator().items().send().try_collect().await;
    pages.map_err(|error| port_error("eks:ListNodegroups", error))
}

pub(super) async fn get(sdk: &Sdk, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = own(sdk, access, cluster, name).await? else { return Ok(NodeGroupState::Absent) };
    Ok(state(&found))
}

pub(super) async fn delete(sdk: &Sdk, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
    let Some(found) = own(sdk, access, cluster, name).await? else { return Ok(NodeGroupState::Absent) };
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
    let found = own(sdk, access, cluster, name).await?;
    Ok(found.map(|found| found.release_version().unwrap_or_default().to_owned()))
}

/// A group that is this environment's, by its tags.
pub(super) async fn own(sdk: &Sdk, access: &Access, cluster: &str, name: &str) -> Result<Option<Nodegroup>, PortError> {
    let found = describe(sdk, cluster, name).await?;
    found.map(|found| check(access, &found, None).map(|()| found)).transpose()
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
        .set_labels(Some(labels(group)))
        .taints(taint())
        // One node at a time: a database's instances are never replaced together.
        .update_config(NodegroupUpdateConfig::builder().max_unavailable(1).build())
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

fn labels(group: &NodeGroup) -> HashMap<String, String> {
    [("kiven.io/role", "database"), ("kiven.io/database", group.database_id.as_str()), ("kiven.io/node-type", &group.node_type)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn taint() -> Taint {
    Taint::builder().key("kiven.io/role").value("database").effect(TaintEffect::NoSchedule).build()
}

/// Labels and a taint that somebody has taken off or changed: without them pods would find no node, or strangers would.
fn drifted(found: &Nodegroup, group: &NodeGroup) -> (Option<UpdateLabelsPayload>, Option<UpdateTaintsPayload>) {
    let has = |key: &str| found.labels().and_then(|labels| labels.get(key));
    let missing: HashMap<String, String> = labels(group).into_iter().filter(|(key, value)| has(key) != Some(value)).collect();
    let labels = (!missing.is_empty()).then(|| UpdateLabelsPayload::builder().set_add_or_update_labels(Some(missing)).build());
    let taints = (!found.taints().contains(&taint())).then(|| UpdateTaintsPayload::builder().add_or_update_taints(taint()).build());
    (labels, taints)
}

/// Moves a group that is Kiven's to the wanted size, and mends what has drifted when it is known what should be; one change at a time.
async fn settle(
    sdk: &Sdk,
    found: &Nodegroup,
    cluster: &str,
    group: Option<&NodeGroup>,
    nodes: u32,
    token: &str,
) -> Result<NodeGroupState, PortError> {
    let wanted = scaling(nodes);
    let now = state(found);
    let (labels, taints) = group.map(|group| drifted(found, group)).unwrap_or_default();
    let resizable = matches!(found.status(), Some(NodegroupStatus::Active | NodegroupStatus::Degraded));
    let whole = labels.is_none() && taints.is_none();
    if found.scaling_config() == Some(&wanted) && whole || !resizable {
        return Ok(now);
    }
    let name = found.nodegroup_name().unwrap_or_default();
    let mut mended: Vec<&str> = labels.iter().flat_map(|labels| labels.add_or_update_labels()).flatten().map(|(key, _)| key.as_str()).collect();
    mended.sort_unstable();
    let what = if whole { nodes.to_string() } else { format!("{nodes} mended {mended:?} {}", taints.is_some()) };
    let config = |token: String| {
        let update = sdk.eks().update_nodegroup_config().cluster_name(cluster).nodegroup_name(name).scaling_config(wanted.clone());
        update.set_labels(labels.clone()).set_taints(taints.clone()).client_request_token(token).send()
    };
    let mut failed = String::new();
    // An update that has failed is what its token answers for ever: the next one is asked for in its name.
    for _ in 0..UPDATES_FAILED_MAX {
        match config(request_token(&[token, name, &what, &failed])).await {
            Ok(answer) => match answer.update.filter(ended_badly) {
                Some(update) => failed = update.id.unwrap_or_default(),
                None => return Ok(NodeGroupState::Changing),
            },
            Err(error) if is(&error, &["ResourceInUseException"]) => return Ok(NodeGroupState::Changing),
            Err(error) => return Err(port_error("eks:UpdateNodegroupConfig", error)),
        }
    }
    Ok(NodeGroupState::Degraded(format!("EKS has given {UPDATES_FAILED_MAX} updates of its configuration up, the last one is {failed}")))
}

fn ended_badly(update: &Update) -> bool {
    matches!(update.status(), Some(UpdateStatus::Failed | UpdateStatus::Cancelled))
}

fn state(found: &Nodegroup) -> NodeGroupState {
    let issues: Vec<String> = found
        .health()
        .map(|health| health.issues())
        .unwrap_or_default()
        .iter()
        .map(|issue| {
            let code = issue.code().map_or("unknown", |code| code.as_str());
            let words = issue.message().unwrap_or_default();
            let short = SHORTAGES.contains(&code) || code == LAUNCH_FAILED && words.to_lowercase().contains("capacity");
            let shortage = if short { format!("{}: ", Code::NO_CAPACITY) } else { String::new() };
            format!("{shortage}{code}: {words}")
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
