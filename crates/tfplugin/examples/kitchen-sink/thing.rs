//! `sink_thing`: the life of a managed resource with identity, private state, upgrades, moves, deferral and refusals.
use crate::shelf::Shelf;
use crate::thing_schema::schema;
use kiven_tfplugin::{Applied, Call, Deferred, Diagnostic, Diagnostics, IdentitySchema, ImportKey, MoveSource, Path, PlanRequest, Planned, RawState};
use kiven_tfplugin::{Read, Refinement, Resource, Schema, Type, Value, async_trait};
use std::sync::Arc;
use std::time::Duration;

/// The resource.
pub(crate) struct Thing(pub(crate) Arc<Shelf>);

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).as_str().unwrap_or_default()
}

fn id_of(name: &str) -> String {
    format!("thing-{name}")
}

/// What was planned with everything known that the plan left open.
fn settled(mut planned: Value, config: &Value) -> Value {
    let id = id_of(text(&planned, "name"));
    planned.set("cost", if text(&planned, "size") == "large" { 20 } else { 10 });
    if planned.get("secret_length").is_unknown() {
        let length = config.get("secret").as_str().and_then(|secret| i64::try_from(secret.len()).ok());
        planned.set("secret_length", length);
    }
    if planned.get("labels").is_unknown() {
        planned.set("labels", Value::Map([("made_by".to_owned(), "sink".into())].into()));
    }
    for (list, key) in [("rules", "port"), ("peers", "to")] {
        let number = |value: &Value| value.as_i64().map_or_else(|| value.as_str().unwrap_or_default().to_owned(), |number| number.to_string());
        let named = |mut item: Value| {
            let own = format!("{list}-{}", number(item.get(key)));
            item.set("id", own);
            item
        };
        let items = planned.get(list).clone();
        planned.set(
            list,
            match items {
                Value::List(items) => Value::List(items.into_iter().map(named).collect()),
                Value::Set(items) => Value::Set(items.into_iter().map(named).collect()),
                other => other,
            },
        );
    }
    planned.set("id", id);
    planned
}

