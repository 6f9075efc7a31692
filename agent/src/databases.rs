//! Which databases there are, by what is in the cluster: a Cluster or a Secret that carries their label.
use crate::objects::{api, cnpg, resource};
use kiven_data_services::cnpg::DATABASE_LABEL;
use kiven_model::command::Command;
use kiven_model::names::DATABASE_NAMESPACE;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeSet;

/// Where one is seen: its Secrets are there before its Cluster, and go after it.
fn places(client: &Client) -> [Api<DynamicObject>; 2] {
    let secrets = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Secret", "secrets"));
    [cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters"), secrets]
}

/// Whether anything of the command's database is there.
pub(crate) async fn is_there(client: &Client, command: &Command) -> kube::Result<bool> {
    let Some(id) = &command.database_id else { return Ok(false) };
    let one = ListParams::default().labels(&format!("{DATABASE_LABEL}={id}")).limit(1);
    for place in places(client) {
        if !place.list_metadata(&one).await?.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The ids of all that are there.
pub(crate) async fn there(client: &Client) -> kube::Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for place in places(client) {
        for object in place.list_metadata(&ListParams::default().labels(DATABASE_LABEL)).await?.items {
            ids.extend(object.labels().get(DATABASE_LABEL).cloned());
        }
    }
    Ok(ids)
}
