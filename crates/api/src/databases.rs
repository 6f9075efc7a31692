//! Databases: made or adopted, powered, protected, destroyed.
use crate::App;
use crate::answer::{Answer, Failure, body, missing};
use crate::auth::Caller;
use crate::extract::{Path, Query};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use jiff::Timestamp;
use kiven_model::api::{DatabaseRequest, DatabaseView};
use kiven_model::database::{Database, DatabaseSpec, Power};
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::event::DatabaseEvent;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::OperationKind;
use kiven_model::{Code, DatabaseId, EnvironmentId, OperationId, Problem, change, request};
use kiven_operations::{accept_database, accept_undelete};
use kiven_ports::{Agents, Clock, NameClaim, PortError, Ports, Random, Records, Write};
use serde::Deserialize;

/// How often a change is decided against records that change.
const ATTEMPTS_MAX: u32 = 3;

type Viewed = (StatusCode, Json<DatabaseView>);

fn view(status: StatusCode, database: &Database) -> Viewed {
    (status, Json(DatabaseView::of(database)))
}

/// Filters of the list.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only databases of this environment.
    environment_id: Option<EnvironmentId>,
    /// Only the database of this name.
    name: Option<String>,
}

/// How a database is read.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    /// Says that a client now knows it: no create of the same name adopts it any more. Without effect for viewers.
    #[serde(default)]
    claim: bool,
}

impl<P: Ports> App<P> {
    /// Reads a database of the caller's organization.
    pub(crate) async fn database(&self, caller: &Caller, id: &str) -> Answer<Database> {
        let parsed = DatabaseId::parse(id).map_err(|_| missing("database", id))?;
        let found = self.ports.records().database_get(&parsed).await?;
        found.filter(|database| database.organization_id == caller.organization_id).ok_or_else(|| missing("database", id))
    }

    async fn answered(&self, status: StatusCode, database: &Database) -> Answer<Viewed> {
        Ok((status, Json(self.viewed(database).await?)))
    }

    /// Accepts an operation and rings for it.
    async fn start(&self, caller: &Caller, environment: &Environment, database: Database, kind: OperationKind) -> Answer<Database> {
        let id = OperationId::from_random(self.ports.random().bits());
        let expected = Some(database.version);
        let accepted = accept_database(environment, database, expected, kind, id, &caller.actor, self.ports.clock().now())?;
        self.ports.records().records_commit(accepted.writes).await?;
        self.ring(&accepted.operation.id).await;
        Ok(accepted.record)
    }
}

/// `GET /v1/databases`
pub(crate) async fn list<P: Ports>(State(app): State<App<P>>, caller: Caller, Query(filter): Query<Filter>) -> Answer<Json<Vec<DatabaseView>>> {
    let databases = app.ports.records().database_list(&caller.organization_id).await?;
    let wanted = |database: &&Database| {
        !database.status.gone()
            && filter.environment_id.as_ref().is_none_or(|id| database.spec.environment_id == *id)
            && filter.name.as_deref().is_none_or(|name| database.spec.name.as_str() == name)
    };
    Ok(Json(app.listed(&caller, databases.iter().filter(wanted)).await?))
}