/// How often it was changed, as text beside the state.
fn changes(private: &[u8]) -> u32 {
    std::str::from_utf8(private).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Thing {
    fn keep(&self, state: &Value, call: &Call) -> Result<(), Diagnostic> {
        let mut kept = state.clone();
        // A module's name is no attribute: it stands beside the object.
        if let Some(module) = call.meta.get("module").as_str() {
            self.0.put_bytes(&format!("{}.module", text(state, "id")), module.as_bytes())?;
        }
        kept.set("fail", Value::Null);
        self.0.put(text(state, "id"), &kept)
    }
}

#[async_trait]
impl Resource for Thing {
    fn schema(&self) -> Schema {
        schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(IdentitySchema::new(1).required("id", Type::String, "Its id."))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        match config.get("fail").as_str() {
            Some("validate") => Diagnostic::error("Asked to fail", "At validation.").at(Path::attribute("fail")).into(),
            _ => Diagnostics::none(),
        }
    }

    async fn plan(&self, request: PlanRequest, _: &Call) -> Planned {
        let PlanRequest { prior, mut proposed, config } = request;
        match config.get("fail").as_str() {
            Some("plan") => return Planned::with(proposed, Diagnostic::error("Asked to fail", "At plan.").at(Path::attribute("fail"))),
            Some("defer") => return Planned { deferred: Some(Deferred::AbsentPrerequisite), ..Planned::of(proposed) },
            _ => {}
        }
        if prior.is_null() {
            proposed.set(
                "id",
                match proposed.get("name").as_str() {
                    Some(name) => id_of(name).into(),
                    None => Value::from(Refinement::starting_with("thing-")),
                },
            );
        }
        Planned::of(proposed)
    }

    async fn plan_delete(&self, prior: &Value, _: &Call) -> Diagnostics {
        match prior.get("labels").get("keep").as_str() {
            Some("true") => Diagnostic::error("It is to be kept", "Its label `keep` says so.").at(Path::attribute("labels").key("keep")).into(),
            _ => Diagnostics::none(),
        }
    }

    async fn read(&self, state: Value, _: &Call) -> Read {
        let fail = state.get("fail").clone();
        match self.0.get(text(&state, "id"), &schema()) {
            Ok(mut found) => {
                found.set("fail", fail);
                Read::of(found)
            }
            Err(refused) => Read::with(state, refused),
        }
    }

    async fn create(&self, planned: Value, config: Value, call: &Call) -> Applied {
        let state = settled(planned, &config);
        match config.get("fail").as_str() {
            Some("create") => return Applied::with(Value::Null, Diagnostic::error("Asked to fail", "At create.")),
            #[expect(clippy::panic, reason = "what the framework does with a panic is what this shows")]
            Some("panic") => panic!("asked to panic"),
            Some("wait") => call.stop.cancelled().await,
            _ => {}
        }
        let pace = Duration::from_millis(config.get("pace_ms").as_i64().and_then(|pace| u64::try_from(pace).ok()).unwrap_or(0));
        tokio::select! {
            () = call.stop.cancelled() => {}
            () = tokio::time::sleep(pace) => {}
        }
        match self.keep(&state, call) {
            Ok(()) if call.stop.is_cancelled() => {
                Applied::with(state, Diagnostic::warning("The wait was interrupted", "It is there all the same.")).private(*b"0")
            }
            Ok(()) => Applied::of(state).private(*b"0"),
            Err(refused) => Applied::with(Value::Null, refused),
        }
    }

    async fn update(&self, prior: Value, planned: Value, config: Value, call: &Call) -> Applied {
        let state = settled(planned, &config);
        let count = changes(&call.private) + 1;
        match self.keep(&state, call).and_then(|()| self.0.put_bytes(&format!("{}.changes", text(&state, "id")), count.to_string().as_bytes())) {
            Ok(()) => Applied::of(state).private(count.to_string()),
            Err(refused) => Applied::with(prior, refused),
        }
    }

    async fn delete(&self, prior: Value, _: &Call) -> Applied {
        match self.0.remove(&format!("{}.json", text(&prior, "id"))) {
            Ok(()) => Applied::default(),
            Err(refused) => Applied::with(prior, refused),
        }
    }

    async fn import(&self, key: &ImportKey, _: &Call) -> Read {
        match self.0.get(key.text("id"), &schema()) {
            Ok(found) => Read::of(found),
            Err(refused) => Read::with(Value::Null, refused),
        }
    }

    fn upgrade(&self, version: i64, state: RawState<'_>, of: &Type) -> Result<Value, Diagnostic> {
        let wrong = |error: kiven_tfplugin::JsonError| Diagnostic::error("The state cannot be read", error.to_string());
        let mut value = state.read(of).map_err(wrong)?;
        if version == 0 {
            // What is a name now was a title.
            let json = state.json().map_err(wrong)?;
            value.set("name", json["title"].as_str().map(str::to_owned));
        }
        if value.get("size").is_null() {
            value.set("size", "small");
        }
        Ok(value)
    }

    fn upgrade_identity(&self, _: i64, identity: RawState<'_>, _: &Type) -> Result<Value, Diagnostic> {
        // What is an id now was a name.
        let json = identity.json().map_err(|error| Diagnostic::error("The identity cannot be read", error.to_string()))?;
        Ok(Value::object([("id", id_of(json["name"].as_str().unwrap_or_default()).into())]))
    }

    fn move_from(&self, source: &MoveSource<'_>, of: &Type) -> Option<Applied> {
        if source.type_name != "sink_old" || !source.provider.ends_with("/examples/sink") {
            return None;
        }
        Some(match source.state.read(of) {
            Ok(mut state) => {
                let id = id_of(text(&state, "name"));
                state.set("id", id);
                Applied::of(state).private(source.private)
            }
            Err(error) => Applied::with(Value::Null, Diagnostic::error("The state cannot be read", error.to_string())),
        })
    }
}
