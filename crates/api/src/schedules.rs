//! Power schedules: made, changed, removed; and what they decided.
use crate::App;
use crate::answer::{Answer, Failure, body, missing};
use crate::auth::Caller;
use crate::extract::Path;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kiven_model::api::{DatabaseView, ScheduleView};
use kiven_model::database::Database;
use kiven_model::schedule::{PowerEvent, Schedule, ScheduleRequest, ScheduleSpec, ScheduledPower};
use kiven_model::{Code, DatabaseId, Problem, ScheduleId, Violation};
use kiven_ports::{Clock, PortError, Ports, Records, Write};
use std::collections::{BTreeMap, BTreeSet};

/// How often a change is tried against records that change: its databases' ticks write them too.
const ATTEMPTS_MAX: u32 = 5;
/// Records read at the same time.
const READS_AT_ONCE: usize = 16;

impl<P: Ports> App<P> {
    async fn schedule(&self, caller: &Caller, id: &str) -> Answer<Schedule> {
        let parsed = ScheduleId::parse(id).map_err(|_| missing("schedule", id))?;
        let found = self.ports.records().schedule_get(&parsed).await?;
        found.filter(|schedule| schedule.organization_id == caller.organization_id).ok_or_else(|| missing("schedule", id))
    }

    /// The databases of these ids that are the caller's. One by one: lists lag behind a database that has just been made.
    async fn own_databases(&self, caller: &Caller, ids: &[DatabaseId]) -> Answer<BTreeMap<DatabaseId, Database>> {
        let reads = stream::iter(ids.to_vec()).map(|id| async move { self.ports.records().database_get(&id).await });
        let found: Vec<Option<Database>> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        let own = found.into_iter().flatten().filter(|database| database.organization_id == caller.organization_id);
        Ok(own.map(|database| (database.id.clone(), database)).collect())
    }

    async fn powers(&self, ids: BTreeSet<DatabaseId>) -> Answer<BTreeMap<DatabaseId, ScheduledPower>> {
        let reads = stream::iter(ids).map(|id| async move { self.ports.records().scheduled_power_get(&id).await });
        let found: Vec<Option<ScheduledPower>> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().map(|power| (power.database_id.clone(), power)).collect())
    }

    /// The schedule that a database follows.
    pub(crate) async fn schedule_of(&self, database: &DatabaseId) -> Answer<Option<Schedule>> {
        match self.ports.records().scheduled_power_get(database).await? {
            Some(power) => Ok(self.ports.records().schedule_get(&power.schedule_id).await?),
            None => Ok(None),
        }
    }

    /// A database as it is answered, with its schedule.
    pub(crate) async fn viewed(&self, database: &Database) -> Answer<DatabaseView> {
        let schedule = self.schedule_of(&database.id).await?;
        Ok(DatabaseView::of(database).scheduled(schedule.as_ref(), self.ports.clock().now()))
    }

    /// Databases as they are listed, with their schedules.
    pub(crate) async fn listed(&self, caller: &Caller, databases: impl Iterator<Item = &Database>) -> Answer<Vec<DatabaseView>> {
        let (schedules, now) = (self.ports.records().schedule_list(&caller.organization_id).await?, self.ports.clock().now());
        let by_database: BTreeMap<&DatabaseId, &Schedule> =
            schedules.iter().flat_map(|schedule| schedule.spec.database_ids.iter().map(move |id| (id, schedule))).collect();
        Ok(databases.map(|database| DatabaseView::of(database).scheduled(by_database.get(&database.id).copied(), now)).collect())
    }
}

/// `GET /v1/schedules`
pub(crate) async fn list<P: Ports>(State(app): State<App<P>>, caller: Caller) -> Answer<Json<Vec<ScheduleView>>> {
    let (records, now) = (app.ports.records(), app.ports.clock().now());
    let schedules = records.schedule_list(&caller.organization_id).await?;
    let databases: BTreeMap<DatabaseId, Database> =
        records.database_list(&caller.organization_id).await?.into_iter().map(|database| (database.id.clone(), database)).collect();
    let view = |schedule: &Schedule| ScheduleView::of(schedule, schedule.spec.database_ids.iter().filter_map(|id| databases.get(id)), now);
    Ok(Json(schedules.iter().map(view).collect()))
}

