//! Who may do what: every route of the table × every role × what is one's own, another's, or not there, asked of the real
//! router over a world in memory. `UPDATE_GOLDEN=1 cargo test -p kiven-api --test roles` writes the golden table anew.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use kiven_api::{Access, Route, key_digest, routes};
use kiven_model::api::{Backend, DatabaseRequest};
use kiven_model::database::{Connection, Database};
use kiven_model::environment::{Connected, ConnectionSpec, Environment, EnvironmentSpec, EnvironmentStatus};
use kiven_model::ids::ApiKeyId;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::organization::{ApiKey, Organization, Role, api_key_text};
use kiven_model::report::AgentFacts;
use kiven_model::schedule::ScheduledPower;
use kiven_model::{EnvironmentId, OrganizationId, request};
use kiven_ports::{Clock, Records, Write, contract};
use kiven_sim::{Odds, World};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/roles.txt");
/// The worlds' seeds: what the caller owns, what another organization owns, what nobody has made.
const OWN: u8 = 1;
const FOREIGN: u8 = 2;
const MISSING: u8 = 3;
const RESOURCES: [(&str, u8); 3] = [("own", OWN), ("foreign", FOREIGN), ("missing", MISSING)];

fn example(name: &str) -> Value {
    let of = |route: &Route| (route.name == name).then(|| route.body.as_ref().unwrap().example.clone());
    routes::<World>().iter().find_map(of).unwrap_or_else(|| panic!("no route is named `{name}`"))
}

/// A connected environment of the seed's organization, as the examples of bodies describe it.
fn environment(seed: u8) -> Environment {
    let spec: EnvironmentSpec = serde_json::from_value(example("environment_put")).unwrap();
    let connection: ConnectionSpec = serde_json::from_value(example("connection_put")).unwrap();
    let agent = AgentFacts {
        agent_version: "0".to_owned(),
        kubernetes_version: "1.34".to_owned(),
        operator_version: Some("1.28.0".to_owned()),
        plugin_version: None,
        upgradable: false,
        storage_class: true,
        postgres_versions: vec![18, 17],
        loose_volumes: Vec::new(),
        cluster: None,
    };
    let text = str::to_owned;
    let connected = Connected { cluster_arn: text("arn"), oidc_issuer: text("issuer"), oidc_provider_arn: text("arn"), agent };
    let status = EnvironmentStatus::Connected;
    Environment { spec, connection: Some(connection), connected: Some(connected), status, ..contract::environment(seed) }
}

/// A database that answers, as the example describes it, but not protected.
fn database(seed: u8) -> Database {
    let environment = environment(seed);
    let mut asked: DatabaseRequest = serde_json::from_value(example("database_put")).unwrap();
    (asked.environment_id, asked.deletion_protection) = (environment.id.to_string(), Some(false));
    let connection =
        Connection { ca_certificate: "PEM".to_owned(), system_identifier: "7".to_owned(), volumes: Vec::new(), published: Default::default() };
    Database {
        spec: request::database(&asked, &[]).unwrap().into_inner(),
        status: DatabaseStatus::Available,
        connection: Some(connection),
        ..contract::database(seed).unwrap()
    }
}

/// What a collection's id leads to, and what must be there for it: ADD A COLLECTION HERE when the table gets one.
fn fixture(collection: &str, seed: u8) -> Option<(String, Vec<Write>)> {
    let home = environment(seed);
    let environment_write = Write::Environment { record: Box::new(home.clone()), expected: None };
    match collection {
        "environments" => Some((home.id.to_string(), vec![environment_write])),
        "databases" => {
            let record = Box::new(database(seed));
            Some((record.id.to_string(), vec![environment_write, Write::Database { record, expected: None }]))
        }
        "operations" => {
            let record = Box::new(contract::operation(seed, 9));
            Some((record.id.to_string(), vec![environment_write, Write::Operation { record, expected: None }]))
        }
        "schedules" => {
            let record = Box::new(contract::schedule(seed, 20).unwrap());
            let database = Box::new(database(seed));
            let power = Box::new(ScheduledPower::joined(&record, database.id.clone(), record.created_at));
            let writes = vec![
                environment_write,
                Write::Database { record: database, expected: None },
                Write::Schedule { record: record.clone(), expected: None },
                Write::ScheduledPower { record: power, expected: None },
            ];
            Some((record.id.to_string(), writes))
        }
        "log-sessions" => {
            // It is open now: worlds begin at one instant.
            let session = Box::new(contract::log_session(seed, 40, World::new(7, Odds::default()).now()).unwrap());
            let database = Box::new(database(seed));
            let writes = vec![
                environment_write,
                Write::Database { record: database, expected: None },
                Write::LogSession { record: session.clone(), expected: None },
            ];
            Some((session.id.to_string(), writes))
        }
        _ => None,
    }
}

