//! `kiven_power_schedule`: when databases are on. Changed in place, never replaced; what it does is no drift on its databases.
use super::{conform, done, random, text, value_of};
use crate::diagnose::{failure, violation, violations};
use crate::session::Shared;
use kiven_client::ClientError;
use kiven_model::api::ScheduleView;
use kiven_model::schedule::{ExceptionRequest, HoursRequest, ScheduleRequest, ScheduleSpec, WindowRequest};
use kiven_model::{Code, DatabaseId, ScheduleId, Valid, Violation};
use kiven_tfplugin::{
    Applied, Attr, Call, Diagnostic, Diagnostics, IdentitySchema, ImportKey, Nesting, PlanRequest, Planned, Read, Resource, Schema, Type, Value,
    async_trait,
};

/// What decides when databases are on; the next times follow from it and from the clock.
const CALENDAR: [&str; 5] = ["time_zone", "windows", "exceptions", "ready_by", "enabled"];

/// The resource.
pub(crate) struct PowerSchedule(pub(crate) Shared);

fn schema() -> Schema {
    let windows = vec![
        Attr::set("days", Type::String).required().describe("The days on which it begins: `mon` to `sun`."),
        Attr::string("start").required().describe("`HH:MM`, from `00:00` to `23:59`."),
        Attr::string("end").required().describe("`HH:MM`, or `24:00`. Before the start it is on the next day."),
    ];
    let hours = vec![
        Attr::string("start").required().describe("`HH:MM`, from `00:00` to `23:59`."),
        Attr::string("end").required().describe("`HH:MM`, or `24:00`. Before the start it is on the next day."),
    ];
    let exceptions = vec![
        Attr::string("date").required().describe("`YYYY-MM-DD`."),
        Attr::nested("on", Nesting::Single, hours).optional().describe("On in these hours. Left out, nothing begins on that date."),
    ];
    let ready_by = "Whether a resume begins early enough to be over when its window starts, from how long the database's own resumes took. \
                    `false` by default.";
    let database_ids = "The databases that follow it, 49 at most. A database is in one schedule at most.";
    let zone = "A name of the IANA database such as `Europe/Paris`. A time that a change of the clocks skips is the first instant after it; one that \
                happens twice is its first occurrence for a start and its last for an end.";
    Schema::new(0)
        .describe(
            "When databases are on. Between its windows they are paused: data safe, no compute cost. What people do by hand, or with `power`, \
             holds until the next time a window opens or closes. Destroying or disabling a schedule leaves the power as it is.",
        )
        .attr(Attr::string("id").computed().describe("The schedule's id, for life."))
        .attr(Attr::set("database_ids", Type::String).required().describe(database_ids))
        .attr(Attr::string("time_zone").required().describe(zone))
        .attr(Attr::nested("windows", Nesting::List, windows).required().describe("When the databases are on. Windows may touch, not overlap."))
        .attr(Attr::nested("exceptions", Nesting::List, exceptions).optional().describe("Dates that go otherwise."))
        .attr(Attr::bool("ready_by").optional().computed().describe(ready_by))
        .attr(Attr::bool("enabled").optional().computed().describe("While `false` the schedule does nothing. `true` by default."))
        .attr(Attr::string("next_on").computed().describe("The next time a window opens, in UTC. It moves with time and is never a change."))
        .attr(Attr::string("next_off").computed().describe("The next time a window closes, in UTC. It moves with time and is never a change."))
        .attr(Attr::number("hours_per_week").computed().describe("Hours of being on in a regular week."))
        .attr(Attr::number("savings_percent").computed().describe("How much of the compute cost a regular week saves."))
        .attr(Attr::number("savings_usd_per_month").computed().describe("The same in USD a month, all its databases together, at most."))
}

fn texts(value: &Value) -> Vec<String> {
    let mut all: Vec<String> = value.as_items().unwrap_or_default().iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    all.sort();
    all
}

/// The request of a configuration or plan; what is unknown is left out.
fn request_of(value: &Value) -> ScheduleRequest {
    let window = |one: &Value| WindowRequest { days: texts(one.get("days")), start: text(one, "start"), end: text(one, "end") };
    let hours = |one: &Value| one.as_members().map(|_| HoursRequest { start: text(one, "start"), end: text(one, "end") });
    let exception = |one: &Value| ExceptionRequest { date: text(one, "date"), on: hours(one.get("on")) };
    let items = |name: &str| value.get(name).as_items().unwrap_or_default().iter();
    ScheduleRequest {
        database_ids: texts(value.get("database_ids")),
        time_zone: text(value, "time_zone"),
        windows: items("windows").map(window).collect(),
        exceptions: items("exceptions").map(exception).collect(),
        ready_by: value.get("ready_by").as_bool(),
        enabled: value.get("enabled").as_bool(),
    }
}

