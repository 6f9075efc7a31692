//! `kiven_database`: create, read, change, destroy and import, with operations waited for.
use super::database_plan::Seen;
use super::database_schema::{Asked, power_word, schema, state_of};
use super::{conform, database_plan, done, found, no_environment, random, text};
use crate::diagnose::{failure, problem};
use crate::durations;
use crate::session::Shared;
use crate::wait::{Outcome, Patience, Unfinished};
use jiff::Timestamp;
use kiven_client::{Client, ClientError};
use kiven_model::api::DatabaseView;
use kiven_model::database::Power;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::OperationKind;
use kiven_model::{Code, DatabaseId, EnvironmentId, OperationId, Violation};
use kiven_tfplugin::{
    Applied, Call, Diagnostic, Diagnostics, IdentitySchema, ImportKey, PlanRequest, Planned, Read, Resource, Schema, Stop, Type, Value, async_trait,
};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// How often a destroy asks again because operations were in the way.
const DELETE_ATTEMPTS_MAX: u32 = 10;
/// The pace at which a destroy without grace looks whether the remains are gone.
const PURGE_POLL: Duration = Duration::from_millis(250);

/// The resource.
pub(crate) struct Database {
    session: Shared,
    /// The versions on offer by environment: a thousand databases of one environment ask once.
    offered: Mutex<BTreeMap<EnvironmentId, Vec<u32>>>,
}

fn id_of(text: &str) -> Result<DatabaseId, Diagnostic> {
    let wrong = |error: kiven_model::ids::IdError| Violation::new(Code::ID_INVALID, "id", error.to_string(), "Use the `id` of a kiven_database.");
    DatabaseId::parse(text).map_err(|error| crate::diagnose::violation(&schema(), &wrong(error)))
}

impl Database {
    pub(crate) fn new(session: Shared) -> Self {
        Self { session, offered: Mutex::default() }
    }