/// The key of a role of the caller's organization, and its record.
fn key(role: Role, organization_id: &OrganizationId) -> (String, Write) {
    let id = ApiKeyId::from_random([role as u8; 16]);
    let text = api_key_text(&id, "secret");
    let key_sha256 = key_digest(&text);
    (text, Write::ApiKey(ApiKey { id, organization_id: organization_id.clone(), role, key_sha256, expires_at: None }))
}

/// A world of its own for one question.
async fn world(collection: &str, role: Option<Role>) -> (Arc<World>, Option<String>) {
    let world = World::new(7, Odds::default());
    let organization = environment(OWN).organization_id;
    let mut writes = vec![Write::Organization(Organization { id: organization.clone(), name: "own".to_owned() })];
    let key = role.map(|role| key(role, &organization));
    writes.extend(key.iter().map(|(_, write)| write.clone()));
    for seed in [OWN, FOREIGN] {
        writes.extend(fixture(collection, seed).map(|(_, writes)| writes).unwrap_or_default());
    }
    world.records_commit(writes).await.unwrap();
    (Arc::new(world), key.map(|(text, _)| text))
}

/// An answer: its status and code, and its message without ids.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: String,
    message: String,
}

fn router(world: Arc<World>) -> Router {
    kiven_api::router(world, Backend { principal_arn: String::new(), relay_address: String::new(), api_url: String::new() })
}

async fn ask(world: Arc<World>, key: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> Said {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    let answer = router(world).oneshot(request.body(body).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let code = value["code"].as_str().filter(|_| status >= 400).map(|code| format!(" {code}")).unwrap_or_default();
    let words = value["message"].as_str().filter(|_| status >= 400).unwrap_or_default().split_inclusive(' ');
    let message = words.map(|word| if word.contains('_') { "… " } else { word }).collect();
    Said { status: format!("{status}{code}"), message }
}

/// A route's own example, said of the caller's environment.
fn body(route: &Route) -> Option<Value> {
    let mut body = route.body.as_ref()?.example.clone();
    if body.get("environment_id").is_some() {
        body["environment_id"] = json!(environment(OWN).id);
    }
    if body.get("database_id").is_some() {
        body["database_id"] = json!(database(OWN).id);
    }
    if body.get("database_ids").is_some() {
        body["database_ids"] = json!([database(OWN).id]);
    }
    Some(body)
}

/// Parameters that a route demands.
fn query(route: &Route) -> &'static str {
    if route.name == "agent_token_revoke" { "?token_id=0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" } else { "" }
}

fn collection(path: &str) -> &str {
    path.trim_start_matches("/v1/").split('/').next().unwrap()
}

async fn said(route: &Route, role: Option<Role>, seed: u8) -> Said {
    let collection = collection(route.path);
    let id = fixture(collection, seed).map(|(id, _)| id);
    if route.path.contains("{id}") && id.is_none() {
        panic!("`{} {}` has no fixture: add `{collection}` to `fixture` in crates/api/tests/roles.rs", route.method, route.path);
    }
    let path = route.path.replace("{id}", &id.unwrap_or_default()) + query(route);
    let (world, key) = world(collection, role).await;
    ask(world, key.as_deref(), route.method.as_str(), &path, body(route).as_ref()).await
}

fn callers() -> [Option<Role>; 5] {
    [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin), Some(Role::Owner)]
}

fn check_role(route: &Route, role: Option<Role>, said: &Said, what: &str) {
    let (denied, unknown) = (said.status == "403 KV-202", said.status == "401 KV-201");
    let place = format!("{} {} of a {what} resource by {role:?}: {}", route.method, route.path, said.status);
    match (route.access, role) {
        (Access::Anyone, _) => assert!(!denied && !unknown, "{place}"),
        (Access::Least { .. }, None) => assert!(unknown, "{place}"),
        (Access::Least { role: least, .. }, Some(role)) if role < least => assert!(denied, "{place}"),
        (Access::Least { more: Some((more, _)), .. }, Some(role)) if role < more => assert!(!unknown, "{place}"),
        (Access::Least { .. }, Some(_)) => assert!(!denied && !unknown, "{place}"),
    }
}