/// Every violation of what is known. Its databases are usually made in the same apply, so a stand-in takes their place.
fn check(config: &Value) -> Result<Valid<ScheduleSpec>, Diagnostics> {
    let mut request = request_of(config);
    if !config.get("database_ids").is_wholly_known() {
        request.database_ids = vec![DatabaseId::from_random([0; 16]).to_string()];
    }
    let root = |one: &Violation| one.field.split('.').next().unwrap_or_default().to_owned();
    request.validate().map_err(|wrong| {
        let known: Vec<Violation> = wrong.into_iter().filter(|one| config.get(&root(one)).is_wholly_known()).collect();
        violations(&schema(), &known)
    })
}

fn id_of(text: &str) -> Result<ScheduleId, Diagnostic> {
    let hint = "Use the `id` of a kiven_power_schedule.";
    ScheduleId::parse(text).map_err(|error| violation(&schema(), &Violation::new(Code::ID_INVALID, "id", error.to_string(), hint)))
}

/// The state of a schedule as the API describes it. Without exceptions it stays as it is written: none, or an empty list.
fn state_of(view: &ScheduleView, written: &Value) -> Result<Value, Diagnostic> {
    let mut state = value_of(&schema(), view)?;
    if view.spec.exceptions.is_empty() && written.get("exceptions").as_items().is_none() {
        state.set("exceptions", Value::Null);
    }
    Ok(state)
}

/// Puts what follows from the configuration into the plan; what follows from the clock too is known after apply.
fn fill(prior: &Value, config: &Value, proposed: &mut Value, spec: Option<&ScheduleSpec>) {
    for (name, default) in [("ready_by", false), ("enabled", true)] {
        if config.get(name).is_null() {
            proposed.set(name, default);
        }
    }
    let changed = |name: &str| prior.is_null() || !proposed.get(name).same(prior.get(name));
    let (calendar, windows) = (CALENDAR.into_iter().any(changed), changed("windows"));
    let (members, known) = (changed("database_ids"), config.get("windows").is_wholly_known());
    if calendar {
        proposed.set("next_on", Value::Unknown);
        proposed.set("next_off", Value::Unknown);
    }
    if windows || members {
        proposed.set("savings_usd_per_month", Value::Unknown);
    }
    if windows {
        let of = |value: fn(&ScheduleSpec) -> f64| spec.filter(|_| known).map_or(Value::Unknown, |spec| value(spec).into());
        proposed.set("hours_per_week", of(ScheduleSpec::hours_per_week));
        proposed.set("savings_percent", of(ScheduleSpec::savings_percent));
    }
}

impl PowerSchedule {
    /// A database that is known and in another schedule is refused now; one that is not known yet is at apply.
    async fn refuse_others(&self, own: &str, config: &Value) -> Diagnostics {
        let Some(client) = self.0.get() else { return Diagnostics::none() };
        let wanted = texts(config.get("database_ids"));
        // Without an answer it is checked at apply.
        let Ok(schedules) = client.schedule_list().await else { return Diagnostics::none() };
        let others = schedules.iter().filter(|schedule| schedule.id.as_str() != own);
        let taken = others.flat_map(|schedule| schedule.spec.database_ids.iter().map(move |database| (schedule, database)));
        let told = taken.filter(|(_, database)| wanted.iter().any(|id| id == database.as_str())).map(|(schedule, database)| {
            let message = format!("the database {database} follows the schedule {} already", schedule.id);
            let hint = format!(
                "Take it out of that schedule first, or take that schedule over: `terraform import kiven_power_schedule.NAME {}`.",
                schedule.id
            );
            violation(&schema(), &Violation::new(Code::IN_ANOTHER_SCHEDULE, "database_ids", message, hint))
        });
        told.collect()
    }

    async fn find(&self, id: &str, written: &Value) -> Result<Value, Diagnostics> {
        match self.0.client()?.schedule_get(&id_of(id)?).await {
            Ok(view) => Ok(state_of(&view, written)?),
            Err(error) if error.not_found() => Ok(Value::Null),
            Err(error) => Err(failure(&schema(), "Reading the schedule", &error)),
        }
    }

    /// Makes or changes it. `kept` is the state when it is refused: null for a create.
    async fn put(&self, id: ScheduleId, kept: &Value, planned: &Value) -> Result<Applied, Applied> {
        let refuse = |refused: Diagnostics| Applied::with(kept.clone(), refused);
        let client = self.0.client().map_err(|refused| refuse(refused.into()))?;
        let failed = |error: ClientError| refuse(failure(&schema(), "Setting the schedule", &error));
        let view = client.schedule_put(&id, &request_of(planned)).await.map_err(failed)?;
        let state = state_of(&view, planned).map_err(|refused| refuse(refused.into()))?;
        Ok(Applied::of(conform(&state, planned)))
    }

    async fn remove(&self, prior: &Value) -> Result<Applied, Diagnostics> {
        match self.0.client()?.schedule_delete(&id_of(&text(prior, "id"))?).await {
            Ok(()) => Ok(Applied::default()),
            Err(error) if error.not_found() => Ok(Applied::default()),
            Err(error) => Err(failure(&schema(), "Destroying the schedule", &error)),
        }
    }
}

#[async_trait]
impl Resource for PowerSchedule {
    fn schema(&self) -> Schema {
        schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(IdentitySchema::new(0).required("id", Type::String, "The schedule's id."))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        check(config).err().unwrap_or_default()
    }

