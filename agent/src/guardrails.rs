//! Guardrails: pure judgements of what a command would change. They hold even when the control plane is compromised.
use crate::shapes::{judge_shape, own_part};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandBody, Consent, SecretRequest};
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::{Code, Problem};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Largest command, in bytes of its JSON.
const COMMAND_BYTES_MAX: usize = 512 * 1024;
/// Longest id of a command, in bytes: ids are remembered.
const ID_BYTES_MAX: usize = 256;
/// How far a fence or an epoch may be beyond the greatest that was seen. Both grow by ones; from one at the end of their range nobody
/// could go on, so that whoever sent it would have locked everybody out.
pub(crate) const GROWTH_MAX: u64 = 1 << 32;
/// Most objects in one command.
const OBJECTS_MAX: usize = 10;
/// The label that ties an object to its database.
const DATABASE_LABEL: &str = kiven_data_services::cnpg::DATABASE_LABEL;

pub(crate) fn refuse(why: impl Into<String>) -> Problem {
    Problem::new(Code::AGENT_REFUSED, why).hint("The agent's guardrails do not allow it; see docs/security/guardrails.md.")
}

/// Judges a command as it comes over the wire: its relay, its size, and whether it can be read at all.
pub(crate) fn judge_wire(message: &kiven_proto::v1::Command, newest_epoch: u64) -> Result<Command, Problem> {
    if message.epoch < newest_epoch {
        return Err(refuse("the command comes from a relay whose epoch is over"));
    }
    if message.body.len() > COMMAND_BYTES_MAX {
        return Err(refuse("the command is too large"));
    }
    let command = serde_json::from_slice::<Command>(&message.body).map_err(|_| refuse("the command cannot be read"))?;
    if command.id != message.id || command.id.len() > ID_BYTES_MAX {
        return Err(refuse("the command's id is not the one that it was sent with, or too long"));
    }
    Ok(command)
}

/// Judges a command by itself: time, order, and permission.
pub(crate) fn judge(command: &Command, now: Timestamp, fence: u64) -> Result<(), Problem> {
    if now > command.not_after {
        return Err(Problem::new(Code::COMMAND_EXPIRED, format!("the command `{}` came too late", command.body.name())));
    }
    if command.fence < fence {
        return Err(refuse(format!("the command `{}` is of an older operation", command.body.name())));
    }
    if command.fence.saturating_sub(fence) > GROWTH_MAX {
        return Err(refuse(format!("the command `{}` is of an operation that cannot have come yet", command.body.name())));
    }
    match &command.body {
        CommandBody::Apply { objects, .. } if objects.len() > OBJECTS_MAX => Err(refuse("too many objects in one command")),
        CommandBody::Apply { objects, consent } => {
            consent.iter().try_for_each(|consent| judge_consent(command, consent))?;
            objects.iter().try_for_each(|object| judge_object(command, object))
        }
        CommandBody::EnsureSecrets { secrets } if secrets.len() > OBJECTS_MAX => Err(refuse("too many Secrets in one command")),
        CommandBody::EnsureSecrets { secrets } => secrets.iter().try_for_each(|secret| judge_request(command, secret)),
        CommandBody::Retire { consent, .. } | CommandBody::Purge { consent, .. } => judge_consent(command, consent),
        CommandBody::MoveComponent { component, version } => crate::upgrade::listed(*component, version).map(drop),
        CommandBody::Inspect
        | CommandBody::Release
        | CommandBody::Switchover { .. }
        | CommandBody::ReadCertificate { .. }
        | CommandBody::RenewCertificate { .. }
        | CommandBody::ArchiveWal { .. }
        | CommandBody::VerifyRevision { .. }
        | CommandBody::HandOver { .. }
        | CommandBody::Discard { .. }
        | CommandBody::TakeBackup { .. }
        | CommandBody::AwaitBackups { .. }
        | CommandBody::ReadLogs(_)
        | CommandBody::EndLogs { .. }
        | CommandBody::Unretire { .. } => Ok(()),
    }
}

/// A Secret carries its database's id in label and name, so that it is never one that somebody else's object reads.
fn judge_request(command: &Command, secret: &SecretRequest) -> Result<(), Problem> {
    belongs(command, secret.labels.get(DATABASE_LABEL).map(String::as_str))?;
    if secret.name.contains(&own_part(command)) { Ok(()) } else { Err(refuse("a Secret whose name is not its database's")) }
}

fn belongs(command: &Command, label: Option<&str>) -> Result<(), Problem> {
    match (&command.database_id, label) {
        (Some(id), Some(label)) if id.as_str() == label => Ok(()),
        _ => Err(refuse("an object of another database, or of none")),
    }
}

fn judge_consent(command: &Command, consent: &Consent) -> Result<(), Problem> {
    if command.database_id.as_ref() == Some(&consent.database_id) { Ok(()) } else { Err(refuse("the consent is another database's")) }
}

fn judge_object(command: &Command, object: &Value) -> Result<(), Problem> {
    let kind = object["kind"].as_str().unwrap_or("an object without kind");
    if crate::objects::applicable(object).is_none() {
        return Err(refuse(format!("{kind} is not a kind that commands may apply")));
    }
    if object["metadata"]["namespace"] != DATABASE_NAMESPACE {
        return Err(refuse(format!("{kind} outside of {DATABASE_NAMESPACE}")));
    }
    belongs(command, object["metadata"]["labels"][DATABASE_LABEL].as_str())?;
    judge_metadata(kind, &object["metadata"])?;
    judge_references(command, kind, &object["spec"])?;
    judge_shape(command, kind, object)
}