/// Whether another's resource may be told from one that is not there: only by whoever may make one under that id.
fn may_create(route: &Route, role: Option<Role>) -> bool {
    let needed = match route.access {
        Access::Least { role, more } => more.map_or(role, |(more, _)| more),
        Access::Anyone => Role::Viewer,
    };
    route.creates && role.is_some_and(|role| role >= needed)
}

#[tokio::test]
async fn every_route_answers_every_role_as_the_golden_table_says() {
    let mut table = format!("{:<44}{:<9}", "route", "resource");
    callers().iter().for_each(|role| table.push_str(&format!("{:<12}", role.map_or("no key", Role::as_str))));
    for route in routes::<World>() {
        let mut rows: Vec<Vec<Said>> = Vec::new();
        let resources = if route.path.contains("{id}") { RESOURCES.as_slice() } else { &[("-", OWN)] };
        for (what, seed) in resources {
            table = format!("{}\n{:<44}{what:<9}", table.trim_end(), format!("{} {}", route.method, route.path));
            let mut row = Vec::new();
            for role in callers() {
                let said = said(&route, role, *seed).await;
                check_role(&route, role, &said, what);
                table.push_str(&format!("{:<12}", said.status));
                row.push(said);
            }
            rows.push(row);
        }
        if let [_, foreign, missing] = rows.as_slice() {
            for (at, role) in callers().into_iter().enumerate() {
                let place = format!("{} {} by {role:?}", route.method, route.path);
                if may_create(&route, role) {
                    assert_eq!(foreign[at].status, "404 KV-203", "{place}: another's resource is never touched");
                } else {
                    assert_eq!(foreign[at], missing[at], "{place}: another's resource shows that it exists");
                }
            }
        }
    }
    let table = format!("{}\n", table.trim_end());
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(GOLDEN, &table).unwrap();
    }
    expect_test::expect_file![GOLDEN].assert_eq(&table);
}

#[tokio::test]
async fn ids_in_bodies_and_queries_do_not_show_what_exists_either() {
    let missing: EnvironmentId = contract::environment(MISSING).id;
    let mut answers = Vec::new();
    for id in [environment(FOREIGN).id, missing] {
        let mut body = example("database_put");
        body["environment_id"] = json!(id);
        let path = format!("/v1/databases/{}", database(MISSING).id);
        let (world, key) = world("databases", Some(Role::Owner)).await;
        let made = ask(world.clone(), key.as_deref(), "PUT", &path, Some(&body)).await;
        let listed = ask(world, key.as_deref(), "GET", &format!("/v1/databases?environment_id={id}"), None).await;
        answers.push((made, listed));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0.status, "404 KV-203");
}

#[tokio::test]
async fn the_part_for_a_greater_role_is_that_part_only() {
    let path = format!("/v1/databases/{}", database(OWN).id);
    let mut same = example("database_put");
    (same["environment_id"], same["deletion_protection"]) = (json!(environment(OWN).id), json!(false));
    let mut off = same.clone();
    off["power"] = json!("off");
    let mut protected = same.clone();
    protected["deletion_protection"] = json!(true);
    for (body, role, status) in
        [(&same, Role::Operator, "200"), (&off, Role::Operator, "202"), (&protected, Role::Operator, "403 KV-202"), (&protected, Role::Admin, "200")]
    {
        let (world, key) = world("databases", Some(role)).await;
        assert_eq!(ask(world, key.as_deref(), "PUT", &path, Some(body)).await.status, status, "{role:?}: {body}");
    }
}

#[tokio::test]
async fn an_operation_that_has_not_changed_is_not_sent_again() {
    let path = format!("/v1/operations/{}", contract::operation(OWN, 9).id);
    let (world, key) = world("operations", Some(Role::Viewer)).await;
    for (path, tag, status) in [
        (path.clone(), None, 200),
        (path.clone(), Some("\"1\""), 304),
        (path.clone(), Some("\"2\""), 200),
        (format!("{path}?after=0"), None, 304),
        (format!("{path}?after=0"), Some("\"2\""), 304),
    ] {
        let mut request = Request::get(&path).header("authorization", format!("Bearer {}", key.as_deref().unwrap()));
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let answer = router(world.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {tag:?}");
        assert_eq!(answer.headers()["etag"], "\"1\"");
    }
}

#[test]
fn the_committed_document_is_the_tables() {
    let made = kiven_api::openapi::text::<World>().unwrap();
    assert!(made == kiven_api::DOCUMENT, "crates/api/openapi.json is not what the table of routes gives: run `cargo xtask gen`");
    assert!(!made.contains("[`"), "a description links into the Rust documentation");
}
