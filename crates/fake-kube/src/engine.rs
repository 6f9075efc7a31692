//! The object store and its rules: versions, ownership, finalizers, garbage collection, history for watches.
use crate::disk::{Disk, Key};
use crate::error::ApiError;
use crate::kinds::{self, Kind};
use crate::object::{accept, confine, finalizers_left, holds_longer, is_deleting, new_uid, owners, settle_secret, text};
use crate::ownership::{self, Writer};
use crate::selector::Selector;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Changes kept for watches; an older version is answered with 410.
const HISTORY_MAX: usize = 4096;

/// The wall clock, as its owner gives it.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It began to match.
    Added,
    /// It changed.
    Modified,
    /// It went, or no longer matches.
    Deleted,
}

/// One change as a watch tells it.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// The object after the change, or as it last was.
    pub object: Arc<Value>,
}

struct Past {
    version: u64,
    plural: &'static str,
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
    last: Arc<Value>,
}

struct State {
    objects: BTreeMap<Key, Arc<Value>>,
    uids: HashMap<String, Key>,
    version: u64,
    history: VecDeque<Past>,
    disk: Option<Disk>,
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Value>>,
    pub(crate) version: u64,
    pub(crate) next: Option<String>,
}

pub(crate) struct Engine {
    state: Mutex<State>,
    tick: watch::Sender<u64>,
    clock: Clock,
}

/// Where a write goes and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) status: bool,
    pub(crate) manager: &'a str,
}

impl Target<'_> {
    fn key(&self) -> Key {
        let namespace = if self.kind.namespaced { self.namespace } else { "" };
        Key { plural: self.kind.plural, namespace: namespace.into(), name: self.name.into() }
    }

    fn missing(&self) -> ApiError {
        ApiError::NotFound { resource: self.kind.resource(), name: self.name.into() }
    }
}

impl Engine {
    pub(crate) fn new(disk: Option<(Disk, crate::disk::Loaded)>, clock: Clock) -> Self {
        let (disk, (objects, version)) = disk.map_or_else(|| (None, (Vec::new(), 1)), |(disk, loaded)| (Some(disk), loaded));
        let mut state = State { objects: BTreeMap::new(), uids: HashMap::new(), version, history: VecDeque::new(), disk };
        for (key, object) in objects {
            state.uids.insert(text(&object, "/metadata/uid").into(), key.clone());
            state.objects.insert(key, Arc::new(object));
        }
        Self { state: Mutex::new(state), tick: watch::Sender::new(version), clock }
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        (self.clock)()
    }

    fn stamp(&self) -> String {
        self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, state: MutexGuard<'_, State>) {
        let version = state.version;
        drop(state);
        self.tick.send_if_modified(|seen| std::mem::replace(seen, version) != version);
    }