    /// The versions that the environment offers; empty when none is chosen now, or environment or API are not known yet.
    async fn offered(&self, config: &Value, chosen: bool) -> Result<Vec<u32>, Diagnostic> {
        let id = config.get("environment_id").as_str().filter(|_| chosen).and_then(|text| EnvironmentId::parse(text).ok());
        let (Some(client), Some(id)) = (self.session.get(), id) else { return Ok(Vec::new()) };
        let known = self.offered.lock().ok().and_then(|offered| offered.get(&id).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let versions = match client.environment_get(&id).await {
            Ok(view) => view.postgres_versions,
            Err(error) if error.not_found() => return Err(no_environment(&schema(), &id)),
            // Without an answer the version is checked at apply.
            Err(_) => return Ok(Vec::new()),
        };
        if let (Ok(mut offered), false) = (self.offered.lock(), versions.is_empty()) {
            offered.insert(id, versions.clone());
        }
        Ok(versions)
    }

    /// What a plan depends on besides the state: when the volumes last grew, asked only where they are to grow again, and when
    /// the schedule switches next, where something may be kept until then.
    async fn known(&self, prior: &Value, proposed: &Value) -> Option<DatabaseView> {
        let grows = proposed.get("storage_gb").as_i64() > prior.get("storage_gb").as_i64();
        let kept = database_plan::is_off(prior) && prior.get("schedule_id").as_str().is_some() && !proposed.same(prior);
        let id = DatabaseId::parse(prior.get("id").as_str().filter(|_| grows || kept)?).ok()?;
        // Without an answer the API says it at apply, before anything is changed.
        self.session.get()?.database_get(&id).await.ok()
    }

    async fn find(&self, id: &str, timeouts: &Value) -> Result<Value, Diagnostics> {
        let client = self.session.client()?;
        match client.database_claim(&id_of(id)?).await {
            Ok(view) if view.status.name_free() => Ok(Value::Null),
            Ok(view) => Ok(state_of(&view, timeouts)?),
            Err(error) if error.not_found() => Ok(Value::Null),
            Err(error) => Err(failure(&schema(), "Reading the database", &error)),
        }
    }

    async fn make(&self, planned: &Value, stop: &Stop) -> Result<Applied, Applied> {
        let none = |refused: Diagnostics| Applied::with(Value::Null, refused);
        let client = self.session.client().map_err(|refused| none(refused.into()))?;
        let id = DatabaseId::from_random(random().map_err(|refused| none(refused.into()))?);
        let patience = Patience::new(durations::of(planned, "create"), stop);
        let request = Asked::read(planned).request;
        let made = patience.ask(client, || client.database_put(&id, &request)).await;
        let view = made.map_err(|error| none(failure(&schema(), "Creating the database", &error)))?;
        let outcome = match view.operation_id.as_ref().filter(|_| !at_rest(&view)) {
            Some(operation) => patience.follow(client, operation).await,
            None => Outcome::Succeeded,
        };
        Ok(match outcome {
            // Undone: there is nothing, so nothing stays in the state, and the next apply begins anew.
            Outcome::Unwound(why) => Applied::with(Value::Null, problem(&why)),
            Outcome::Succeeded => switched(client, refreshed(client, view).await, planned, &patience).await,
            Outcome::Unfinished(why) => answer(&seen(client, view, &why).await, planned, Some(&why)),
        })
    }

    async fn change(&self, prior: &Value, planned: &Value, stop: &Stop) -> Result<Applied, Applied> {
        let refuse = |refused: Diagnostics| Applied::with(prior.clone(), refused);
        let client = self.session.client().map_err(|refused| refuse(refused.into()))?;
        let id = id_of(&text(prior, "id")).map_err(|refused| refuse(refused.into()))?;
        let patience = Patience::new(durations::of(planned, "update"), stop);
        let failed = |error: ClientError| refuse(failure(&schema(), "Changing the database", &error));

        let view = client.database_get(&id).await.map_err(failed)?;
        // What was unknown at plan may turn out to be a change that is refused.
        let (_, wrong) = database_plan::changes(prior, planned, view.storage_grown_at, now());
        if wrong.has_error() {
            return Err(refuse(wrong));
        }
        if let Some(operation) = view.operation_id.clone().filter(|_| view.status.moving()) {
            match patience.follow(client, &operation).await {
                Outcome::Unfinished(why) => return Ok(answer(&view, planned, Some(&why))),
                Outcome::Unwound(why) if view.status == DatabaseStatus::Provisioning => return Ok(Applied::with(Value::Null, problem(&why))),
                // A pause or resume that went back is no reason to give up: what is wanted is asked for again below.
                Outcome::Succeeded | Outcome::Unwound(_) => {}
            }
        }
        let request = Asked::read(planned).request;
        let view = patience.ask(client, || client.database_put(&id, &request)).await.map_err(failed)?;
        let (view, outcome) = power(client, view, planned, &patience).await.map_err(failed)?;
        Ok(match outcome {
            Outcome::Succeeded => answer(&refreshed(client, view).await, planned, None),
            Outcome::Unfinished(why) => answer(&seen(client, view, &why).await, planned, Some(&why)),
            Outcome::Unwound(why) => {
                let view = refreshed(client, view).await;
                let state = state_of(&view, planned.get("timeouts")).unwrap_or_else(|_| prior.clone());
                Applied::with(state, problem(&why))
            }
        })
    }

    async fn remove(&self, prior: &Value, stop: &Stop) -> Result<Applied, Diagnostics> {
        let client = self.session.client()?;
        let id = id_of(&text(prior, "id"))?;
        let patience = Patience::new(durations::of(prior, "delete"), stop);
        let failed = |error: ClientError| failure(&schema(), "Destroying the database", &error);
        for _ in 0..DELETE_ATTEMPTS_MAX {
            let error = match client.database_delete(&id).await {
                Ok(view) => return self.deleted(client, &id, view, prior, &patience).await,
                Err(error) => error,
            };
            // Whatever was refused: what is on its way out already needs no second delete.
            match client.database_get(&id).await {
                Ok(view) if view.status.name_free() => return self.deleted(client, &id, view, prior, &patience).await,
                Err(gone) if gone.not_found() => return Ok(Applied::default()),
                Ok(_) | Err(_) => {}
            }
            let Some(running) = error.running_operation().cloned() else { return Err(failed(error)) };
            make_way(client, &running).await;
            // A stuck operation is no longer in the way: delete is allowed from there.
            if let Outcome::Unfinished(why) = patience.follow(client, &running).await
                && !matches!(why, Unfinished::Stuck(_))
            {
                return Err(why.error(Some(&running)).into());
            }
        }
        let detail = format!("It was asked {DELETE_ATTEMPTS_MAX} times. See `kiven operations watch`, then destroy again.");
        Err(Diagnostic::error("Other operations kept the database from being destroyed", detail).into())
    }

    /// Waits until the grace has begun; where there is none, until nothing is left, so that the environment can go too.
    async fn deleted(
        &self,
        client: &Client,
        id: &DatabaseId,
        view: DatabaseView,
        prior: &Value,
        patience: &Patience<'_>,
    ) -> Result<Applied, Diagnostics> {
        let mut followed = None;
        if let Some(operation) = view.operation_id.clone().filter(|_| !view.status.name_free()) {
            match patience.follow(client, &operation).await {
                Outcome::Succeeded => followed = Some(operation),
                Outcome::Unwound(why) => return Err(problem(&why).into()),
                Outcome::Unfinished(why) => return Err(why.error(Some(&operation)).into()),
            }
        }
        if prior.get("deletion").get("grace_days").as_i64() != Some(0) {
            return Ok(Applied::default());
        }
        // Ends with the patience: every turn pauses.
        loop {
            let view = match client.database_get(id).await {
                Ok(view) if !view.status.gone() => view,
                Ok(_) => return Ok(Applied::default()),
                Err(error) if error.not_found() => return Ok(Applied::default()),
                Err(error) => return Ok(Applied::with(Value::Null, remains(&crate::diagnose::chain(&error)))),
            };
            if let Some(operation) = view.operation_id.filter(|operation| followed.as_ref() != Some(operation)) {
                if let Outcome::Unfinished(why) = patience.follow(client, &operation).await {
                    return Ok(Applied::with(Value::Null, why.warning(Some(&operation))));
                }
                followed = Some(operation);
            } else if !patience.pause(PURGE_POLL).await {
                return Ok(Applied::with(Value::Null, remains("the wait is over")));
            }
        }
    }
}

fn remains(why: &str) -> Diagnostic {
    Diagnostic::warning(
        "The database is deleted, its remains are still being removed",
        format!("Nobody waits for them: {why}. Its environment can go once they are gone."),
    )
}

/// A destroy while the database is being made takes it back instead of finishing it first.
async fn make_way(client: &Client, running: &OperationId) {
    let provisioning = client.operation_get(running).await.is_ok_and(|view| view.kind == OperationKind::Provision);
    if provisioning {
        // Past the point of no return it ends by itself, and is deleted then.
        if let Err(error) = client.operation_cancel(running).await {
            tracing::debug!(error = crate::diagnose::chain(&error), "not cancelled");
        }
    }
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "how long ago volumes grew is a question to the wall clock")]
    Timestamp::now()
}

