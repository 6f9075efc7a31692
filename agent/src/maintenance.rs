//! Maintenance of a running database: another primary, another server certificate.
use crate::objects::{api, cnpg, labelled, resource};
use crate::retire::is_of;
use crate::sql;
use crate::watch::World;
use kiven_data_services::cnpg::{certificate_ends_at, server_certificate};
use kiven_model::command::{Command, CommandOutcome, CommandOutput};
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::{Code, Problem};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

fn clusters(client: &Client) -> Api<DynamicObject> {
    cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters")
}

fn later(why: impl Into<String>) -> CommandOutcome {
    CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, why))
}

fn foreign() -> CommandOutcome {
    CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, "the Cluster is another database's"))
}

/// An instance as far as a switchover needs it.
struct Candidate {
    name: String,
    zone: Option<String>,
    ready: bool,
}

/// What a switchover comes to.
#[derive(Debug, PartialEq, Eq)]
enum Choice<'a> {
    /// The primary is elsewhere already, or on its way.
    Nothing,
    /// This one takes over.
    Target(&'a str),
    /// There is none that could.
    None,
}

/// Only a ready instance of the Cluster itself, on a node that is known to be in another zone, is ever a target.
fn choose<'a>(instances: &'a [Candidate], current: &str, asked: &str, away: &str) -> Choice<'a> {
    let outside = |one: &&Candidate| one.zone.as_deref().is_some_and(|zone| zone != away);
    let primary = instances.iter().find(|one| one.name == current);
    if primary.is_some_and(|one| one.zone.as_deref() != Some(away)) {
        return Choice::Nothing;
    }
    if asked != current && instances.iter().filter(outside).any(|one| one.name == asked) {
        return Choice::Nothing;
    }
    let target = instances.iter().filter(outside).find(|one| one.ready && one.name != current);
    target.map_or(Choice::None, |one| Choice::Target(&one.name))
}

/// Lets a ready standby outside of a zone take over, as CloudNativePG's own `promote` asks for it.
pub(crate) async fn switchover(client: &Client, world: &World, command: &Command, cluster: &str, away: &str) -> kube::Result<CommandOutcome> {
    let object = clusters(client).get(cluster).await?;
    if !is_of(&object, command) {
        return Ok(foreign());
    }
    let pods = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    let pods = labelled(&pods, &format!("cnpg.io/cluster={cluster},cnpg.io/podRole=instance")).await?;
    let candidate = |pod: &DynamicObject| Candidate {
        name: pod.name_any(),
        zone: pod.data["spec"]["nodeName"].as_str().and_then(|node| world.zone_of(node)),
        ready: is_ready(&pod.data["status"]) && pod.metadata.deletion_timestamp.is_none(),
    };
    let instances: Vec<Candidate> = pods.iter().map(candidate).collect();
    let word = |field: &str| object.data["status"][field].as_str().unwrap_or_default();
    let target = match choose(&instances, word("currentPrimary"), word("targetPrimary"), away) {
        Choice::Nothing => return Ok(CommandOutcome::Done(CommandOutput::Nothing)),
        Choice::None => return Ok(later(format!("there is no ready standby outside of {away}"))),
        Choice::Target(target) => target,
    };
    let status = json!({
        "targetPrimary": target, "targetPrimaryTimestamp": crate::now().to_string(),
        "phase": "Switchover in progress", "phaseReason": format!("The nodes of {away} are to be replaced"),
    });
    clusters(client).patch_status(cluster, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await?;
    tracing::info!(cluster, target, away, "a switchover was asked for");
    Ok(CommandOutcome::Done(CommandOutput::Nothing))
}

fn is_ready(status: &Value) -> bool {
    status["conditions"].as_array().into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The server certificate; or, where one is to be replaced, another one, once PostgreSQL shows it.
pub(crate) async fn certificate(client: &Client, command: &Command, cluster: &str, replaces: Option<&str>) -> kube::Result<CommandOutcome> {
    let (object, Some(database)) = (clusters(client).get(cluster).await?, &command.database_id) else { return Ok(foreign()) };
    if !is_of(&object, command) {
        return Ok(foreign());
    }
    if object.data["spec"]["certificates"]["serverTLSSecret"].is_string() {
        let why = "the server certificate is not issued by the operator";
        return Ok(CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, why)));
    }
    let (secrets, name) = (api(client, DATABASE_NAMESPACE, &resource("", "v1", "Secret", "secrets")), server_certificate(cluster));
    let Some(secret) = secrets.get_opt(&name).await? else { return Ok(later("the operator has not issued a certificate yet")) };
    let uid = secret.uid().unwrap_or_default();
    if replaces == Some(uid.as_str()) {
        // The operator issues another one from the authority, whose key it has; this one, should it be another by now, stays.
        let this = Preconditions { uid: Some(uid), resource_version: None };
        secrets.delete(&name, &DeleteParams { preconditions: Some(this), ..DeleteParams::default() }).await?;
        tracing::info!(cluster, "the server certificate is issued anew");
        return Ok(later("the operator has not issued a new certificate yet"));
    }
    if replaces.is_some() {
        let issued = crate::secrets::read(client, &name, "tls.crt").await?;
        match sql::shows(client, database, cluster, &issued).await {
            Ok(true) => {}
            Ok(false) => return Ok(later("PostgreSQL still shows the old certificate")),
            Err(error) => return Ok(later(format!("PostgreSQL could not be asked: {error}"))),
        }
    }
    let ends_at = certificate_ends_at(cluster, &object.data["status"]);
    Ok(CommandOutcome::Done(CommandOutput::Certificate { uid, ends_at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_standby_of_another_zone_takes_over() {
        let one = |name: &str, zone: Option<&str>, ready| Candidate { name: name.to_owned(), zone: zone.map(str::to_owned), ready };
        let three = [one("c-1", Some("a"), true), one("c-2", Some("a"), true), one("c-3", Some("b"), true)];
        assert_eq!(choose(&three, "c-1", "c-1", "a"), Choice::Target("c-3"));
        assert_eq!(choose(&three, "c-1", "c-3", "a"), Choice::Nothing, "it is asked for already");
        assert_eq!(choose(&three, "c-1", "c-2", "a"), Choice::Target("c-3"), "another one in the same zone is no help");
        assert_eq!(choose(&three, "c-3", "c-3", "a"), Choice::Nothing, "the primary is elsewhere");
        for other in [one("c-3", Some("b"), false), one("c-3", None, true), one("c-3", Some("a"), true)] {
            assert_eq!(choose(&[one("c-1", Some("a"), true), other], "c-1", "c-1", "a"), Choice::None);
        }
    }
}
