//! The cluster's own warnings about a database's objects: their reasons, never their messages. Watched, and not kept.
use crate::objects::{api, resource};
use crate::watch::World;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kiven_model::event::Happening;
use kiven_model::names::DATABASE_NAMESPACE;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The reasons that say something about a database. Others repeat what its objects show, or are none of Kiven's business.
const REASONS: [&str; 9] = [
    "FailedScheduling",
    "FailedAttachVolume",
    "FailedMount",
    "FailedCreatePodSandBox",
    "VolumeResizeFailed",
    "FileSystemResizeFailed",
    "ProvisioningFailed",
    "Evicted",
    "FailedCreate",
];
/// The same reason of the same object is told once in so long.
const QUIET: SignedDuration = SignedDuration::from_mins(15);
/// Most objects and reasons that are remembered; beyond it the oldest is forgotten, and may be told again.
const REMEMBERED_MAX: usize = 256;
/// Events in one page of a list.
const PAGE: u32 = 100;

/// What was told, and when.
#[derive(Default)]
struct Told(BTreeMap<(String, String), Timestamp>);

impl Told {
    /// Whether this is to be told now; remembered if so.
    fn again(&mut self, object: &str, reason: &str, now: Timestamp) -> bool {
        let key = (object.to_owned(), reason.to_owned());
        if self.0.get(&key).is_some_and(|at| *at + QUIET > now) {
            return false;
        }
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(key, now);
        true
    }
}

/// What a warning is about and its reason, if it is one that is told and not older than the watch.
fn read(event: &Value, since: Timestamp) -> Option<(String, String, String)> {
    let reason = event["reason"].as_str().filter(|reason| REASONS.contains(reason))?;
    let last = [&event["lastTimestamp"], &event["eventTime"], &event["firstTimestamp"], &event["metadata"]["creationTimestamp"]];
    let at: Timestamp = last.into_iter().find_map(Value::as_str)?.parse().ok()?;
    let about = &event["involvedObject"];
    let (kind, name) = (about["kind"].as_str()?, about["name"].as_str()?);
    (event["type"] == "Warning" && at >= since).then(|| (name.to_owned(), format!("{kind} {name}"), reason.to_owned()))
}

/// Watches for as long as the process lives. Without the right to it, or where the API server has no events, nothing is told.
pub(crate) async fn watch(world: Arc<World>) {
    let (since, mut told) = (crate::now(), Told::default());
    let events = api(world.client(), DATABASE_NAMESPACE, &resource("", "v1", "Event", "events"));
    let config = watcher::Config::default().fields("type=Warning").page_size(PAGE);
    let mut stream = std::pin::pin!(watcher(events, config).default_backoff().applied_objects());
    while let Some(event) = stream.next().await {
        let event: DynamicObject = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, kind = "Event", "watch interrupted");
                continue;
            }
        };
        let Ok(value) = serde_json::to_value(&event) else { continue };
        let Some((name, object, reason)) = read(&value, since) else { continue };
        if told.again(&object, &reason, crate::now()) {
            world.tell_of(&name, Happening::Warning { object, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, reason: &str, at: &str) -> Value {
        json!({ "type": kind, "reason": reason, "lastTimestamp": at, "message": "secret", "involvedObject": { "kind": "Pod", "name": "c-1" } })
    }

    #[test]
    fn only_known_reasons_are_told_and_nothing_from_before() {
        let since: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let told = |event: &Value| read(event, since).map(|(_, object, reason)| format!("{object} {reason}"));
        assert_eq!(told(&event("Warning", "FailedMount", "2027-01-01T00:00:01Z")).as_deref(), Some("Pod c-1 FailedMount"));
        assert_eq!(told(&event("Warning", "FailedMount", "2026-12-31T00:00:01Z")), None);
        assert_eq!(told(&event("Normal", "FailedMount", "2027-01-01T00:00:01Z")), None);
        assert_eq!(told(&event("Warning", "Unhealthy", "2027-01-01T00:00:01Z")), None);
        assert_eq!(told(&json!({})), None);
    }

    #[test]
    fn what_repeats_is_told_once_in_a_while_and_memory_is_bounded() {
        let (mut told, now) = (Told::default(), Timestamp::UNIX_EPOCH);
        assert!(told.again("a", "x", now) && !told.again("a", "x", now) && told.again("a", "y", now));
        assert!(told.again("a", "x", now + QUIET));
        (0..2 * REMEMBERED_MAX).for_each(|n| assert!(told.again(&n.to_string(), "x", now + QUIET * 2)));
        assert_eq!(told.0.len(), REMEMBERED_MAX);
    }
}
