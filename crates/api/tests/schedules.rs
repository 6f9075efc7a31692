//! Power schedules over HTTP, on the simulated world.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use jiff::Timestamp;
use kiven_api::{key_digest, router};
use kiven_model::api::{Backend, DatabaseRequest};
use kiven_model::database::{Connection, Database, Power};
use kiven_model::environment::{Connected, Environment, EnvironmentStatus};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::organization::{ApiKey, Role, api_key_id};
use kiven_model::report::AgentFacts;
use kiven_model::{DatabaseId, OrganizationId, ScheduleId, request};
use kiven_ports::{Clock, Records, Write};
use kiven_sim::{Odds, World, block_on};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

const ADMIN: &str = "kiven_00000000000000000001_secret";
const VIEWER: &str = "kiven_00000000000000000002_secret";
const STRANGER: &str = "kiven_00000000000000000003_secret";

struct Api {
    world: Arc<World>,
    router: Router,
}

fn database_id(number: u8) -> DatabaseId {
    DatabaseId::from_random([number; 16])
}

fn schedule_id(number: u8) -> String {
    ScheduleId::from_random([number; 16]).to_string()
}

fn now(world: &World) -> Timestamp {
    Clock::now(world)
}

impl Api {
    /// A connected environment with three databases that are on, and one of another organization.
    fn new() -> Self {
        let world = Arc::new(World::new(1, Odds::none()));
        let backend = Backend { principal_arn: String::new(), relay_address: String::new(), api_url: String::new() };
        let api = Self { router: router(Arc::clone(&world), backend), world };
        let agent = AgentFacts {
            agent_version: "0".to_owned(),
            kubernetes_version: "1".to_owned(),
            operator_version: None,
            plugin_version: None,
            upgradable: false,
            storage_class: true,
            postgres_versions: vec![17],
            loose_volumes: Vec::new(),
            cluster: None,
        };
        let connected = Connected { cluster_arn: String::new(), oidc_issuer: String::new(), oidc_provider_arn: String::new(), agent };
        let environment = Environment {
            status: EnvironmentStatus::Connected,
            connected: Some(connected),
            connection: Some(api.world.connection()),
            ..api.world.environment()
        };
        let stranger = OrganizationId::from_random([99; 16]);
        let mut writes = Vec::new();
        for (key, organization, role) in [
            (ADMIN, &environment.organization_id, Role::Admin),
            (VIEWER, &environment.organization_id, Role::Viewer),
            (STRANGER, &stranger, Role::Admin),
        ] {
            let (id, organization_id) = (api_key_id(key).unwrap(), organization.clone());
            writes.push(Write::ApiKey(ApiKey { id, organization_id, key_sha256: key_digest(key), role, expires_at: None }));
        }
        for number in 1..=4 {
            let organization = if number == 4 { &stranger } else { &environment.organization_id };
            writes.push(Write::Database { record: Box::new(available(number, organization, &environment, now(&api.world))), expected: None });
        }
        writes.push(Write::Environment { record: Box::new(environment), expected: None });
        api.commit(writes);
        api
    }
    fn commit(&self, writes: Vec<Write>) {
        block_on(self.world.records_commit(writes)).unwrap().unwrap();
    }
    fn call_as(&self, key: &str, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}")).body(body).unwrap();
        let response = block_on(self.router.clone().oneshot(request)).unwrap().unwrap();
        let status = response.status();
        let bytes = block_on(to_bytes(response.into_body(), 1 << 20)).unwrap().unwrap();
        (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
    }
    fn call(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        self.call_as(ADMIN, method, path, body)
    }
    fn database(&self, number: u8) -> Database {
        block_on(self.world.database_get(&database_id(number))).unwrap().unwrap().unwrap()
    }
    fn edit(&self, number: u8, edit: impl FnOnce(&mut Database)) {
        let mut record = self.database(number);
        let expected = Some(record.version);
        record.version += 1;
        edit(&mut record);
        self.commit(vec![Write::Database { record: Box::new(record), expected }]);
    }
    /// Asks for a database as it is, with this power.
    fn put_power(&self, number: u8, power: &str) -> (StatusCode, Value) {
        let environment = self.world.environment().id;
        let body = json!({ "name": format!("shop-{number}"), "environment_id": environment, "plan": "startup", "power": power });
        self.call("PUT", &format!("/v1/databases/{}", database_id(number)), &body)
    }
    fn follows(&self, number: u8) -> Option<String> {
        block_on(self.world.scheduled_power_get(&database_id(number))).unwrap().unwrap().map(|power| power.schedule_id.to_string())
    }
}

