//! The ends of a database: discarded before it was handed over, retired into its grace, purged after it.
use crate::objects::{annotate, api, cnpg, delete, delete_labelled, labelled, resource};
use jiff::Timestamp;
use kiven_data_services::cnpg::{DATABASE_LABEL, HIBERNATION, MADE_BY};
use kiven_model::command::{Command, CommandOutcome, CommandOutput};
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::{Code, Problem};
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;

/// Set once the database is its owner's: from then on an undo must not remove it.
const HANDED_OVER: &str = "kiven.io/handed-over";
/// From when, by the agent's own clock, a volume or a Cluster may go.
const DELETE_AFTER: &str = "kiven.io/delete-after";

fn done() -> CommandOutcome {
    CommandOutcome::Done(CommandOutput::Nothing)
}

fn refused(why: &str) -> CommandOutcome {
    CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, why))
}

fn clusters(client: &Client) -> Api<DynamicObject> {
    cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters")
}

fn grace_lasts(after: Timestamp) -> CommandOutcome {
    CommandOutcome::Retry(Problem::new(Code::AGENT_REFUSED, format!("the grace lasts until {after}")))
}

/// The end of an object's grace, if it has been set.
fn mark_of(object: &DynamicObject) -> Option<Timestamp> {
    object.annotations().get(DELETE_AFTER).and_then(|text| text.parse().ok())
}

/// Whether a Cluster is the command's own database's.
pub(crate) fn is_of(object: &DynamicObject, command: &Command) -> bool {
    command.database_id.as_ref().is_some_and(|id| object.labels().get(DATABASE_LABEL).is_some_and(|label| label == id.as_str()))
}

/// Marks a database as its owner's.
pub(crate) async fn hand_over(client: &Client, command: &Command, cluster: &str) -> kube::Result<CommandOutcome> {
    let Some(object) = clusters(client).get_opt(cluster).await? else { return Ok(refused("there is no such Cluster")) };
    if !is_of(&object, command) {
        return Ok(refused("the Cluster is another database's"));
    }
    annotate(&clusters(client), cluster, json!({ HANDED_OVER: "true" })).await?;
    Ok(done())
}

/// Removes what this very operation made and never handed over.
pub(crate) async fn discard(client: &Client, command: &Command, cluster: &str) -> kube::Result<CommandOutcome> {
    let mine = |object: &DynamicObject| {
        let made_here = object.annotations().get(MADE_BY).is_some_and(|by| by == command.operation_id.as_str());
        object.name_any() == cluster && made_here && !object.annotations().contains_key(HANDED_OVER)
    };
    let found = labelled(&clusters(client), &selector(command)).await?;
    if !found.iter().all(mine) || !named_after(command, cluster) {
        return Ok(refused("the Cluster was handed over, or another operation made it"));
    }
    remove(client, command, cluster, !found.is_empty()).await
}

/// Whether a Cluster's name is one of the database's: `{name}-{id6}-{generation}`.
fn named_after(command: &Command, cluster: &str) -> bool {
    command.database_id.as_ref().is_some_and(|id| cluster.contains(&format!("-{}-", id.short(6))))
}

/// Stops it for good: hibernated, its Services' names free, its volumes marked.
pub(crate) async fn retire(client: &Client, command: &Command, cluster: &str, services: &[String], after: Timestamp) -> kube::Result<CommandOutcome> {
    let Some(object) = clusters(client).get_opt(cluster).await? else { return Ok(done()) };
    if !is_of(&object, command) {
        return Ok(refused("the Cluster is another database's"));
    }
    if mark_of(&object).is_some_and(|known| known > after) {
        return Ok(refused("the end of a grace is never moved earlier"));
    }
    let label = selector(command);
    let cnpg_kind = |kind, plural| cnpg(client, DATABASE_NAMESPACE, kind, plural);
    delete_labelled(&cnpg_kind("ScheduledBackup", "scheduledbackups"), &label).await?;
    delete_labelled(&cnpg_kind("Pooler", "poolers"), &label).await?;
    let mine = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Service", "services"));
    for service in labelled(&mine, &label).await?.iter().filter(|s| services.contains(&s.name_any())) {
        delete(&mine, &service.name_any()).await?;
    }
    // One that is marked for later, by whatever came before, stays so: the policy on volumes would refuse an earlier end.
    for volume in volumes(client, cluster).await?.iter().filter(|volume| mark_of(volume).is_none_or(|known| known < after)) {
        annotate(&persistent_volumes(client), &volume.name_any(), json!({ DELETE_AFTER: after.to_string() })).await?;
    }
    annotate(&clusters(client), cluster, json!({ HIBERNATION: "on", DELETE_AFTER: after.to_string() })).await?;
    Ok(done())
}