/// `GET /v1/schedules/{id}`
pub(crate) async fn show<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<ScheduleView>> {
    let schedule = app.schedule(&caller, &id).await?;
    let databases = app.own_databases(&caller, &schedule.spec.database_ids).await?;
    Ok(Json(ScheduleView::of(&schedule, databases.values(), app.ports.clock().now())))
}

/// `GET /v1/databases/{id}/power-events`
pub(crate) async fn power_events<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Vec<PowerEvent>>> {
    let database = app.database(&caller, &id).await?;
    Ok(Json(app.ports.records().power_events(&database.id).await?))
}

/// `PUT /v1/schedules/{id}`
pub(crate) async fn put<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<Json<ScheduleView>> {
    let id = ScheduleId::parse(&id).map_err(|e| {
        Problem::new(Code::ID_INVALID, e.to_string()).hint("Make a new id of this form; Terraform and the client do it by themselves.")
    })?;
    let mut spec = body::<ScheduleRequest>(bytes)?.validate().map_err(Problem::from)?.into_inner();
    let databases = app.own_databases(&caller, &spec.database_ids).await?;
    let unusable: Vec<(DatabaseId, Violation)> = (0..).zip(&spec.database_ids).filter_map(|(i, id)| unusable(i, id, databases.get(id))).collect();
    // Their order says nothing: the same set is always the same schedule.
    spec.database_ids.sort();
    for _ in 0..ATTEMPTS_MAX {
        let change = Change::read(&app, &caller, &id, &spec).await?;
        change.refuse_unusable(&unusable)?;
        change.refuse_others(&databases)?;
        let (record, writes) = change.writes(app.ports.clock().now());
        if !writes.is_empty() {
            match app.ports.records().records_commit(writes).await {
                Ok(()) => {}
                // A tick, or somebody else: looked at again, and then refused if it was another schedule.
                Err(PortError::Conflict(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(Json(ScheduleView::of(&record, databases.values(), app.ports.clock().now())));
    }
    Err(PortError::Conflict(format!("schedule {id}")).into())
}

/// Why a database cannot join a schedule.
fn unusable(index: usize, id: &DatabaseId, known: Option<&Database>) -> Option<(DatabaseId, Violation)> {
    let why = match known {
        Some(database) if database.status.name_free() => format!("the database {id} is {}", database.status),
        Some(_) => return None,
        None => format!("there is no database {id} in this organization"),
    };
    let hint = "Use the `id` of a kiven_database that lives.";
    Some((id.clone(), Violation::new(Code::SCHEDULE_DATABASES_INVALID, format!("database_ids.{index}"), why, hint)))
}

/// A schedule as it is and as it is wanted, with what is remembered of every database of either.
struct Change<'a> {
    caller: &'a Caller,
    id: &'a ScheduleId,
    known: Option<Schedule>,
    wanted: &'a ScheduleSpec,
    powers: BTreeMap<DatabaseId, ScheduledPower>,
}

impl<'a> Change<'a> {
    async fn read<P: Ports>(app: &App<P>, caller: &'a Caller, id: &'a ScheduleId, wanted: &'a ScheduleSpec) -> Answer<Self> {
        let known = app.ports.records().schedule_get(id).await?;
        if known.as_ref().is_some_and(|known| known.organization_id != caller.organization_id) {
            return Err(missing("schedule", id.as_str()));
        }
        let before = known.iter().flat_map(|known| &known.spec.database_ids);
        let all: BTreeSet<DatabaseId> = before.chain(&wanted.database_ids).cloned().collect();
        let powers = app.powers(all).await?;
        Ok(Self { caller, id, known, wanted, powers })
    }

    /// What is not the caller's, or gone, cannot join. One that went while it followed the schedule is no reason to refuse.
    fn refuse_unusable(&self, unusable: &[(DatabaseId, Violation)]) -> Answer<()> {
        let follows = |id: &DatabaseId| self.powers.get(id).is_some_and(|power| power.schedule_id == *self.id);
        let refused: Vec<Violation> = unusable.iter().filter(|(id, _)| !follows(id)).map(|(_, violation)| violation.clone()).collect();
        if refused.is_empty() { Ok(()) } else { Err(Problem::from(refused).into()) }
    }

    /// A database follows one schedule; the first that has it keeps it.
    fn refuse_others(&self, databases: &BTreeMap<DatabaseId, Database>) -> Answer<()> {
        let other = self.wanted.database_ids.iter().filter_map(|id| self.powers.get(id)).find(|power| power.schedule_id != *self.id);
        let Some(other) = other else { return Ok(()) };
        let name = databases.get(&other.database_id).map_or(other.database_id.to_string(), |database| database.spec.name.to_string());
        Err(taken(&name, &other.schedule_id))
    }

    /// What changes, for one transaction; nothing when it is so already.
    fn writes(&self, now: Timestamp) -> (Schedule, Vec<Write>) {
        let record = match &self.known {
            Some(known) if known.spec == *self.wanted => return (known.clone(), Vec::new()),
            Some(known) => Schedule { spec: self.wanted.clone(), updated_at: now, version: known.version + 1, ..known.clone() },
            None => Schedule {
                id: self.id.clone(),
                organization_id: self.caller.organization_id.clone(),
                spec: self.wanted.clone(),
                created_at: now,
                updated_at: now,
                version: 1,
            },
        };
        // Only who is on it has changed: for those that stay, nothing has.
        let same_calendar = self.known.as_ref().is_some_and(|known| {
            ScheduleSpec { database_ids: Vec::new(), ..known.spec.clone() } == ScheduleSpec { database_ids: Vec::new(), ..self.wanted.clone() }
        });
        let mut writes = vec![Write::Schedule { record: Box::new(record.clone()), expected: self.known.as_ref().map(|known| known.version) }];
        for id in &self.wanted.database_ids {
            match self.powers.get(id) {
                Some(_) if same_calendar => {}
                Some(power) => {
                    let expected = Some(power.version);
                    writes.push(Write::ScheduledPower { record: Box::new(power.clone().rescheduled(now)), expected });
                }
                None => writes.push(Write::ScheduledPower { record: Box::new(ScheduledPower::joined(&record, id.clone(), now)), expected: None }),
            }
        }
        let leaving = self.powers.values().filter(|power| power.schedule_id == *self.id && !self.wanted.database_ids.contains(&power.database_id));
        writes.extend(leaving.map(leaves));
        (record, writes)
    }
}

fn leaves(power: &ScheduledPower) -> Write {
    Write::ScheduledPowerGone { id: power.database_id.clone(), expected: power.version }
}

fn taken(database: &str, schedule: &ScheduleId) -> Failure {
    let message = format!("the database `{database}` follows the schedule {schedule} already");
    let hint = format!("Take it out of that schedule first, or take that schedule over: `terraform import kiven_power_schedule.NAME {schedule}`.");
    let violation = Violation::new(Code::IN_ANOTHER_SCHEDULE, "database_ids", message, hint);
    Failure(Problem::from(vec![violation]).detail("Nothing was changed."))
}

/// `DELETE /v1/schedules/{id}`: power stays as it is.
pub(crate) async fn delete<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    for _ in 0..ATTEMPTS_MAX {
        let schedule = app.schedule(&caller, &id).await?;
        let powers = app.powers(schedule.spec.database_ids.iter().cloned().collect()).await?;
        let mut writes = vec![Write::ScheduleGone { id: schedule.id.clone(), expected: schedule.version }];
        writes.extend(powers.values().filter(|power| power.schedule_id == schedule.id).map(leaves));
        match app.ports.records().records_commit(writes).await {
            Ok(()) => return Ok(StatusCode::NO_CONTENT),
            Err(PortError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PortError::Conflict(format!("schedule {id}")).into())
}