fn available(number: u8, organization: &OrganizationId, environment: &Environment, at: Timestamp) -> Database {
    let asked = DatabaseRequest {
        name: format!("shop-{number}"),
        environment_id: environment.id.to_string(),
        plan: "startup".to_owned(),
        ..DatabaseRequest::default()
    };
    let spec = request::database(&asked, &[17]).unwrap().into_inner();
    let connection =
        Connection { ca_certificate: "ca".to_owned(), system_identifier: "7".to_owned(), volumes: Vec::new(), published: Default::default() };
    let record = Database::asked(database_id(number), organization.clone(), spec, at);
    Database { status: DatabaseStatus::Available, connection: Some(connection), ..record }
}

fn schedule(databases: &[u8]) -> Value {
    json!({
        "database_ids": databases.iter().map(|number| database_id(*number)).collect::<Vec<_>>(),
        "time_zone": "UTC",
        "windows": [{ "days": ["thu", "fri"], "start": "08:00", "end": "18:00" }],
    })
}

fn path(number: u8) -> String {
    format!("/v1/schedules/{}", schedule_id(number))
}

fn code(answer: &(StatusCode, Value)) -> (u16, &str) {
    (answer.0.as_u16(), answer.1["code"].as_str().unwrap_or_default())
}

#[test]
fn a_schedule_is_made_listed_shown_and_removed() {
    let api = Api::new();
    // The world begins on Thursday, the first of January 2026, at midnight.
    let (status, made) = api.call("PUT", &path(1), &schedule(&[2, 1]));
    assert_eq!(status, StatusCode::OK, "{made}");
    assert_eq!((&made["next_on"], &made["next_off"]), (&json!("2026-01-01T08:00:00Z"), &json!("2026-01-01T18:00:00Z")));
    assert_eq!((&made["hours_per_week"], &made["enabled"], &made["ready_by"]), (&json!(20.0), &json!(true), &json!(false)));
    assert!(made["savings_usd_per_month"].as_f64().unwrap() > 100.0, "{made}");
    assert_eq!(api.call("GET", &path(1), &Value::Null), (StatusCode::OK, made.clone()));
    assert_eq!(api.call("GET", "/v1/schedules", &Value::Null), (StatusCode::OK, json!([made])));
    // The same set in another order is the same schedule.
    assert_eq!(api.call("PUT", &path(1), &schedule(&[1, 2])).1["updated_at"], made["updated_at"]);
    let (_, shown) = api.call("GET", &format!("/v1/databases/{}", database_id(1)), &Value::Null);
    assert_eq!((&shown["schedule_id"], &shown["next_switch"]), (&json!(schedule_id(1)), &json!({ "at": "2026-01-01T08:00:00Z", "power": "on" })));
    let (_, listed) = api.call("GET", "/v1/databases", &Value::Null);
    let of: Vec<&Value> = listed.as_array().unwrap().iter().map(|database| &database["schedule_id"]).collect();
    assert_eq!(of, [&json!(schedule_id(1)), &json!(schedule_id(1)), &Value::Null]);
    assert_eq!(api.call("GET", &format!("/v1/databases/{}/power-events", database_id(1)), &Value::Null), (StatusCode::OK, json!([])));

    api.edit(1, |database| database.status = DatabaseStatus::Paused);
    assert_eq!(api.call("DELETE", &path(1), &Value::Null).0, StatusCode::NO_CONTENT);
    assert_eq!(code(&api.call("GET", &path(1), &Value::Null)), (404, "KV-203"));
    assert_eq!(code(&api.call("DELETE", &path(1), &Value::Null)), (404, "KV-203"));
    assert_eq!((api.follows(1), api.database(1).status), (None, DatabaseStatus::Paused), "the power stays");
    assert_eq!(api.call("GET", &format!("/v1/databases/{}", database_id(1)), &Value::Null).1["power_state"], "off");
}

