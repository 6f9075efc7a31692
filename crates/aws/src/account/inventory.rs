//! What an account holds of what Kiven makes, whoever asked for it. Nothing is changed.
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join3;
use futures_util::{StreamExt, TryStreamExt, stream};
use kiven_ports::PortError;
use kiven_ports::account::{Access, DATABASE_TAG, ENVIRONMENT_TAG, INVENTORY_MAX, Inventory, ORGANIZATION_TAG, OwnedResource, ResourceKind};

use super::{backups, node_groups};
use crate::Sdk;
use crate::error::port_error;

/// What every name of Kiven's begins with.
const PREFIX: &str = "kiven-";
/// What a generation's role has in its name.
const ROLE_MIDDLE: &str = "-backup-";
/// What a bucket's name begins with.
const BUCKET_PREFIX: &str = "kiven-backups-";
/// The longest a look may take: whoever asks waits for it.
const LOOK_SECONDS_MAX: u64 = 8;
/// Questions to one service at once: it answers an account only so many a second, and the customer's own tools ask it too.
const ASKED_AT_ONCE: usize = 5;
/// Most pages of roles: an account has at most 5,000 of them.
const ROLE_PAGES_MAX: usize = 50;

type Found = Result<Vec<OwnedResource>, PortError>;

/// The answers of all looks, a few at a time.
async fn looked<F: Future<Output = Result<Option<OwnedResource>, PortError>>>(looks: Vec<F>) -> Found {
    let found: Vec<_> = stream::iter(looks).buffered(ASKED_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

pub(super) async fn take(sdk: &Sdk, access: &Access, cluster: &str) -> Result<Inventory, PortError> {
    let look = join3(groups(sdk, access, cluster), roles(sdk, access), buckets(sdk, access));
    let late = |_| PortError::retry("inventory", format!("the account took longer than {LOOK_SECONDS_MAX} seconds"));
    let (groups, roles, buckets) = tokio::time::timeout(Duration::from_secs(LOOK_SECONDS_MAX), look).await.map_err(late)?;
    let mut inventory = Inventory::default();
    for (kind, found) in ResourceKind::LISTED.into_iter().zip([groups, roles, buckets]) {
        match found {
            Ok(found) => inventory.resources.extend(found),
            // The role may be one that was made before this was asked of it.
            Err(PortError::Refused(problem)) => inventory.unseen.push((kind, problem.to_string())),
            Err(error) => return Err(error),
        }
    }
    inventory.resources.sort();
    Ok(inventory)
}

/// A resource of the organization, by its tags; `None` for another's.
fn ours(kind: ResourceKind, name: &str, access: &Access, tags: &BTreeMap<String, String>) -> Option<OwnedResource> {
    if tags.get(ORGANIZATION_TAG).map(String::as_str) != Some(access.organization_id.as_str()) {
        return None;
    }
    Some(OwnedResource {
        kind,
        name: name.to_owned(),
        environment_id: tags.get(ENVIRONMENT_TAG).cloned().unwrap_or_default(),
        database_id: tags.get(DATABASE_TAG).cloned(),
        nodes: 0,
        node_types: Vec::new(),
    })
}

async fn groups(sdk: &Sdk, access: &Access, cluster: &str) -> Found {
    let names = node_groups::list(sdk, cluster).await?;
    let looks = names.into_iter().filter(|name| name.starts_with(PREFIX)).take(INVENTORY_MAX).map(|name| async move {
        let Some(group) = node_groups::describe(sdk, cluster, &name).await? else { return Ok(None) };
        let tags = group.tags().cloned().unwrap_or_default().into_iter().collect();
        let nodes = group.scaling_config().and_then(|scaling| scaling.desired_size()).unwrap_or(0);
        let found = ours(ResourceKind::NodeGroup, &name, access, &tags);
        Ok(found.map(|found| OwnedResource { nodes: u32::try_from(nodes).unwrap_or(0), node_types: group.instance_types().to_vec(), ..found }))
    });
    looked(looks.collect()).await
}

async fn roles(sdk: &Sdk, access: &Access) -> Found {
    let mut pages = sdk.iam().list_roles().into_paginator().send();
    let mut names = Vec::new();
    for _ in 0..ROLE_PAGES_MAX {
        let Some(page) = pages.next().await else { break };
        let page = page.map_err(|error| port_error("iam:ListRoles", error))?;
        let ours = page.roles().iter().map(|role| role.role_name()).filter(|name| name.starts_with(PREFIX) && name.contains(ROLE_MIDDLE));
        names.extend(ours.map(str::to_owned));
    }
    // A list of roles comes without their tags.
    let looks = names.into_iter().take(INVENTORY_MAX).map(|name| async move {
        let Some(role) = backups::role_get(sdk, &name).await? else { return Ok(None) };
        let tags = role.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
        Ok(ours(ResourceKind::BackupRole, &name, access, &tags))
    });
    looked(looks.collect()).await
}

async fn buckets(sdk: &Sdk, access: &Access) -> Found {
    let s3 = sdk.s3();
    let answer = s3.list_buckets().prefix(BUCKET_PREFIX).max_buckets(i32::try_from(INVENTORY_MAX).unwrap_or(i32::MAX)).send().await;
    let answer = answer.map_err(|error| port_error("s3:ListAllMyBuckets", error))?;
    let here = format!("{BUCKET_PREFIX}{}-{}-", access.account_id, access.region);
    let names = answer.buckets().iter().filter_map(|bucket| bucket.name()).filter(|name| name.starts_with(&here));
    let looks = names.map(|name| {
        let s3 = &s3;
        async move { Ok::<_, PortError>(ours(ResourceKind::BackupBucket, name, access, &backups::bucket_tags(s3, name, &access.account_id).await?)) }
    });
    looked(looks.collect()).await
}
