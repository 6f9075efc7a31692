//! A small API in memory: the model's own rules and views, operations that end after a few looks.
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use kiven_model::api::{Backend, DatabaseView, EnvironmentView, Me, OperationView, PlanView, ScheduleView};
use kiven_model::database::{Connection, Database, DatabaseSpec, Power};
use kiven_model::enrolment::{AgentTokenView, agent_token_text};
use kiven_model::environment::{Connected, Environment, EnvironmentStatus};
use kiven_model::lifecycle::{Event, next};
use kiven_model::operation::{Operation, OperationKind, OperationStatus, Subject};
use kiven_model::organization::Role;
use kiven_model::plan::PlanName;
use kiven_model::report::AgentFacts;
use kiven_model::schedule::{Schedule, ScheduleRequest};
use kiven_model::{Code, DatabaseId, EnvironmentId, OperationId, OrganizationId, Problem, ScheduleId, Valid, Violation, request};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// How often an operation is looked at before it ends.
const LOOKS: u32 = 2;

#[derive(Default)]
pub struct World {
    pub environments: BTreeMap<EnvironmentId, Environment>,
    pub databases: BTreeMap<DatabaseId, Database>,
    pub schedules: BTreeMap<ScheduleId, Schedule>,
    operations: BTreeMap<OperationId, (Operation, u32)>,
    /// What time it is, in hours since 1970: what follows from it moves.
    pub hours: i64,
    /// While set, operations stay where they are.
    pub hold: bool,
    /// The next operation fails and is undone.
    pub unwind_next: bool,
    /// The next operation gets stuck.
    pub stick_next: bool,
    /// Agents' tokens by id: those that hold, and every one that was ever made.
    pub agent_tokens: BTreeMap<String, String>,
    pub agent_tokens_made: Vec<String>,
    made: u8,
}

#[derive(Clone)]
pub struct Fake {
    pub world: Arc<Mutex<World>>,
    /// Counts changes, so that a test can wait for one.
    pub changed: Arc<watch::Sender<u64>>,
    pub endpoint: String,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { world: Arc::default(), changed: Arc::new(watch::channel(0).0), endpoint };
        let app = Router::new().fallback(any(handle)).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap())
    }
    /// The one database.
    pub fn database(&self) -> Database {
        self.with(|world| world.databases.values().next().unwrap().clone())
    }
}

type Answer = Result<Response, Problem>;

async fn handle(State(fake): State<Fake>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let path = parts.uri.path().trim_start_matches("/v1/").to_owned();
    let segments: Vec<&str> = path.split('/').collect();
    let authorised = parts.headers.get("authorization").is_some_and(|value| value == "Bearer k");
    let answer = if authorised {
        fake.with(|world| world.answer(&parts.method, &segments, &query, &body))
    } else {
        Err(Problem::new(Code::UNAUTHENTICATED, "The API key is not known."))
    };
    if parts.method != Method::GET {
        fake.changed.send_modify(|count| *count += 1);
    }
    answer.unwrap_or_else(|problem| {
        let status = match problem.code {
            Code::NOT_FOUND => StatusCode::NOT_FOUND,
            Code::UNAUTHENTICATED => StatusCode::UNAUTHORIZED,
            Code::OPERATION_RUNNING | Code::NAME_TAKEN | Code::IN_ANOTHER_SCHEDULE | Code::DELETION_PROTECTED => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, Json(problem)).into_response()
    })
}

fn ok(body: impl serde::Serialize) -> Answer {
    Ok(Json(body).into_response())
}

fn gone() -> Problem {
    Problem::new(Code::NOT_FOUND, "There is no such thing.")
}

fn at() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}

fn backend() -> Backend {
    Backend {
        principal_arn: "arn:aws:iam::111111111111:role/kiven".to_owned(),
        relay_address: "relay:443".to_owned(),
        api_url: "http://api".to_owned(),
    }
}