    pub(crate) fn ticks(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    pub(crate) fn get(&self, target: Target<'_>) -> Result<Arc<Value>, ApiError> {
        self.lock().objects.get(&target.key()).cloned().ok_or_else(|| target.missing())
    }

    pub(crate) fn list(&self, kind: &Kind, namespace: Option<&str>, selector: &Selector, page: (usize, &str)) -> Page {
        let state = self.lock();
        let (limit, after) = page;
        let mut items: Vec<Arc<Value>> = Vec::new();
        let mut next = None;
        for (key, object) in state.of_kind(kind) {
            let place = format!("{}/{}", key.namespace, key.name);
            if namespace.is_some_and(|ns| ns != key.namespace) || !selector.matches(object) || place.as_str() <= after {
                continue;
            }
            if items.len() == limit {
                next = items.last().map(|last| format!("{}/{}", text(last, "/metadata/namespace"), text(last, "/metadata/name")));
                break;
            }
            items.push(object.clone());
        }
        Page { items, version: state.version, next }
    }

    pub(crate) fn create(&self, target: Target<'_>, mut object: Value) -> Result<Arc<Value>, ApiError> {
        let name = (!target.name.is_empty()).then_some(target.name);
        let name = accept(target.kind, target.namespace, name, &mut object)?;
        let now = self.stamp();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let bare = json!({ "apiVersion": object["apiVersion"] });
        let writer = Writer { manager: target.manager, status: false, now: &now };
        if target.kind.status
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        ownership::update(&bare, &mut object, writer);
        let mut state = self.lock();
        let made = state.insert(Target { name: &name, ..target }, object, &now)?;
        state.collect(&now)?;
        self.release(state);
        Ok(made)
    }

    /// Server-side apply: creates or merges. Answers whether the object is new.
    pub(crate) fn apply(&self, target: Target<'_>, mut wanted: Value, force: bool) -> Result<(Arc<Value>, bool), ApiError> {
        accept(target.kind, target.namespace, Some(target.name), &mut wanted)?;
        if wanted["metadata"].get("managedFields").is_some_and(|fields| fields.as_array().is_none_or(|list| !list.is_empty())) {
            return Err(ApiError::BadRequest("metadata.managedFields must be nil".into()));
        }
        if *target.kind == kinds::SECRETS {
            settle_secret(&mut wanted)?;
        }
        if let Some(map) = wanted.as_object_mut() {
            if target.status {
                map.retain(|key, _| ["apiVersion", "kind", "status"].contains(&key.as_str()));
            } else if target.kind.status {
                map.remove("status");
            }
        }
        let now = self.stamp();
        let writer = Writer { manager: target.manager, status: target.status, now: &now };
        let mut state = self.lock();
        let answer = match state.objects.get(&target.key()).cloned() {
            Some(live) => {
                let next = ownership::apply(&live, &wanted, writer, force)?;
                expect_unchanged(target, &live, &wanted)?;
                (state.replace(target, &live, next, &now)?, false)
            }
            None if target.status => return Err(target.missing()),
            None => {
                let made = ownership::apply(&json!({}), &wanted, writer, force)?;
                (state.insert(target, made, &now)?, true)
            }
        };
        state.collect(&now)?;
        self.release(state);
        Ok(answer)
    }

    /// Reads, changes and writes one object; a resource version in the changed object must be the live one.
    pub(crate) fn update(&self, target: Target<'_>, change: impl FnOnce(&Value) -> Result<Value, ApiError>) -> Result<Arc<Value>, ApiError> {
        let now = self.stamp();
        let mut state = self.lock();
        let live = state.objects.get(&target.key()).cloned().ok_or_else(|| target.missing())?;
        let mut next = change(&live)?;
        accept(target.kind, target.namespace, Some(target.name), &mut next)?;
        expect_unchanged(target, &live, &next)?;
        if *target.kind == kinds::SECRETS {
            settle_secret(&mut next)?;
        }
        let mut next = confine(target.kind, &live, next, target.status);
        ownership::update(&live, &mut next, Writer { manager: target.manager, status: target.status, now: &now });
        let changed = state.replace(target, &live, next, &now)?;
        state.collect(&now)?;
        self.release(state);
        Ok(changed)
    }

    /// Deletes now, or marks for deletion while finalizers are left.
    pub(crate) fn delete(&self, target: Target<'_>, options: &Value) -> Result<Arc<Value>, ApiError> {
        let now = self.stamp();
        let mut state = self.lock();
        let live = state.objects.get(&target.key()).cloned().ok_or_else(|| target.missing())?;
        for (wanted, have) in [("/preconditions/uid", "/metadata/uid"), ("/preconditions/resourceVersion", "/metadata/resourceVersion")] {
            if options.pointer(wanted).and_then(Value::as_str).is_some_and(|wanted| wanted != text(&live, have)) {
                return Err(conflict(target, "the precondition does not hold"));
            }
        }
        if options["propagationPolicy"] == "Orphan" {
            state.orphan(text(&live, "/metadata/uid"))?;
        }
        let answer = state.delete(&target.key(), &live, &now)?;
        state.collect(&now)?;
        self.release(state);
        Ok(answer)
    }

    /// Changes after a version that matter to a watch, and the version they lead to.
    pub(crate) fn changes_after(&self, kind: &Kind, namespace: Option<&str>, selector: &Selector, after: u64) -> Result<(Vec<Event>, u64), ApiError> {
        let state = self.lock();
        let oldest = state.history.front().map_or(state.version, |past| past.version - 1);
        if after < oldest {
            return Err(ApiError::Gone { asked: after, oldest });
        }
        let matches = |object: &Option<Arc<Value>>| {
            object.as_ref().is_some_and(|o| namespace.is_none_or(|ns| ns == text(o, "/metadata/namespace")) && selector.matches(o))
        };
        let skip = state.history.partition_point(|past| past.version <= after);
        let events = state.history.range(skip..).filter(|past| past.plural == kind.plural).filter_map(|past| {
            let change = match (matches(&past.before), matches(&past.after)) {
                (false, true) => Change::Added,
                (true, true) => Change::Modified,
                (true, false) => Change::Deleted,
                (false, false) => return None,
            };
            Some(Event { change, object: past.last.clone() })
        });
        Ok((events.collect(), state.version))
    }
}

fn conflict(target: Target<'_>, why: &str) -> ApiError {
    let message = format!("Operation cannot be fulfilled on {} \"{}\": {why}", target.kind.resource(), target.name);
    ApiError::Conflict { message, causes: Vec::new() }
}

fn expect_unchanged(target: Target<'_>, live: &Value, next: &Value) -> Result<(), ApiError> {
    for pointer in ["/metadata/resourceVersion", "/metadata/uid"] {
        let sent = text(next, pointer);
        if !sent.is_empty() && sent != text(live, pointer) {
            return Err(conflict(target, "the object has been modified; please apply your changes to the latest version"));
        }
    }
    Ok(())
}

impl State {
    fn of_kind<'a>(&'a self, kind: &Kind) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
        let plural = kind.plural;
        let first = Key { plural, namespace: String::new(), name: String::new() };
        self.objects.range(first..).take_while(move |(key, _)| key.plural == plural)
    }

    fn insert(&mut self, target: Target<'_>, mut object: Value, now: &str) -> Result<Arc<Value>, ApiError> {
        let key = target.key();
        if self.objects.contains_key(&key) {
            return Err(ApiError::AlreadyExists { resource: target.kind.resource(), name: key.name });
        }
        if target.kind.namespaced {
            let space = Target { kind: &kinds::NAMESPACES, namespace: "", name: target.namespace, ..target };
            let found = self.objects.get(&space.key()).ok_or_else(|| space.missing())?;
            if is_deleting(found) {
                return Err(ApiError::Forbidden(format!("namespace {} is being terminated", target.namespace)));
            }
        }
        if *target.kind == kinds::SECRETS {
            settle_secret(&mut object)?;
        }
        if *target.kind == kinds::NAMESPACES {
            object["status"] = json!({ "phase": "Active" });
        }
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(target.name);
        metadata["uid"] = json!(new_uid()?);
        metadata["creationTimestamp"] = json!(now);
        metadata["generation"] = json!(1);
        if let Some(map) = metadata.as_object_mut() {
            map.remove("deletionTimestamp");
        }
        self.commit(key, None, Some(object))
    }

    fn replace(&mut self, target: Target<'_>, live: &Arc<Value>, next: Value, now: &str) -> Result<Arc<Value>, ApiError> {
        let next = confine(target.kind, live, next, target.status);
        if holds_longer(live, &next) {
            let message = "no new finalizers can be added while the object is being deleted".to_owned();
            return Err(ApiError::Invalid { field: "metadata.finalizers", message });
        }
        if is_deleting(&next) && !finalizers_left(&next) {
            self.commit(target.key(), Some(live.clone()), None)?;
            self.release_namespace(target.namespace, now)?;
            return Ok(Arc::new(next));
        }
        if next == **live {
            return Ok(live.clone());
        }
        self.commit(target.key(), Some(live.clone()), Some(next))
    }

    fn delete(&mut self, key: &Key, live: &Arc<Value>, now: &str) -> Result<Arc<Value>, ApiError> {
        let holds = key.plural == kinds::NAMESPACES.plural && self.objects.keys().any(|other| other.namespace == key.name);
        if !finalizers_left(live) && !holds {
            self.commit(key.clone(), Some(live.clone()), None)?;
            self.release_namespace(&key.namespace, now)?;
            return Ok(live.clone());
        }
        let mut marked = (**live).clone();
        let answer = if is_deleting(live) {
            live.clone()
        } else {
            marked["metadata"]["deletionTimestamp"] = json!(now);
            if holds {
                marked["status"] = json!({ "phase": "Terminating" });
            }
            self.commit(key.clone(), Some(live.clone()), Some(marked))?
        };
        if holds {
            let inside: Vec<_> = self.objects.iter().filter(|(k, _)| k.namespace == key.name).map(|(k, o)| (k.clone(), o.clone())).collect();
            for (key, object) in inside {
                self.delete(&key, &object, now)?;
            }
        }
        Ok(answer)
    }

    /// Lets a namespace go that was only waiting for its last object.
    fn release_namespace(&mut self, namespace: &str, now: &str) -> Result<(), ApiError> {
        let key = Key { plural: kinds::NAMESPACES.plural, namespace: String::new(), name: namespace.into() };
        match self.objects.get(&key).cloned() {
            Some(live) if is_deleting(&live) && !self.objects.keys().any(|other| other.namespace == namespace) => {
                self.delete(&key, &live, now).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Removes references to an owner, so that its dependents stay when it goes.
    fn orphan(&mut self, uid: &str) -> Result<(), ApiError> {
        let owned: Vec<_> = self.objects.iter().filter(|(_, o)| owners(o).contains(&uid)).map(|(k, o)| (k.clone(), o.clone())).collect();
        for (key, live) in owned {
            let mut next = (*live).clone();
            if let Some(list) = next["metadata"]["ownerReferences"].as_array_mut() {
                list.retain(|owner| text(owner, "/uid") != uid);
            }
            self.commit(key, Some(live), Some(next))?;
        }
        Ok(())
    }

    /// Deletes what no longer has any owner. Ends because each round removes or marks an object.
    fn collect(&mut self, now: &str) -> Result<(), ApiError> {
        for _round in 0..=self.objects.len() {
            let lost = |object: &Value| {
                let owners = owners(object);
                !owners.is_empty() && !is_deleting(object) && owners.iter().all(|uid| !self.uids.contains_key(*uid))
            };
            let garbage: Vec<_> = self.objects.iter().filter(|(_, o)| lost(o)).map(|(k, o)| (k.clone(), o.clone())).collect();
            if garbage.is_empty() {
                break;
            }
            for (key, object) in garbage {
                self.delete(&key, &object, now)?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, key: Key, before: Option<Arc<Value>>, after: Option<Value>) -> Result<Arc<Value>, ApiError> {
        let version = self.version + 1;
        let mut last = match (&after, &before) {
            (Some(object), _) => object.clone(),
            (None, Some(object)) => (**object).clone(),
            (None, None) => return Err(ApiError::BadRequest("nothing to write".into())),
        };
        last["metadata"]["resourceVersion"] = json!(version.to_string());
        let last = Arc::new(last);
        let uid = text(&last, "/metadata/uid").to_owned();
        let plural = key.plural;
        if after.is_some() {
            self.disk.as_mut().map_or(Ok(()), |disk| disk.put(&key, &last, version))?;
            self.uids.insert(uid, key.clone());
            self.objects.insert(key, last.clone());
        } else {
            self.disk.as_mut().map_or(Ok(()), |disk| disk.remove(&key, version))?;
            self.uids.remove(&uid);
            self.objects.remove(&key);
        }
        self.version = version;
        let after = after.map(|_| last.clone());
        self.history.push_back(Past { version, plural, before, after, last: last.clone() });
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        Ok(last)
    }
}
