//! Bad input: every invalid value gets its status, code, field and hint, and changes nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use kiven_aws::store::{Store, StoreConfig};
use kiven_model::environment::{Environment, EnvironmentSpec, EnvironmentStatus};
use kiven_model::ids::ApiKeyId;
use kiven_model::organization::{ApiKey, Organization, Role, api_key_text};
use kiven_model::{DatabaseId, EnvironmentId, OrganizationId};
use kiven_ports::{Records, Write};
use kiven_tests::customer::{connection_request, database_request, environment_request};
use kiven_tests::{Customer, Stack, random};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a refusal must look like.
struct Refusal {
    status: u16,
    code: &'static str,
    field: Option<&'static str>,
}

struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    async fn send(&self, key: &str, method: Method, path: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.url)).header("content-type", "application/json");
        let request = if key.is_empty() { request } else { request.bearer_auth(key) };
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Everything that a request could have changed.
    async fn everything(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for path in ["/v1/environments", "/v1/databases", "/v1/operations"] {
            let (status, list) = self.send(&self.key, Method::GET, path, Vec::new()).await;
            assert_eq!(status, 200, "{path}: {list}");
            all.push(list);
        }
        all
    }

    /// One bad request: refused as wanted, and nothing changed.
    async fn check(&self, what: &str, key: &str, request: (Method, &str, Vec<u8>), refusal: &Refusal) -> Result<(), String> {
        let before = self.everything().await;
        let (method, path, body) = request;
        let (status, problem) = self.send(key, method, path, body).await;
        let fail = |why: String| Err(format!("{what}: {why}: {status} {problem}"));
        if status != refusal.status || problem["code"] != refusal.code {
            return fail(format!("wanted {} {}", refusal.status, refusal.code));
        }
        if problem["message"].as_str().is_none_or(str::is_empty) {
            return fail("there is no message".to_owned());
        }
        let hinted = match refusal.field {
            None => problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()),
            Some(field) => {
                let violations = problem["violations"].as_array().cloned().unwrap_or_default();
                let Some(violation) = violations.iter().find(|violation| violation["field"] == field && violation["code"] == refusal.code) else {
                    return fail(format!("no violation on {field}"));
                };
                violation["hint"].as_str().is_some_and(|hint| !hint.is_empty())
            }
        };
        if !hinted {
            return fail("there is no hint".to_owned());
        }
        if self.everything().await != before {
            return fail("something changed".to_owned());
        }
        Ok(())
    }
}

/// Another organization with an environment, and keys that are good for nothing or for little.
struct Foreign {
    environment: EnvironmentId,
    expired: String,
    viewer: String,
}

async fn foreign(stack: &Stack, own: &OrganizationId) -> Foreign {
    let store =
        Store::new(&stack.sdk("KIVENLOCAL").unwrap(), &StoreConfig { table: "kiven".to_owned(), bucket: "kiven-payloads".to_owned(), due_shards: 1 });
    let other = Organization { id: OrganizationId::from_random(random().unwrap()), name: "other".to_owned() };
    let key = |role: Role, expires_at| {
        let id = ApiKeyId::from_random(random().unwrap());
        let text = api_key_text(&id, &hex::encode(random().unwrap()));
        let record = ApiKey { id, organization_id: own.clone(), role, key_sha256: hex::encode(Sha256::digest(text.as_bytes())), expires_at };
        (text, Write::ApiKey(record))
    };
    let (expired, expired_record) = key(Role::Owner, Some(jiff::Timestamp::from_second(1_700_000_000).unwrap()));
    let (viewer, viewer_record) = key(Role::Viewer, None);
    let environment = Environment {
        id: EnvironmentId::from_random(random().unwrap()),
        organization_id: other.id.clone(),
        spec: EnvironmentSpec {
            name: "theirs".to_owned(),
            aws_account_id: "111111111111".to_owned(),
            aws_region: "eu-west-1".to_owned(),
            eks_cluster_name: "theirs".to_owned(),
            agent_enrolment: Default::default(),
        },
        external_id: "x".repeat(64),
        connection: None,
        connected: None,
        status: EnvironmentStatus::Created,
        operation_id: None,
        problem: None,
        access_tried_at: None,
        upgrades: Default::default(),
        created_at: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
        version: 1,
    };
    let id = environment.id.clone();
    store
        .records_commit(vec![
            Write::Organization(other),
            expired_record,
            viewer_record,
            Write::Environment { record: Box::new(environment), expected: None },
        ])
        .await
        .unwrap();
    Foreign { environment: id, expired, viewer }
}