/// Names, labels and two annotations: marks of graces, owners and finalizers are the agent's and the cluster's own.
fn judge_metadata(kind: &str, metadata: &Value) -> Result<(), Problem> {
    const KEYS: [&str; 4] = ["name", "namespace", "labels", "annotations"];
    const ANNOTATIONS: [&str; 2] = [kiven_data_services::cnpg::MADE_BY, kiven_data_services::cnpg::HIBERNATION];
    let only = |value: &Value, allowed: &[&str]| value.as_object().is_none_or(|map| map.keys().all(|key| allowed.contains(&key.as_str())));
    if only(metadata, &KEYS) && only(&metadata["annotations"], &ANNOTATIONS) {
        Ok(())
    } else {
        Err(refuse(format!("{kind} with metadata that commands may not set")))
    }
}

/// A Cluster or archive that an object refers to is its own database's; nothing is declared absent.
fn judge_references(command: &Command, kind: &str, spec: &Value) -> Result<(), Problem> {
    let own = own_part(command);
    let references = [&spec["cluster"]["name"], &spec["plugins"][0]["parameters"]["barmanObjectName"]];
    if references.into_iter().filter_map(Value::as_str).any(|name| !name.contains(&own)) {
        return Err(refuse(format!("{kind} that refers to another database's objects")));
    }
    let roles = spec["managed"]["roles"].as_array().into_iter().flatten();
    let extensions = spec["extensions"].as_array().into_iter().flatten();
    if roles.chain(extensions).chain([spec]).any(|declared| declared["ensure"] == "absent") {
        return Err(refuse(format!("{kind} that drops something")));
    }
    Ok(())
}

/// Judges whether a Secret that is there is the one that was asked for, and not another database's of the same name.
pub(crate) fn judge_secret(current: &BTreeMap<String, String>, wanted: &SecretRequest) -> Result<(), Problem> {
    if current.get(DATABASE_LABEL) == wanted.labels.get(DATABASE_LABEL) {
        return Ok(());
    }
    Err(refuse(format!("Secret `{}` is not this database's", wanted.name)))
}

/// Judges what an object becomes by what it is: nothing shrinks, moves or changes its archive without a consent.
pub(crate) fn judge_transition(current: &Value, wanted: &Value, consent: bool) -> Result<(), Problem> {
    let kind = wanted["kind"].as_str().unwrap_or_default();
    if current["metadata"]["labels"][DATABASE_LABEL] != wanted["metadata"]["labels"][DATABASE_LABEL] {
        return Err(refuse(format!("{kind} `{}` is not this database's", wanted["metadata"]["name"].as_str().unwrap_or_default())));
    }
    let (is, becomes) = (&current["spec"], &wanted["spec"]);
    match kind {
        "Cluster" => judge_cluster(is, becomes, consent),
        "ObjectStore" if !consent && days(&becomes["retentionPolicy"]) < days(&is["retentionPolicy"]) => Err(refuse("a shorter retention")),
        "ObjectStore" if is["configuration"]["destinationPath"] != becomes["configuration"]["destinationPath"] => Err(refuse("another archive")),
        "Database" if is["name"] != becomes["name"] || becomes["ensure"] == "absent" => Err(refuse("a dropped database")),
        _ => Ok(()),
    }
}

/// Whether PostgreSQL runs and is to stop: not while a backup of it runs.
pub(crate) fn hibernates(current: &Value, wanted: &Value) -> bool {
    let asked = |object: &Value| object["metadata"]["annotations"][kiven_data_services::cnpg::HIBERNATION] == "on";
    wanted["kind"] == "Cluster" && asked(wanted) && !asked(current)
}

fn judge_cluster(is: &Value, becomes: &Value, consent: bool) -> Result<(), Problem> {
    // The last instance is the database itself: no consent is enough for none at all.
    let least = if consent { Some(1) } else { is["instances"].as_u64() };
    if becomes["instances"].as_u64() < least {
        return Err(refuse("fewer instances"));
    }
    if gibibytes(&becomes["storage"]["size"]) < gibibytes(&is["storage"]["size"])
        || is["storage"]["storageClass"] != becomes["storage"]["storageClass"]
    {
        return Err(refuse("smaller or other storage"));
    }
    if is["plugins"][0]["parameters"]["serverName"] != becomes["plugins"][0]["parameters"]["serverName"] {
        return Err(refuse("another server name in the archive"));
    }
    let roles = |spec: &Value| -> BTreeSet<String> {
        let all = spec["managed"]["roles"].as_array().into_iter().flatten();
        all.filter_map(|role| role["name"].as_str().map(str::to_owned)).collect()
    };
    if !roles(becomes).is_superset(&roles(is)) {
        return Err(refuse("dropped roles"));
    }
    // Another major is another generation; another AWS role or authority is another database.
    let kept = [
        ("/imageCatalogRef/major", "another major of PostgreSQL"),
        ("/serviceAccountTemplate", "another AWS role"),
        ("/certificates/serverCASecret", "another authority"),
    ];
    match kept.into_iter().find(|(pointer, _)| is.pointer(pointer).is_some() && is.pointer(pointer) != becomes.pointer(pointer)) {
        Some((_, why)) => Err(refuse(why)),
        None => Ok(()),
    }
}

fn days(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.strip_suffix('d')).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn gibibytes(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.strip_suffix("Gi")).and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "guardrails_tests.rs"]
mod tests;