/// Takes the end of the grace back: nothing of the database may go any more. It stays hibernated; its Services come back when it
/// is resumed. Only protects, so it needs no consent.
pub(crate) async fn unretire(client: &Client, command: &Command, cluster: &str) -> kube::Result<CommandOutcome> {
    let Some(object) = clusters(client).get_opt(cluster).await? else { return Ok(refused("there is no such Cluster any more")) };
    if !is_of(&object, command) {
        return Ok(refused("the Cluster is another database's"));
    }
    let volumes = volumes(client, cluster).await?;
    let going = |object: &DynamicObject| object.metadata.deletion_timestamp.is_some();
    if volumes.is_empty() || going(&object) || volumes.iter().any(going) {
        return Ok(CommandOutcome::Refused(Problem::new(Code::VOLUMES_MISSING, "volumes of the database are gone, or going")));
    }
    // The Cluster's mark last: while it is there, asking again does the rest.
    for volume in &volumes {
        let patch = json!({
            "metadata": { "annotations": { DELETE_AFTER: null } }, "spec": { "persistentVolumeReclaimPolicy": "Retain" },
        });
        persistent_volumes(client).patch(&volume.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    annotate(&clusters(client), cluster, json!({ DELETE_AFTER: null })).await?;
    Ok(done())
}

/// Removes what the grace kept, once it is over by this clock.
pub(crate) async fn purge(client: &Client, command: &Command, cluster: &str) -> kube::Result<CommandOutcome> {
    if !named_after(command, cluster) {
        return Ok(refused("the Cluster is another database's"));
    }
    let found = labelled(&clusters(client), &selector(command)).await?;
    for object in &found {
        let Some(after) = mark_of(object) else {
            return Ok(refused("a Cluster of the database was never retired"));
        };
        if crate::now() < after {
            return Ok(grace_lasts(after));
        }
    }
    remove(client, command, cluster, !found.is_empty()).await
}

fn selector(command: &Command) -> String {
    let id = command.database_id.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{DATABASE_LABEL}={id}")
}

fn persistent_volumes(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource("", "v1", "PersistentVolume", "persistentvolumes"))
}

/// The volumes of a Cluster's claims, by their claimRef: they are known even when the claims are gone.
async fn volumes(client: &Client, cluster: &str) -> kube::Result<Vec<DynamicObject>> {
    let prefix = format!("{cluster}-");
    let of_cluster = |volume: &DynamicObject| {
        let claim = &volume.data["spec"]["claimRef"];
        claim["namespace"] == DATABASE_NAMESPACE && claim["name"].as_str().is_some_and(|name| name.starts_with(&prefix))
    };
    let all = persistent_volumes(client).list(&ListParams::default()).await?.items;
    Ok(all.into_iter().filter(of_cluster).collect())
}

/// Lets a volume go with its claim. It is marked first: the policy on volumes lets only a marked one go.
async fn release(client: &Client, volume: &DynamicObject) -> kube::Result<()> {
    let (api, name) = (persistent_volumes(client), volume.name_any());
    if mark_of(volume).is_none() {
        annotate(&api, &name, json!({ DELETE_AFTER: crate::now().to_string() })).await?;
    }
    if volume.data["spec"]["persistentVolumeReclaimPolicy"] != "Delete" {
        let patch = json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } });
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// Everything of a database: its volumes are set to go with their claims, then proved gone. Without a Cluster that was judged
/// nothing is set: what is on its way is only waited for.
async fn remove(client: &Client, command: &Command, cluster: &str, judged: bool) -> kube::Result<CommandOutcome> {
    let volumes = volumes(client, cluster).await?;
    // A Cluster that was lost leaves volumes that can be adopted: without it, only what was let go before may go on going.
    if !judged && volumes.iter().any(|volume| mark_of(volume).is_none()) {
        return Ok(refused("the database has volumes that nobody has let go"));
    }
    // The policy cannot tell the time: that a mark has passed is the agent's to see.
    if let Some(after) = volumes.iter().filter_map(mark_of).find(|after| crate::now() < *after) {
        return Ok(grace_lasts(after));
    }
    for volume in volumes.iter().filter(|_| judged) {
        release(client, volume).await?;
    }
    let label = selector(command);
    let kinds =
        [("Pooler", "poolers"), ("ScheduledBackup", "scheduledbackups"), ("Backup", "backups"), ("Database", "databases"), ("Cluster", "clusters")];
    for (kind, plural) in kinds {
        delete_labelled(&cnpg(client, DATABASE_NAMESPACE, kind, plural), &label).await?;
    }
    let others = [
        resource("barmancloud.cnpg.io", "v1", "ObjectStore", "objectstores"),
        resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
        resource("", "v1", "Service", "services"),
    ];
    for kind in &others {
        delete_labelled(&api(client, DATABASE_NAMESPACE, kind), &label).await?;
    }
    let claims = api(client, DATABASE_NAMESPACE, &resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"));
    let left = labelled(&claims, &format!("cnpg.io/cluster={cluster}")).await?.len();
    let cluster_left = clusters(client).get_opt(cluster).await?.is_some();
    if left > 0 || cluster_left || !volumes.is_empty() {
        return Ok(CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, format!("{left} volumes are still going"))));
    }
    // Last, so that an interrupted removal can still be told whose it was.
    delete_labelled(&api(client, DATABASE_NAMESPACE, &resource("", "v1", "Secret", "secrets")), &label).await?;
    Ok(done())
}