/// Fields of a database: what is put, the code, the field that must be named.
fn fields() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (json!({ "name": "" }), "KV-101", "name"),
        (json!({ "name": "Shop" }), "KV-101", "name"),
        (json!({ "name": "shop-rw" }), "KV-101", "name"),
        (json!({ "name": "9shop; drop table" }), "KV-101", "name"),
        (json!({ "name": "a".repeat(41) }), "KV-101", "name"),
        (json!({ "environment_id": "env_nothing" }), "KV-123", "environment_id"),
        (json!({ "plan": "huge" }), "KV-102", "plan"),
        (json!({ "plan": "custom" }), "KV-116", "custom"),
        (json!({ "custom": { "vcpu": 2, "memory_gib": 8 } }), "KV-116", "custom"),
        (json!({ "storage_gb": 1 }), "KV-103", "storage_gb"),
        (json!({ "storage_gb": 4_000_000 }), "KV-103", "storage_gb"),
        (json!({ "instances": 0 }), "KV-105", "instances"),
        (json!({ "instances": 6 }), "KV-105", "instances"),
        (json!({ "parameters": { "work_memm": "4MB" } }), "KV-106", "parameters.work_memm"),
        (json!({ "parameters": { "archive_command": "true" } }), "KV-107", "parameters.archive_command"),
        (json!({ "parameters": { "work_mem": "a lot" } }), "KV-108", "parameters.work_mem"),
        (json!({ "postgres_version": 9 }), "KV-109", "postgres_version"),
        (json!({ "postgres_version": 29 }), "KV-109", "postgres_version"),
        (json!({ "pooler": { "mode": "statement" } }), "KV-110", "pooler.mode"),
        (json!({ "pooler": { "pool_size": 0 } }), "KV-110", "pooler.pool_size"),
        (json!({ "backup": { "backup_retention_days": 0 } }), "KV-111", "backup.backup_retention_days"),
        (json!({ "backup": { "rpo_minutes": 9999 } }), "KV-111", "backup.rpo_minutes"),
        (json!({ "allowed_namespaces": ["Shop!"] }), "KV-112", "allowed_namespaces.0"),
        (json!({ "extensions": ["plpython3u"] }), "KV-113", "extensions.0"),
        (json!({ "power": "sleep" }), "KV-114", "power"),
        (json!({ "deletion": { "grace_days": 91 } }), "KV-115", "deletion.grace_days"),
    ]
}

/// Changes of the database that is there.
fn changes() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (json!({ "storage_gb": 10 }), "KV-104", "storage_gb"),
        (json!({ "name": "renamed" }), "KV-131", "name"),
        (json!({ "postgres_version": 16 }), "KV-130", "postgres_version"),
        (json!({ "instances": 0 }), "KV-105", "instances"),
        (json!({ "parameters": { "work_mem": "8 elephants" } }), "KV-108", "parameters.work_mem"),
    ]
}

fn with(base: &Value, change: &Value) -> Vec<u8> {
    let mut body = base.clone();
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

fn environments() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (json!({ "name": "Not A Name" }), "KV-101", "name"),
        (json!({ "aws_account_id": "42" }), "KV-117", "aws_account_id"),
        (json!({ "aws_region": "us-east-1" }), "KV-118", "aws_region"),
        (json!({ "eks_cluster_name": "no spaces" }), "KV-119", "eks_cluster_name"),
    ]
}

/// One invalid request: what it is, whose key, method, path with body, and how it is to be refused.
type Case<'a> = (String, &'a str, Method, (String, Vec<u8>), Refusal);

/// What the cases are made of.
struct Ground<'a> {
    key: &'a str,
    foreign: &'a Foreign,
    base: Value,
    fresh: Value,
    environment: Value,
    new: String,
    there: String,
    other_environment: String,
    own_environment: String,
}

fn put(path: &str, body: Vec<u8>) -> (String, Vec<u8>) {
    (path.to_owned(), body)
}

/// One wrong field each.
fn field_cases<'a>(ground: &Ground<'a>) -> Vec<Case<'a>> {
    let Ground { key, base, fresh, environment, new, there, other_environment, .. } = ground;
    let mut cases: Vec<Case<'a>> = Vec::new();
    for (base, path, list) in [(fresh, new, fields()), (base, there, changes()), (environment, other_environment, environments())] {
        for (change, code, field) in list {
            cases.push((
                format!("PUT {path} {change}"),
                key,
                Method::PUT,
                put(path, with(base, &change)),
                Refusal { status: 400, code, field: Some(field) },
            ));
        }
    }
    cases
}