/// `GET /v1/databases/{id}`; with `?claim=true` it can no longer be adopted by another create.
pub(crate) async fn show<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(reading): Query<Reading>,
) -> Answer<Json<DatabaseView>> {
    let database = app.database(&caller, &id).await?;
    if reading.claim && caller.may_more().is_ok() && !database.claimed && database.status != DatabaseStatus::Provisioning {
        let expected = Some(database.version);
        let claimed = Database { claimed: true, version: database.version + 1, ..database.clone() };
        match app.ports.records().records_commit(vec![Write::Database { record: Box::new(claimed), expected }]).await {
            // Somebody else changed it meanwhile: the next read claims it.
            Ok(()) | Err(PortError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(app.viewed(&database).await?))
}

/// `PUT /v1/databases/{id}`
pub(crate) async fn put<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<Viewed> {
    let id = DatabaseId::parse(&id).map_err(|e| {
        Problem::new(Code::ID_INVALID, e.to_string()).hint("Make a new id of this form; Terraform and the client do it by themselves.")
    })?;
    let mut asked: DatabaseRequest = body(bytes)?;
    // What is wrong by itself is said before anything is looked up.
    request::database(&asked, &[]).map_err(Problem::from)?;
    let environment = app.environment(&caller, &asked.environment_id).await?;
    let known = app.ports.records().database_get(&id).await?;
    if let Some(known) = known.as_ref().filter(|known| known.organization_id == caller.organization_id).cloned() {
        asked.postgres_version = asked.postgres_version.or(Some(known.spec.postgres_version));
        asked.storage_gb = asked.storage_gb.or_else(|| change::kept_storage_gb(&known.spec, &asked.plan));
        let wanted = request::database(&asked, &[]).map_err(Problem::from)?.into_inner();
        let id = known.id.clone();
        // What was read just now is decided about first; only where it has changed meanwhile it is read again.
        return match update(&app, &caller, known, wanted.clone()).await {
            Err(Failure(problem)) if problem.code == Code::UNAVAILABLE => anew(|| updated(&app, &caller, &id, &wanted)).await,
            answer => answer,
        };
    }
    // Asked before it is said whether the id is another organization's: whoever may not create learns nothing of it.
    caller.may_more()?;
    if known.is_some() {
        return Err(missing("database", id.as_str()));
    }
    let spec = request::database(&asked, environment.postgres_versions()).map_err(Problem::from)?.into_inner();
    create(&app, &caller, &environment, id, spec).await
}

async fn create<P: Ports>(app: &App<P>, caller: &Caller, environment: &Environment, id: DatabaseId, spec: DatabaseSpec) -> Answer<Viewed> {
    let claim = NameClaim::Database(environment.id.clone(), spec.name.to_string());
    if let Some(owner) = app.ports.records().name_owner(&claim).await? {
        return adopt(app, caller, &owner, &spec).await;
    }
    if environment.status != EnvironmentStatus::Connected {
        let problem =
            Problem::new(Code::ENVIRONMENT_NOT_READY, format!("environment `{}` is {}", environment.spec.name, environment.status.as_str()));
        return Err(problem.hint("Apply its kiven_environment_connection first and wait until it is connected.").into());
    }
    let now = app.ports.clock().now();
    let database = Database::asked(id, caller.organization_id.clone(), spec.clone(), now);
    let operation = OperationId::from_random(app.ports.random().bits());
    let accepted = accept_database(environment, database, None, OperationKind::Provision, operation, &caller.actor, now)?;
    let mut writes = accepted.writes;
    writes.push(Write::NameTaken { claim: claim.clone(), owner: accepted.record.id.to_string() });
    match app.ports.records().records_commit(writes).await {
        Ok(()) => {}
        Err(PortError::Conflict(what)) => match app.ports.records().name_owner(&claim).await? {
            Some(owner) => return adopt(app, caller, &owner, &spec).await,
            None => return Err(PortError::Conflict(what).into()),
        },
        Err(error) => return Err(error.into()),
    }
    app.ring(&accepted.operation.id).await;
    Ok(view(StatusCode::ACCEPTED, &accepted.record))
}

/// The name is taken: by a create whose answer never arrived, or by a database that somebody knows.
async fn adopt<P: Ports>(app: &App<P>, caller: &Caller, owner: &str, wanted: &DatabaseSpec) -> Answer<Viewed> {
    let known = app.database(caller, owner).await?;
    let lives = matches!(
        known.status,
        DatabaseStatus::Provisioning
            | DatabaseStatus::Available
            | DatabaseStatus::Pausing
            | DatabaseStatus::Paused
            | DatabaseStatus::Resuming
            | DatabaseStatus::Changing
    );
    let unclaimed = lives && (known.status == DatabaseStatus::Provisioning || !known.claimed);
    if unclaimed && known.spec == *wanted {
        return Ok(view(if known.status.moving() { StatusCode::ACCEPTED } else { StatusCode::OK }, &known));
    }
    let problem = Problem::new(Code::NAME_TAKEN, format!("a database named `{}` exists in this environment already", wanted.name));
    Err(problem.hint(format!("Choose another name, or take it over: `terraform import kiven_database.NAME {owner}`.")).into())
}

async fn updated<P: Ports>(app: &App<P>, caller: &Caller, id: &DatabaseId, wanted: &DatabaseSpec) -> Answer<Viewed> {
    update(app, caller, app.database(caller, id.as_str()).await?, wanted.clone()).await
}

async fn update<P: Ports>(app: &App<P>, caller: &Caller, known: Database, wanted: DatabaseSpec) -> Answer<Viewed> {
    if known.status.name_free() {
        return Err(gone(&known));
    }
    let now = app.ports.clock().now();
    let applied = known.applied.as_ref().unwrap_or(&known.spec);
    let change = change::change(applied, &wanted, known.storage_grown_at, now).map_err(Problem::from)?;
    let as_safe = known.spec.deletion_protection == wanted.deletion_protection && known.spec.deletion == wanted.deletion;
    if change.is_some() || !as_safe || known.spec.maintenance() != wanted.maintenance() {
        caller.may_more()?;
    }
    // Power is written by the operation that changes it.
    let spec = DatabaseSpec { power: known.spec.power, ..wanted.clone() };
    if change.is_some() && known.status == DatabaseStatus::Available {
        let environment = app.environment(caller, known.spec.environment_id.as_str()).await?;
        let started = app.start(caller, &environment, wanting(known, spec, now), OperationKind::Change).await?;
        return app.answered(StatusCode::ACCEPTED, &started).await;
    }
    let declared = known.spec.power;
    let known = if known.spec == spec { known } else { kept(app, known, spec).await? };
    if declared == wanted.power && (known.switched_by_schedule || app.schedule_of(&known.id).await?.is_some()) {
        // Said again, not said anew: power is the schedule's, even one that is gone, or of whoever acted after it.
        return app.answered(if known.status.moving() { StatusCode::ACCEPTED } else { StatusCode::OK }, &known).await;
    }
    power(app, caller, known, wanted.power, wanted.power).await
}

/// Records what needs no operation now: only that changes beside one, and a database that is off keeps everything until it is resumed.
async fn kept<P: Ports>(app: &App<P>, known: Database, spec: DatabaseSpec) -> Answer<Database> {
    let now = app.ports.clock().now();
    let asleep = matches!(known.status, DatabaseStatus::Paused | DatabaseStatus::Stuck);
    if !asleep && change::change(&known.spec, &spec, None, now).map_err(Problem::from)?.is_some() {
        return Err(running(&known));
    }
    let expected = Some(known.version);
    let record = wanting(known, spec, now);
    let record = Database { version: record.version + 1, updated_at: now, ..record };
    app.ports.records().records_commit(vec![Write::Database { record: Box::new(record.clone()), expected }]).await?;
    Ok(record)
}

/// Decides again when a record has changed between look and write, as when an operation ends at this moment.
async fn anew<T, F: Future<Output = Answer<T>>>(decide: impl Fn() -> F) -> Answer<T> {
    for _ in 1..ATTEMPTS_MAX {
        match decide().await {
            Err(Failure(problem)) if problem.code == Code::UNAVAILABLE => {}
            answer => return answer,
        }
    }
    decide().await
}

/// A pause or a resume by hand. In a schedule it holds until the next boundary, so that what is declared stays.
async fn by_hand<P: Ports>(app: &App<P>, caller: &Caller, id: &str, wanted: Power) -> Answer<Viewed> {
    let known = app.database(caller, id).await?;
    let declared = if app.schedule_of(&known.id).await?.is_some() { known.spec.power } else { wanted };
    power(app, caller, known, wanted, declared).await
}

/// Nothing to switch: that a person wants it so is recorded where somebody may want it otherwise.
async fn noted<P: Ports>(app: &App<P>, known: Database, declared: Power) -> Answer<Database> {
    let follows = app.ports.records().scheduled_power_get(&known.id).await?.is_some();
    if !follows && !known.switched_by_schedule && known.spec.power == declared {
        return Ok(known);
    }
    let (expected, now) = (Some(known.version), app.ports.clock().now());
    let spec = DatabaseSpec { power: declared, ..known.spec.clone() };
    let record = Database { spec, last_manual_at: Some(now), switched_by_schedule: false, version: known.version + 1, updated_at: now, ..known };
    app.ports.records().records_commit(vec![Write::Database { record: Box::new(record.clone()), expected }]).await?;
    Ok(record)
}

/// Brings power to what is wanted, and records what is declared; nothing is switched when it is there, or on its way.
async fn power<P: Ports>(app: &App<P>, caller: &Caller, known: Database, wanted: Power, declared: Power) -> Answer<Viewed> {
    let kind = match (wanted, known.status) {
        (Power::On, DatabaseStatus::Available) | (Power::Off, DatabaseStatus::Paused) => {
            return app.answered(StatusCode::OK, &noted(app, known, declared).await?).await;
        }
        (Power::On, DatabaseStatus::Resuming | DatabaseStatus::Provisioning | DatabaseStatus::Changing) | (Power::Off, DatabaseStatus::Pausing) => {
            return app.answered(StatusCode::ACCEPTED, &noted(app, known, declared).await?).await;
        }
        (_, status) if status.moving() => return Err(running(&known)),
        (_, status) if status.name_free() => return Err(gone(&known)),
        // Never handed over: there is nothing to resume or to pause, only to delete.
        _ if known.connection.is_none() => return Err(never_provisioned(&known)),
        (Power::On, _) => OperationKind::Resume,
        (Power::Off, _) => OperationKind::Pause,
    };
    let environment = app.environment(caller, known.spec.environment_id.as_str()).await?;
    let spec = DatabaseSpec { power: declared, ..known.spec.clone() };
    let started = app.start(caller, &environment, Database { spec, ..known }, kind).await?;
    app.answered(StatusCode::ACCEPTED, &started).await
}

fn running(database: &Database) -> Failure {
    let problem = Problem::new(Code::OPERATION_RUNNING, format!("database `{}` is {}", database.spec.name, database.status));
    let problem = problem.hint("Wait for the running operation, then try again.");
    Failure(database.operation_id.clone().map_or(problem.clone(), |id| problem.operation(id)))
}

fn never_provisioned(database: &Database) -> Failure {
    let problem = Problem::new(Code::WRONG_STATE, format!("database `{}` was never fully provisioned", database.spec.name));
    let why = database.problem.as_ref().map(ToString::to_string).unwrap_or_default();
    Failure(problem.detail(why).hint("Destroy it and create it again; nothing was ever stored in it."))
}

fn gone(database: &Database) -> Failure {
    Failure(Problem::new(Code::WRONG_STATE, format!("database `{}` is {}", database.spec.name, database.status)))
}

/// `POST /v1/databases/{id}/pause`
pub(crate) async fn pause<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Viewed> {
    anew(|| by_hand(&app, &caller, &id, Power::Off)).await
}

/// `POST /v1/databases/{id}/resume`
pub(crate) async fn resume<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Viewed> {
    anew(|| by_hand(&app, &caller, &id, Power::On)).await
}

/// `POST /v1/databases/{id}/undelete`
pub(crate) async fn undelete<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Viewed> {
    let known = app.database(&caller, &id).await?;
    if known.status == DatabaseStatus::Undeleting {
        return Ok(view(StatusCode::ACCEPTED, &known));
    }
    let records = app.ports.records();
    let purge = match &known.operation_id {
        Some(operation) if known.status == DatabaseStatus::Grace => records.operation_get(operation).await?,
        _ => None,
    };
    let Some(purge) = purge else {
        let problem = Problem::new(Code::WRONG_STATE, format!("database `{}` is {}, not in its grace", known.spec.name, known.status));
        return Err(problem.hint("Only a deleted database whose grace lasts can be brought back.").into());
    };
    let claim = NameClaim::Database(known.spec.environment_id.clone(), known.spec.name.to_string());
    let taken = |owner: Option<String>| owner.filter(|owner| owner != known.id.as_str()).map(|owner| name_taken(&known, &owner));
    if let Some(problem) = taken(records.name_owner(&claim).await?) {
        return Err(problem.into());
    }
    let environment = app.environment(&caller, known.spec.environment_id.as_str()).await?;
    let operation = OperationId::from_random(app.ports.random().bits());
    let accepted = accept_undelete(&environment, known.clone(), purge, operation, &caller.actor, app.ports.clock().now())?;
    match records.records_commit(accepted.writes).await {
        Ok(()) => {}
        Err(PortError::Conflict(what)) => {
            let problem = taken(records.name_owner(&claim).await?);
            return Err(problem.map_or_else(|| PortError::Conflict(what).into(), Failure::from));
        }
        Err(error) => return Err(error.into()),
    }
    app.ring(&accepted.operation.id).await;
    Ok(view(StatusCode::ACCEPTED, &accepted.record))
}

fn name_taken(database: &Database, owner: &str) -> Problem {
    let problem = Problem::new(Code::NAME_TAKEN, format!("the name `{}` has been taken by database `{owner}` meanwhile", database.spec.name));
    problem.hint("A database keeps its name for life: delete the other one first, and undelete this one before its grace ends.")
}

/// The database with another wish; where its maintenance window moves, the next one counts.
fn wanting(known: Database, spec: DatabaseSpec, now: Timestamp) -> Database {
    let moved = known.spec.maintenance() != spec.maintenance();
    let mut database = Database { spec, ..known };
    if moved {
        database.maintenance_planned(now);
    }
    database
}

/// Maintenance by hand: at any time, on a database that is up and that nothing else is done to.
async fn maintain<P: Ports>(app: &App<P>, caller: &Caller, id: &str, kind: OperationKind) -> Answer<Viewed> {
    let known = app.database(caller, id).await?;
    match known.status {
        status if status.moving() => return Err(running(&known)),
        DatabaseStatus::Available => {}
        _ => return Err(gone(&known)),
    }
    let environment = app.environment(caller, known.spec.environment_id.as_str()).await?;
    let started = app.start(caller, &environment, known, kind).await?;
    app.answered(StatusCode::ACCEPTED, &started).await
}

/// `POST /v1/databases/{id}/patch-nodes`
pub(crate) async fn patch_nodes<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Viewed> {
    anew(|| maintain(&app, &caller, &id, OperationKind::PatchNodes)).await
}

/// `POST /v1/databases/{id}/rotate-certificates`
pub(crate) async fn rotate_certificates<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Viewed> {
    anew(|| maintain(&app, &caller, &id, OperationKind::RotateCertificates)).await
}

/// `DELETE /v1/databases/{id}`
pub(crate) async fn delete<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Viewed> {
    anew(|| deleted(&app, &caller, &id)).await
}

async fn deleted<P: Ports>(app: &App<P>, caller: &Caller, id: &str) -> Answer<Viewed> {
    let known = app.database(caller, id).await?;
    if known.status.name_free() || known.status == DatabaseStatus::Deleting {
        return Ok(view(StatusCode::ACCEPTED, &known));
    }
    if known.spec.deletion_protection {
        let problem = Problem::new(Code::DELETION_PROTECTED, format!("database `{}` is protected from deletion", known.spec.name));
        return Err(problem.hint("Set `deletion_protection = false` and apply, then destroy.").into());
    }
    match (known.status, &known.operation_id) {
        // First cancelled, then, when that has ended or it was too late for it, deleted: the caller follows and asks again.
        (DatabaseStatus::Provisioning, Some(operation)) => {
            match app.cancel(caller, operation.as_str()).await {
                Ok(_) => {}
                Err(Failure(problem)) if problem.code == Code::NOT_CANCELLABLE => {}
                Err(failure) => return Err(failure),
            }
            Err(running(&known))
        }
        (status, _) if status.moving() => Err(running(&known)),
        _ => {
            let environment = app.environment(caller, known.spec.environment_id.as_str()).await?;
            let started = app.start(caller, &environment, known, OperationKind::Delete).await?;
            Ok(view(StatusCode::ACCEPTED, &started))
        }
    }
}

/// `GET /v1/databases/{id}/events`
pub(crate) async fn events<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Vec<DatabaseEvent>>> {
    let database = app.database(&caller, &id).await?;
    Ok(Json(app.ports.agents().event_list(&database.id).await?))
}