impl World {
    fn answer(&mut self, method: &Method, segments: &[&str], query: &str, body: &Bytes) -> Answer {
        match (method.as_str(), segments) {
            ("GET", ["me"]) => {
                ok(Me { organization_id: OrganizationId::from_random([9; 16]), organization_name: "test".to_owned(), role: Role::Admin })
            }
            ("GET", ["plans"]) => ok(plans()),
            ("GET", ["environments", id]) => ok(EnvironmentView::of(self.environment(id)?, &backend())),
            ("PUT", ["environments", id]) => self.environment_put(id, body),
            ("DELETE", ["environments", id]) => {
                self.environments.remove(&EnvironmentId::parse(id).unwrap()).ok_or_else(gone)?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            ("POST", ["environments", id, "agent-tokens"]) => {
                self.environment(id)?;
                let number = u8::try_from(self.agent_tokens_made.len()).unwrap();
                let (id, token) = (format!("token-{number}"), agent_token_text([[number; 16], [0xcd; 16]]));
                self.agent_tokens.insert(id.clone(), token.clone());
                self.agent_tokens_made.push(token.clone());
                ok(AgentTokenView { id, token, expires_at: at() })
            }
            ("DELETE", ["environments", _, "agent-tokens"]) => {
                self.agent_tokens.remove(query.trim_start_matches("token_id="));
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            ("PUT", ["environments", id, "connection"]) => self.connection_put(id, body),
            ("DELETE", ["environments", id, "connection"]) => {
                let environment = self.environment(id)?;
                (environment.connection, environment.connected, environment.status) = (None, None, EnvironmentStatus::Created);
                ok(EnvironmentView::of(environment, &backend()))
            }
            ("GET", ["databases", id]) => {
                let id = {
                    let database = self.database(id)?;
                    database.claimed = true;
                    database.id.clone()
                };
                self.database_view(&id)
            }
            ("GET", ["schedules"]) => ok(self.schedules.values().map(|schedule| self.schedule_view(schedule)).collect::<Vec<_>>()),
            ("GET", ["schedules", id]) => {
                let id = ScheduleId::parse(id).unwrap();
                ok(self.schedule_view(self.schedules.get(&id).ok_or_else(gone)?))
            }
            ("PUT", ["schedules", id]) => self.schedule_put(id, body),
            ("DELETE", ["schedules", id]) => {
                self.schedules.remove(&ScheduleId::parse(id).unwrap()).ok_or_else(gone)?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            ("PUT", ["databases", id]) => self.database_put(id, body),
            ("DELETE", ["databases", id]) => self.database_delete(id),
            ("POST", ["databases", id, "pause"]) => self.move_database(&DatabaseId::parse(id).unwrap(), OperationKind::Pause),
            ("POST", ["databases", id, "resume"]) => self.move_database(&DatabaseId::parse(id).unwrap(), OperationKind::Resume),
            ("GET", ["operations", id]) => self.operation(id),
            ("POST", ["operations", id, "cancel"]) => self.cancel(id),
            _ => Err(gone()),
        }
    }

    fn environment(&mut self, id: &str) -> Result<&mut Environment, Problem> {
        self.environments.get_mut(&EnvironmentId::parse(id).map_err(|_| gone())?).ok_or_else(gone)
    }

    fn database(&mut self, id: &str) -> Result<&mut Database, Problem> {
        self.databases.get_mut(&DatabaseId::parse(id).map_err(|_| gone())?).ok_or_else(gone)
    }

    fn schedule_of(&self, database: &DatabaseId) -> Option<&Schedule> {
        self.schedules.values().find(|schedule| schedule.spec.database_ids.contains(database))
    }

    fn database_view(&self, id: &DatabaseId) -> Answer {
        ok(DatabaseView::of(&self.databases[id]).scheduled(self.schedule_of(id), self.now()))
    }

    fn now(&self) -> jiff::Timestamp {
        at() + jiff::SignedDuration::from_hours(self.hours)
    }

    fn schedule_view(&self, schedule: &Schedule) -> ScheduleView {
        ScheduleView::of(schedule, schedule.spec.database_ids.iter().filter_map(|id| self.databases.get(id)), self.now())
    }

    fn schedule_put(&mut self, id: &str, body: &Bytes) -> Answer {
        let id = ScheduleId::parse(id).unwrap();
        let spec = serde_json::from_slice::<ScheduleRequest>(body).unwrap().validate().map_err(Problem::from)?.into_inner();
        let other = spec.database_ids.iter().find_map(|database| self.schedule_of(database).filter(|schedule| schedule.id != id));
        if let Some(other) = other {
            let message = format!("it follows the schedule {} already", other.id);
            return Err(Problem::from(vec![Violation::new(Code::IN_ANOTHER_SCHEDULE, "database_ids", message, "Take it out of that one.")]));
        }
        let organization_id = OrganizationId::from_random([9; 16]);
        let schedule = Schedule { id: id.clone(), organization_id, spec, created_at: at(), updated_at: at(), version: 1 };
        let view = self.schedule_view(&schedule);
        self.schedules.insert(id, schedule);
        ok(view)
    }

    fn environment_put(&mut self, id: &str, body: &Bytes) -> Answer {
        let id = EnvironmentId::parse(id).unwrap();
        let spec = request::environment(&serde_json::from_slice(body).unwrap()).map_err(Problem::from)?.into_inner();
        let environment = Environment {
            id: id.clone(),
            organization_id: OrganizationId::from_random([9; 16]),
            spec,
            external_id: "external".to_owned(),
            connection: None,
            connected: None,
            status: EnvironmentStatus::Created,
            operation_id: None,
            problem: None,
            access_tried_at: None,
            upgrades: Default::default(),
            created_at: at(),
            version: 1,
        };
        ok(EnvironmentView::of(self.environments.entry(id).or_insert(environment), &backend()))
    }

    fn connection_put(&mut self, id: &str, body: &Bytes) -> Answer {
        let environment = self.environment(id)?.clone();
        let spec = request::connection(&serde_json::from_slice(body).unwrap(), &environment.spec).map_err(Problem::from)?.into_inner();
        let operation = self.begin(OperationKind::Connect, Subject::Environment(environment.id.clone()), &environment.id);
        let environment = self.environment(id)?;
        (environment.connection, environment.status, environment.operation_id) = (Some(spec), EnvironmentStatus::Connecting, Some(operation));
        ok(EnvironmentView::of(environment, &backend()))
    }

    fn database_put(&mut self, id: &str, body: &Bytes) -> Answer {
        let asked: kiven_model::api::DatabaseRequest = serde_json::from_slice(body).unwrap();
        let offered = self.environment(&asked.environment_id)?.postgres_versions().to_vec();
        let spec: Valid<DatabaseSpec> = request::database(&asked, &offered).map_err(Problem::from)?;
        let spec = spec.into_inner();
        let id = DatabaseId::parse(id).unwrap();
        let Some(database) = self.databases.get_mut(&id) else { return self.provision(id, spec) };
        if database.status.moving() {
            return Err(Problem::new(Code::OPERATION_RUNNING, "busy").operation(database.operation_id.clone().unwrap()));
        }
        let changes = kiven_model::change::change(&database.spec, &spec, None, at()).map_err(Problem::from)?.is_some();
        let (before, after) = (database.spec.power, spec.power);
        if changes && before == Power::On {
            database.spec = DatabaseSpec { power: before, ..spec };
            return self.move_database(&id, OperationKind::Change);
        }
        database.spec = spec;
        let kind = match (before, after) {
            (Power::On, Power::Off) => OperationKind::Pause,
            (Power::Off, Power::On) => OperationKind::Resume,
            (Power::On, Power::On) | (Power::Off, Power::Off) => return self.database_view(&id),
        };
        self.move_database(&id, kind)
    }

    fn provision(&mut self, id: DatabaseId, spec: DatabaseSpec) -> Answer {
        if self.databases.values().any(|other| other.spec.name == spec.name && !other.status.name_free()) {
            return Err(Problem::new(Code::NAME_TAKEN, "The name is taken.").hint("terraform import"));
        }
        let environment = spec.environment_id.clone();
        let operation = self.begin(OperationKind::Provision, Subject::Database(id.clone()), &environment);
        let asked = Database::asked(id.clone(), OrganizationId::from_random([9; 16]), spec, at());
        let database = Database { operation_id: Some(operation.clone()), made_by: Some(operation), ..asked };
        ok(DatabaseView::of(self.databases.entry(id).or_insert(database)))
    }

    fn database_delete(&mut self, id: &str) -> Answer {
        let database = self.database(id)?;
        if database.spec.deletion_protection {
            return Err(Problem::new(Code::DELETION_PROTECTED, "protected"));
        }
        if database.status.moving() {
            return Err(Problem::new(Code::OPERATION_RUNNING, "busy").operation(database.operation_id.clone().unwrap()));
        }
        if database.status.name_free() {
            return Err(Problem::new(Code::WRONG_STATE, "gone already"));
        }
        let id = database.id.clone();
        self.move_database(&id, OperationKind::Delete)
    }

    fn move_database(&mut self, id: &DatabaseId, kind: OperationKind) -> Answer {
        let environment = self.databases[id].spec.environment_id.clone();
        let operation = self.begin(kind, Subject::Database(id.clone()), &environment);
        let database = self.databases.get_mut(id).unwrap();
        database.status = next(database.status, Event::Started(kind)).unwrap();
        database.operation_id = Some(operation);
        self.database_view(id)
    }

    fn begin(&mut self, kind: OperationKind, subject: Subject, environment_id: &EnvironmentId) -> OperationId {
        self.made += 1;
        let id = OperationId::from_random([self.made; 16]);
        let operation = Operation {
            id: id.clone(),
            kind,
            body_version: 1,
            organization_id: OrganizationId::from_random([9; 16]),
            environment_id: environment_id.clone(),
            subject,
            input: serde_json::Value::Null,
            status: OperationStatus::Running,
            output: None,
            problem: None,
            cancel_requested: false,
            past_no_return: false,
            current_step: Some("AwaitHealthy".to_owned()),
            poll_after_ms: 50,
            lease: None,
            due_at: None,
            events: 0,
            created_at: at(),
            updated_at: at(),
            version: 1,
        };
        self.operations.insert(id.clone(), (operation, LOOKS));
        id
    }

    fn cancel(&mut self, id: &str) -> Answer {
        let entry = self.operations.get_mut(&OperationId::parse(id).unwrap()).ok_or_else(gone)?;
        entry.0.cancel_requested = true;
        ok(OperationView::of(&entry.0, Vec::new()))
    }

    fn operation(&mut self, id: &str) -> Answer {
        let id = OperationId::parse(id).unwrap();
        let entry = self.operations.get_mut(&id).ok_or_else(gone)?;
        if !entry.0.status.over() && (!self.hold || entry.0.cancel_requested) {
            entry.1 = entry.1.saturating_sub(1);
            if entry.1 == 0 {
                self.end(&id);
            }
        }
        ok(OperationView::of(&self.operations[&id].0, Vec::new()))
    }

    fn end(&mut self, id: &OperationId) {
        let operation = &mut self.operations.get_mut(id).unwrap().0;
        operation.status = match (std::mem::take(&mut self.unwind_next) || operation.cancel_requested, std::mem::take(&mut self.stick_next)) {
            (true, _) => OperationStatus::Failed,
            (false, true) => OperationStatus::Stuck,
            (false, false) => OperationStatus::Succeeded,
        };
        let succeeded = operation.status == OperationStatus::Succeeded;
        operation.problem = (!succeeded).then(|| Problem::new(Code::ACCESS_DENIED, "the role cannot be assumed").hint("Look at its trust policy."));
        let (kind, status, subject) = (operation.kind, operation.status, operation.subject.clone());
        match subject {
            Subject::Environment(id) => self.end_connect(&id, !succeeded),
            Subject::Database(id) => self.end_database(&id, kind, status),
        }
    }

    fn end_connect(&mut self, id: &EnvironmentId, unwinds: bool) {
        let environment = self.environments.get_mut(id).unwrap();
        environment.status = if unwinds { EnvironmentStatus::Failed } else { EnvironmentStatus::Connected };
        let agent = AgentFacts {
            agent_version: "0".to_owned(),
            kubernetes_version: "1".to_owned(),
            operator_version: None,
            plugin_version: None,
            upgradable: false,
            storage_class: true,
            postgres_versions: vec![16, 15],
            loose_volumes: Vec::new(),
            cluster: None,
        };
        environment.connected =
            (!unwinds).then(|| Connected { cluster_arn: String::new(), oidc_issuer: String::new(), oidc_provider_arn: String::new(), agent });
    }

    fn end_database(&mut self, id: &DatabaseId, kind: OperationKind, status: OperationStatus) {
        let database = self.databases.get_mut(id).unwrap();
        let event = match status {
            OperationStatus::Failed => Event::Unwound(kind),
            OperationStatus::Stuck => Event::Stalled(kind),
            OperationStatus::Succeeded | OperationStatus::Running | OperationStatus::Unwinding => Event::Completed(kind),
        };
        database.status = next(database.status, event).unwrap();
        let succeeded = status == OperationStatus::Succeeded;
        if kind == OperationKind::Provision && succeeded {
            database.connection = Some(Connection {
                ca_certificate: "ca".to_owned(),
                system_identifier: "7".to_owned(),
                volumes: Vec::new(),
                published: BTreeMap::new(),
            });
        }
        if kind == OperationKind::Delete && succeeded && database.spec.deletion.grace_days == 0 {
            let id = id.clone();
            drop(self.move_database(&id, OperationKind::Purge));
        }
    }
}

fn plans() -> Vec<PlanView> {
    PlanName::ALL
        .into_iter()
        .filter_map(|name| {
            let size = name.size()?;
            Some(PlanView {
                name,
                vcpu: size.vcpu,
                memory_gib: size.memory_gib,
                storage_gb: size.storage_gb,
                instances: size.instances,
                node_type: "m6g.large".to_owned(),
                monthly_cost_usd: 1.5,
            })
        })
        .collect()
}