#[test]
fn a_database_is_in_one_schedule_and_a_refusal_changes_nothing() {
    let api = Api::new();
    assert_eq!(api.call("PUT", &path(1), &schedule(&[1])).0, StatusCode::OK);
    let refused = api.call("PUT", &path(2), &schedule(&[2, 1]));
    assert_eq!(code(&refused), (409, "KV-214"));
    assert!(refused.1.to_string().contains(&schedule_id(1)) && refused.1["violations"][0]["field"] == "database_ids", "{refused:?}");
    assert_eq!((api.follows(2), api.call("GET", &path(2), &Value::Null).0), (None, StatusCode::NOT_FOUND));
    // Also when it would only join one that is there.
    assert_eq!(api.call("PUT", &path(2), &schedule(&[2])).0, StatusCode::OK);
    assert_eq!(code(&api.call("PUT", &path(2), &schedule(&[2, 1]))), (409, "KV-214"));
    assert_eq!(api.call("GET", &path(2), &Value::Null).1["database_ids"], json!([database_id(2)]));
    // Once it has left the first, it can.
    assert_eq!(api.call("PUT", &path(1), &schedule(&[3])).0, StatusCode::OK);
    assert_eq!(api.call("PUT", &path(2), &schedule(&[2, 1])).0, StatusCode::OK);
    assert_eq!([1, 2, 3].map(|number| api.follows(number)), [2, 2, 1].map(|number| Some(schedule_id(number))));
}

#[test]
fn what_is_missing_foreign_or_wrong_is_refused() {
    let api = Api::new();
    for databases in [&[1, 4][..], &[1, 9]] {
        let refused = api.call("PUT", &path(1), &schedule(databases));
        assert_eq!(code(&refused), (400, "KV-129"));
        assert_eq!(refused.1["violations"][0]["field"], "database_ids.1");
    }
    // Whose schedule a foreign database follows is nobody's business.
    assert_eq!(api.call_as(STRANGER, "PUT", &path(9), &schedule(&[4])).0, StatusCode::OK);
    assert_eq!(code(&api.call("PUT", &path(1), &schedule(&[4]))), (400, "KV-129"));
    for method in ["GET", "DELETE"] {
        assert_eq!(code(&api.call(method, &path(9), &Value::Null)), (404, "KV-203"));
    }
    assert_eq!(code(&api.call("PUT", &path(9), &schedule(&[1]))), (404, "KV-203"));
    assert_eq!(api.call("GET", "/v1/schedules", &Value::Null).1, json!([]));
    let foreign = format!("/v1/databases/{}/power-events", database_id(4));
    assert_eq!(code(&api.call("GET", &foreign, &Value::Null)), (404, "KV-203"));
    for method in ["PUT", "DELETE"] {
        assert_eq!(code(&api.call_as(VIEWER, method, &path(1), &schedule(&[1]))), (403, "KV-202"));
    }
    assert_eq!(code(&api.call("PUT", "/v1/schedules/1", &schedule(&[1]))), (400, "KV-123"));
    assert_eq!(code(&api.call("PUT", &path(1), &json!({ "timezone": "UTC" }))), (400, "KV-208"));
    // One that was deleted while it follows the schedule is no reason to refuse another change; joining again is refused.
    assert_eq!(api.call("PUT", &path(1), &schedule(&[1, 2])).0, StatusCode::OK);
    api.edit(1, |database| database.status = DatabaseStatus::Deleted);
    let mut changed = schedule(&[1, 2]);
    changed["ready_by"] = json!(true);
    assert_eq!(api.call("PUT", &path(1), &changed).1["ready_by"], true);
    assert_eq!(api.call("PUT", &path(1), &schedule(&[2])).0, StatusCode::OK);
    assert_eq!(code(&api.call("PUT", &path(1), &schedule(&[1, 2]))), (400, "KV-129"));
}