/// Brings the power to what is planned, after a change that runs, and waits for that or for whatever else runs.
async fn power(client: &Client, mut view: DatabaseView, planned: &Value, patience: &Patience<'_>) -> Result<(DatabaseView, Outcome), ClientError> {
    if let Some(operation) = view.operation_id.clone().filter(|_| view.status == DatabaseStatus::Changing) {
        match patience.follow(client, &operation).await {
            Outcome::Succeeded => view = refreshed(client, view).await,
            unfinished => return Ok((view, unfinished)),
        }
    }
    let view = match planned.get("power").as_str() {
        Some(wanted) if !view.status.moving() && wanted != power_word(view.power_state) => {
            let id = view.id;
            if view.schedule_id.is_some() {
                // A pause by hand holds until the schedule's next boundary; only a whole request says what is declared.
                let request = Asked::read(planned).request;
                patience.ask(client, || client.database_put(&id, &request)).await?
            } else if wanted == power_word(Power::Off) {
                patience.ask(client, || client.database_pause(&id)).await?
            } else {
                patience.ask(client, || client.database_resume(&id)).await?
            }
        }
        Some(_) | None => view,
    };
    let outcome = match view.operation_id.as_ref().filter(|_| !at_rest(&view)) {
        Some(operation) => patience.follow(client, operation).await,
        None => Outcome::Succeeded,
    };
    Ok((view, outcome))
}