/// Requests that are wrong as a whole.
fn whole_cases<'a>(ground: &Ground<'a>) -> Vec<Case<'a>> {
    let Ground { key, foreign, base, fresh, environment, new, there, other_environment, own_environment } = ground;
    let key = *key;
    let whole = |status, code| Refusal { status, code, field: None };
    let foreign_id = json!({ "environment_id": foreign.environment.to_string() });
    let connection = serde_json::to_vec(&connection_request()).unwrap();
    let theirs = format!("/v1/environments/{}", foreign.environment);
    vec![
        ("a second database of one name".to_owned(), key, Method::PUT, put(new, base.to_string().into_bytes()), whole(409, "KV-204")),
        ("a foreign organization's environment".to_owned(), key, Method::PUT, put(new, with(fresh, &foreign_id)), whole(404, "KV-203")),
        (
            "connecting a foreign organization's environment".to_owned(),
            key,
            Method::PUT,
            put(&format!("{theirs}/connection"), connection),
            whole(404, "KV-203"),
        ),
        ("reading a foreign organization's environment".to_owned(), key, Method::GET, put(&theirs, Vec::new()), whole(404, "KV-203")),
        (
            "an environment on a cluster that is taken".to_owned(),
            key,
            Method::PUT,
            put(other_environment, environment.to_string().into_bytes()),
            whole(409, "KV-211"),
        ),
        ("an id that is none".to_owned(), key, Method::PUT, put("/v1/databases/db_x", fresh.to_string().into_bytes()), whole(400, "KV-123")),
        ("a protected database".to_owned(), key, Method::DELETE, put(there, Vec::new()), whole(409, "KV-206")),
        ("an environment in use".to_owned(), key, Method::DELETE, put(own_environment, Vec::new()), whole(409, "KV-210")),
        ("an expired key".to_owned(), &foreign.expired, Method::PUT, put(new, fresh.to_string().into_bytes()), whole(401, "KV-201")),
        ("an unknown key".to_owned(), "kiven_nobody_knows", Method::PUT, put(new, fresh.to_string().into_bytes()), whole(401, "KV-201")),
        ("no key".to_owned(), "", Method::GET, put("/v1/databases", Vec::new()), whole(401, "KV-201")),
        ("a reader's key".to_owned(), &foreign.viewer, Method::PUT, put(new, fresh.to_string().into_bytes()), whole(403, "KV-202")),
        ("broken JSON".to_owned(), key, Method::PUT, put(new, b"{\"name\": ".to_vec()), whole(400, "KV-208")),
        ("a field nobody knows".to_owned(), key, Method::PUT, put(new, with(fresh, &json!({ "colour": "red" }))), whole(400, "KV-208")),
        ("a field of another type".to_owned(), key, Method::PUT, put(new, with(fresh, &json!({ "storage_gb": "much" }))), whole(400, "KV-208")),
        ("a body of 300 kB".to_owned(), key, Method::PUT, put(new, vec![b' '; 300_000]), whole(413, "KV-413")),
        ("a body of 10 MB".to_owned(), key, Method::PUT, put(new, vec![b' '; 10_000_000]), whole(413, "KV-413")),
        ("a route that is none".to_owned(), key, Method::GET, put("/v1/nothing", Vec::new()), whole(404, "KV-203")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invalid_input_is_refused_with_its_code_and_changes_nothing() {
    let stack = Stack::start("bad").await.unwrap();
    let customer = Customer::connect(&stack).await.unwrap();
    let mut request = database_request(&customer.environment, "shop", 1);
    (request.storage_gb, request.deletion_protection) = (Some(20), Some(true));
    let (database, operation) = customer.ask(&request).await.unwrap();
    customer.succeed(&operation).await.unwrap();
    let database = customer.client.database_claim(&database.id).await.unwrap();
    let own = customer.client.me().await.unwrap().organization_id;
    let foreign = foreign(&stack, &own).await;
    let api = Api { http: reqwest::Client::new(), url: stack.said("api_url").unwrap(), key: stack.secret("api-key").unwrap() };
    let (key, mut failures) = (api.key.clone(), Vec::new());
    let base = serde_json::to_value(&request).unwrap();
    let (new, there) = (format!("/v1/databases/{}", DatabaseId::from_random(random().unwrap())), format!("/v1/databases/{}", database.id));
    let other_environment = format!("/v1/environments/{}", EnvironmentId::from_random(random().unwrap()));
    let environment = serde_json::to_value(environment_request("second")).unwrap();
    let fresh = with(&base, &json!({ "name": "fresh" }));
    let fresh: Value = serde_json::from_slice(&fresh).unwrap();
    let ground = Ground {
        key: &key,
        foreign: &foreign,
        base,
        fresh,
        environment,
        new,
        there,
        other_environment,
        own_environment: format!("/v1/environments/{}", customer.environment),
    };
    let mut cases = field_cases(&ground);
    cases.extend(whole_cases(&ground));
    let count = cases.len();
    for (what, key, method, (path, body), refusal) in cases {
        if let Err(failure) = api.check(&what, key, (method, &path, body), &refusal).await {
            failures.push(failure);
        }
    }
    let power = customer.client.database_get(&database.id).await.unwrap();
    assert_eq!(power, database, "the database is as it was");
    assert!(failures.is_empty(), "{} of {count} cases failed:\n{}\n{}", failures.len(), failures.join("\n"), stack.tail());
    eprintln!("{count} invalid inputs were refused");
    stack.end().await.unwrap();
}