#[test]
fn a_change_begins_anew_for_those_that_it_concerns() {
    let api = Api::new();
    let due = |number: u8| block_on(api.world.scheduled_power_get(&database_id(number))).unwrap().unwrap().unwrap();
    assert_eq!(api.call("PUT", &path(1), &schedule(&[1])).0, StatusCode::OK);
    let first = due(1);
    assert_eq!((first.scheduled_since, first.next_due), (now(&api.world), Some(now(&api.world))));
    api.world.advance_to(api.world.now_ms() + 60_000);
    assert_eq!(api.call("PUT", &path(1), &schedule(&[1, 2])).0, StatusCode::OK);
    assert_eq!(due(1), first, "another database has joined: nothing has changed for this one");
    assert_eq!(due(2).scheduled_since, now(&api.world));
    let mut disabled = schedule(&[1, 2]);
    disabled["enabled"] = json!(false);
    assert_eq!(api.call("PUT", &path(1), &disabled).0, StatusCode::OK);
    assert_eq!((due(1).scheduled_since, due(1).version), (now(&api.world), 2));
}

#[test]
fn what_people_do_is_noted_and_what_a_schedule_does_is_no_drift() {
    let api = Api::new();
    let database = format!("/v1/databases/{}", database_id(1));
    let put = |power: &str| api.put_power(1, power);
    assert_eq!(api.call("PUT", &path(1), &schedule(&[1])).0, StatusCode::OK);
    // The schedule has paused it: the same request changes nothing, and Terraform is told what it has asked for.
    api.edit(1, |database| database.status = DatabaseStatus::Paused);
    let before = api.database(1);
    let (status, view) = put("on");
    assert_eq!((status, &view["power_state"], &view["status"]), (StatusCode::OK, &json!("on"), &json!("paused")));
    assert_eq!(api.database(1), before);
    // Another power is asked for: it is so already, and holds.
    assert_eq!(put("off").1["power_state"], "off");
    let noted = api.database(1);
    assert_eq!((noted.spec.power, noted.status, noted.last_manual_at), (Power::Off, DatabaseStatus::Paused, Some(now(&api.world))));
    // By hand: what is declared stays as it is.
    api.world.advance_to(api.world.now_ms() + 60_000);
    let (status, view) = api.call("POST", &format!("{database}/resume"), &Value::Null);
    assert_eq!((status, &view["power_state"], &view["status"]), (StatusCode::ACCEPTED, &json!("off"), &json!("resuming")));
    let resuming = api.database(1);
    assert_eq!((resuming.spec.power, resuming.last_manual_at), (Power::Off, Some(now(&api.world))));
    // Without a schedule what is done by hand is what is declared.
    let other = format!("/v1/databases/{}/pause", database_id(2));
    assert_eq!(api.call("POST", &other, &Value::Null).1["power_state"], "off");
    assert_eq!((api.database(2).spec.power, api.database(2).last_manual_at), (Power::Off, Some(now(&api.world))));
}

#[test]
fn what_a_schedule_has_switched_is_no_drift_when_the_schedule_is_gone() {
    let api = Api::new();
    let put = |power: &str| api.put_power(1, power);
    // A schedule has paused it at night, and was deleted then.
    api.edit(1, |database| (database.status, database.switched_by_schedule) = (DatabaseStatus::Paused, true));
    let before = api.database(1);
    let (status, view) = put("on");
    assert_eq!((status, &view["power_state"], &view["status"]), (StatusCode::OK, &json!("on"), &json!("paused")));
    assert_eq!(api.database(1), before, "said again, not said anew");
    // Whoever says something else means it, and what is said then is what counts.
    assert_eq!(put("off").1["power_state"], "off");
    assert_eq!((api.database(1).spec.power, api.database(1).switched_by_schedule), (Power::Off, false));
    assert_eq!(put("on").0, StatusCode::ACCEPTED);
    assert_eq!((api.database(1).status, api.database(1).spec.power), (DatabaseStatus::Resuming, Power::On));
}