/// The answer to a create whose database is there. One that should be off is switched off now; when that fails the create
/// has not: the next plan shows the power that is.
async fn switched(client: &Client, view: DatabaseView, planned: &Value, patience: &Patience<'_>) -> Applied {
    let mut state = answer(&view, planned, None);
    let why = match power(client, view, planned, patience).await {
        Ok((view, Outcome::Succeeded)) if at_rest(&view) => return state,
        Ok((view, Outcome::Succeeded)) => return answer(&refreshed(client, view).await, planned, None),
        Ok((view, Outcome::Unfinished(why))) => return answer(&seen(client, view, &why).await, planned, Some(&why)),
        Ok((_, Outcome::Unwound(why))) => format!("{why}."),
        Err(error) => format!("{}.", crate::diagnose::chain(&error)),
    };
    state.diagnostics.push(Diagnostic::warning("The database was made but could not be switched off", why));
    state
}

/// Whether the database is where it should stay, so that there is nothing to wait for.
fn at_rest(view: &DatabaseView) -> bool {
    matches!(view.status, DatabaseStatus::Available | DatabaseStatus::Paused)
}

/// The database as it is now; where that cannot be read, as it was. The next refresh reads it.
async fn refreshed(client: &Client, view: DatabaseView) -> DatabaseView {
    match client.database_get(&view.id).await {
        Ok(view) => view,
        Err(error) => {
            tracing::warn!(error = crate::diagnose::chain(&error), "the database could not be read after its operation");
            view
        }
    }
}

/// The database as it is when nobody waits any longer. An interrupted Terraform gets its state at once.
async fn seen(client: &Client, view: DatabaseView, why: &Unfinished) -> DatabaseView {
    match why {
        Unfinished::Stuck(_) | Unfinished::TimedOut(_) => refreshed(client, view).await,
        Unfinished::Interrupted | Unfinished::Lost(_) => view,
    }
}

fn answer(view: &DatabaseView, planned: &Value, unfinished: Option<&Unfinished>) -> Applied {
    let warning = unfinished.map(|why| why.warning(view.operation_id.as_ref()));
    match state_of(view, planned.get("timeouts")) {
        Ok(state) => Applied::with(conform(&state, planned), warning.into_iter().collect::<Diagnostics>()),
        Err(refused) => Applied::with(Value::Null, refused),
    }
}

#[async_trait]
impl Resource for Database {
    fn schema(&self) -> Schema {
        schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(IdentitySchema::new(0).required("id", Type::String, "The database's id."))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        database_plan::check(config, &[])
    }

    async fn plan(&self, request: PlanRequest, _: &Call) -> Planned {
        let PlanRequest { prior, proposed, config } = request;
        let version = config.get("postgres_version");
        let chosen = prior.is_null() || (!version.is_null() && version != prior.get("postgres_version"));
        let offered = match self.offered(&config, chosen).await {
            Ok(offered) => offered,
            Err(refused) => return Planned::with(proposed, refused),
        };
        let (state, diagnostics) = if prior.is_null() {
            database_plan::create(&config, proposed, &offered)
        } else {
            let known = self.known(&prior, &proposed).await;
            let (grown_at, next_switch) = known.map_or((None, None), |view| (view.storage_grown_at, view.next_switch));
            let seen = Seen { offered: &offered, grown_at, next_switch, now: now() };
            database_plan::update(&prior, &config, proposed, &seen)
        };
        Planned::with(state, diagnostics)
    }

    async fn plan_delete(&self, prior: &Value, _: &Call) -> Diagnostics {
        if prior.get("deletion_protection").as_bool() != Some(true) {
            return Diagnostics::none();
        }
        let hint = "Set `deletion_protection = false`, apply, then destroy.";
        let message = format!("the database `{}` is protected from deletion", text(prior, "name"));
        let violation = Violation::new(Code::DELETION_PROTECTED, "deletion_protection", message, hint);
        crate::diagnose::violation(&schema(), &violation).into()
    }

    async fn read(&self, state: Value, _: &Call) -> Read {
        found(self.find(&text(&state, "id"), state.get("timeouts")).await, state)
    }

    async fn create(&self, planned: Value, _: Value, call: &Call) -> Applied {
        done(self.make(&planned, &call.stop).await)
    }

    async fn update(&self, prior: Value, planned: Value, _: Value, call: &Call) -> Applied {
        done(self.change(&prior, &planned, &call.stop).await)
    }

    async fn delete(&self, prior: Value, call: &Call) -> Applied {
        self.remove(&prior, &call.stop).await.unwrap_or_else(|refused| Applied::with(prior, refused))
    }

    async fn import(&self, key: &ImportKey, _: &Call) -> Read {
        found(self.find(key.text("id"), &Value::Null).await, Value::Null)
    }
}