    async fn plan(&self, request: PlanRequest, _: &Call) -> Planned {
        let PlanRequest { prior, mut proposed, config } = request;
        let spec = match check(&config) {
            Err(wrong) if wrong.has_error() => return Planned::with(proposed, wrong),
            spec => spec.ok(),
        };
        fill(&prior, &config, &mut proposed, spec.as_deref());
        let joins = !proposed.get("database_ids").same(prior.get("database_ids"));
        let diagnostics = if joins { self.refuse_others(&text(&prior, "id"), &config).await } else { Diagnostics::none() };
        Planned::with(proposed, diagnostics)
    }

    async fn read(&self, state: Value, _: &Call) -> Read {
        match self.find(&text(&state, "id"), &state).await {
            Ok(found) => Read::of(found),
            Err(refused) => Read::with(state, refused),
        }
    }

    async fn create(&self, planned: Value, _: Value, _: &Call) -> Applied {
        match random() {
            Ok(bits) => done(self.put(ScheduleId::from_random(bits), &Value::Null, &planned).await),
            Err(refused) => Applied::with(Value::Null, refused),
        }
    }

    async fn update(&self, prior: Value, planned: Value, _: Value, _: &Call) -> Applied {
        match id_of(&text(&prior, "id")) {
            Ok(id) => done(self.put(id, &prior, &planned).await),
            Err(refused) => Applied::with(prior, refused),
        }
    }

    async fn delete(&self, prior: Value, _: &Call) -> Applied {
        self.remove(&prior).await.unwrap_or_else(|refused| Applied::with(prior, refused))
    }

    async fn import(&self, key: &ImportKey, _: &Call) -> Read {
        match self.find(key.text("id"), &Value::Null).await {
            Ok(found) => Read::of(found),
            Err(refused) => Read::with(Value::Null, refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(day: &str, start: &str, end: &str) -> Value {
        Value::object([("days", Value::Set(vec![day.into()])), ("start", start.into()), ("end", end.into())])
    }

    fn config(windows: Vec<Value>) -> Value {
        let mut config = Value::Object(schema().names().map(|name| (name.to_owned(), Value::Null)).collect());
        config.set("database_ids", Value::Unknown);
        config.set("time_zone", "Europe/Paris");
        config.set("windows", Value::List(windows));
        config
    }

    fn planned(prior: &Value, config: &Value) -> Value {
        let mut proposed = if prior.is_null() { config.clone() } else { prior.clone() };
        if prior.is_null() {
            schema().mark_unknown(&mut proposed, config);
        }
        for name in ["database_ids", "time_zone", "windows"] {
            proposed.set(name, config.get(name).clone());
        }
        let spec = check(config).unwrap();
        fill(prior, config, &mut proposed, Some(&spec));
        proposed
    }

    #[test]
    fn what_is_wrong_is_on_its_attribute_and_what_is_unknown_is_not_judged() {
        let found = |config: &Value| -> Vec<String> {
            let wrong = check(config).err().unwrap_or_default();
            wrong.iter().map(|one| format!("{} {}", &one.summary[..6], one.path.as_ref().unwrap())).collect()
        };
        assert_eq!(found(&config(vec![window("mon", "08:00", "18:00")])), Vec::<String>::new());
        assert_eq!(found(&config(vec![window("mon", "08:00", "18:00"), window("mon", "17:00", "19:00")])), ["KV-127 windows"]);
        assert_eq!(found(&config(vec![window("monday", "8", "24:00")])), ["KV-126 windows", "KV-126 windows"]);
        let mut wrong = config(vec![]);
        wrong.set("time_zone", "CEST");
        wrong.set("windows", Value::Unknown);
        assert_eq!(found(&wrong), ["KV-125 time_zone"]);
        wrong.set("time_zone", Value::Unknown);
        assert_eq!(found(&wrong), Vec::<String>::new());
    }

    #[test]
    fn a_plan_knows_what_follows_from_the_windows_and_nothing_moves_by_itself() {
        let config = config(vec![window("mon", "08:00", "18:00")]);
        let made = planned(&Value::Null, &config);
        assert_eq!(made.get("hours_per_week"), &Value::from(10.0));
        assert_eq!((made.get("enabled").as_bool(), made.get("ready_by").as_bool()), (Some(true), Some(false)));
        assert!(["id", "next_on", "next_off", "savings_usd_per_month"].iter().all(|name| made.get(name).is_unknown()));
        let mut state = made;
        for name in ["id", "next_on", "next_off", "savings_usd_per_month"] {
            state.set(name, "known");
        }
        state.set("database_ids", Value::Set(vec!["db_1".into()]));
        let mut same = config.clone();
        same.set("database_ids", Value::Set(vec!["db_1".into()]));
        let mut proposed = state.clone();
        fill(&state, &same, &mut proposed, None);
        assert!(proposed.same(&state), "nothing has changed: {proposed:?}");
        proposed.set("database_ids", Value::Set(vec!["db_2".into()]));
        fill(&state, &same, &mut proposed, None);
        assert!(proposed.get("savings_usd_per_month").is_unknown() && proposed.get("next_on").as_str() == Some("known"));
    }
}
