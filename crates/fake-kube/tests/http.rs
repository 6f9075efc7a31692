//! The API as a client sees it over HTTP: the verbs, their refusals, watches, tokens and restarts.
#![allow(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use fake::{Change, Config, Handle, Selector, Server, Storage, kinds};
use kiven_fake_kube as fake;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const CLUSTERS: &str = "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters";
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

struct Api {
    handle: Handle,
    client: Client,
    token: String,
}

impl Api {
    async fn start(storage: Storage) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config { listen, storage, admin_token: "admin".into(), issuer: None, clock: fake::system_clock() };
        let handle = Server::start(config).await.unwrap();
        Self { handle, client: Client::new(), token: "admin".into() }
    }

    async fn with_namespace() -> Self {
        let api = Self::start(Storage::Memory).await;
        api.handle.create(&kinds::NAMESPACES, json!({ "metadata": { "name": "db" } })).unwrap();
        api
    }

    async fn ask(&self, method: &str, path: &str, media: &str, body: Value) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.handle.url())).bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.header("content-type", media).body(body.to_string()) };
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "", Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, "application/json", body).await
    }
}

fn cluster(name: &str, instances: u32) -> Value {
    json!({ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": name, "labels": { "app": name } }, "spec": { "instances": instances } })
}

#[tokio::test]
async fn create_read_update_and_the_conflict_of_a_stale_writer() {
    let api = Api::with_namespace().await;
    let (code, made) = api.post(CLUSTERS, cluster("a", 1)).await;
    assert_eq!((code, made["metadata"]["generation"].as_u64()), (201, Some(1)));
    assert_eq!(api.post(CLUSTERS, cluster("a", 1)).await.1["reason"], "AlreadyExists");
    let mut next = made.clone();
    next["spec"]["instances"] = json!(2);
    let (code, changed) = api.ask("PUT", &format!("{CLUSTERS}/a"), "application/json", next.clone()).await;
    assert_eq!((code, changed["metadata"]["generation"].as_u64()), (200, Some(2)));
    let (code, status) = api.ask("PUT", &format!("{CLUSTERS}/a"), "application/json", next).await;
    assert_eq!((code, &status["kind"], &status["reason"]), (409, &json!("Status"), &json!("Conflict")));
    let (_, list) = api.get("/apis/postgresql.cnpg.io/v1/clusters?labelSelector=app%3Da&limit=5").await;
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("ClusterList"), 1));
    assert_eq!(api.get(&format!("{CLUSTERS}?fieldSelector=metadata.name%3Db")).await.1["items"], json!([]));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let api = Api::with_namespace().await;
    for name in ["a", "b", "c"] {
        api.post(CLUSTERS, cluster(name, 1)).await;
    }
    let (_, first) = api.get(&format!("{CLUSTERS}?limit=2")).await;
    let next = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = api.get(&format!("{CLUSTERS}?limit=2&continue={next}")).await;
    assert_eq!((first["items"].as_array().unwrap().len(), second["items"][0]["metadata"]["name"].as_str()), (2, Some("c")));
    assert!(second["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn refusals_are_status_objects() {
    let api = Api::with_namespace().await;
    let mut wrong_kind = cluster("x", 1);
    wrong_kind["kind"] = json!("Pooler");
    for (method, path, media, body, code, reason) in [
        ("GET", "/apis/none/v1/things", "", Value::Null, 404, "NotFound"),
        ("GET", "/api/v1/namespaces/db/pods/none", "", Value::Null, 404, "NotFound"),
        ("POST", "/api/v1/namespaces/nowhere/configmaps", "application/json", json!({ "metadata": { "name": "x" } }), 404, "NotFound"),
        ("POST", CLUSTERS, "application/json", wrong_kind, 400, "BadRequest"),
        ("POST", CLUSTERS, "application/json", cluster("Not_a_name", 1), 422, "Invalid"),
        ("PATCH", "/api/v1/namespaces/default", "application/strategic-merge-patch+json", json!({}), 415, "UnsupportedMediaType"),
        (
            "POST",
            "/api/v1/namespaces/db/secrets",
            "application/json",
            json!({ "metadata": { "name": "x" }, "data": { "a": "!" } }),
            400,
            "BadRequest",
        ),
        ("POST", CLUSTERS, "application/json", json!("x".repeat(4_000_000)), 413, "RequestEntityTooLarge"),
        ("GET", &format!("{CLUSTERS}?labelSelector=a%20b"), "", Value::Null, 400, "BadRequest"),
    ] {
        let (got, status) = api.ask(method, path, media, body).await;
        assert_eq!((got, status["reason"].as_str()), (code, Some(reason)), "{method} {path}: {status}");
    }
    let anonymous = api.client.get(format!("{}/api/v1/namespaces", api.handle.url())).send().await.unwrap();
    assert_eq!(anonymous.status().as_u16(), 401);
}

#[tokio::test]
async fn apply_creates_merges_conflicts_and_removes_what_its_owner_drops() {
    let api = Api::with_namespace().await;
    let path = |manager: &str, force: bool| format!("{CLUSTERS}/a?fieldManager={manager}&force={force}");
    let mut wanted = cluster("a", 1);
    wanted["spec"]["postgresql"] = json!({ "parameters": { "work_mem": "4MB" } });
    assert_eq!(api.ask("PATCH", &path("agent", false), APPLY, wanted.clone()).await.0, 201);
    let (code, same) = api.ask("PATCH", &path("agent", false), APPLY, wanted).await;
    assert_eq!((code, same["metadata"]["generation"].as_u64()), (200, Some(1)));
    let (code, refused) = api.ask("PATCH", &path("hand", false), APPLY, cluster("a", 3)).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (409, &json!(".spec.instances")));
    assert_eq!(api.ask("PATCH", &path("hand", true), APPLY, cluster("a", 3)).await.0, 200);
    let (_, dropped) = api
        .ask("PATCH", &path("agent", true), APPLY, json!({ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": "a" } }))
        .await;
    assert_eq!((&dropped["spec"], &dropped["metadata"]["labels"]), (&json!({ "instances": 3 }), &json!({ "app": "a" })));
    assert_eq!(api.ask("PATCH", &format!("{CLUSTERS}/a"), APPLY, cluster("a", 1)).await.0, 400);
}

#[tokio::test]
async fn status_and_spec_do_not_touch_each_other() {
    let api = Api::with_namespace().await;
    api.post(CLUSTERS, cluster("a", 1)).await;
    let patch = json!({ "spec": { "instances": 9 }, "status": { "phase": "up" } });
    let (code, object) = api.ask("PATCH", &format!("{CLUSTERS}/a/status"), MERGE, patch.clone()).await;
    assert_eq!((code, &object["spec"]["instances"], &object["status"]["phase"]), (200, &json!(1), &json!("up")));
    assert_eq!(object["metadata"]["generation"], 1);
    let (_, object) = api.ask("PATCH", &format!("{CLUSTERS}/a"), MERGE, json!({ "spec": { "instances": 2 }, "status": null })).await;
    assert_eq!((&object["status"]["phase"], &object["metadata"]["generation"]), (&json!("up"), &json!(2)));
    let version = object["metadata"]["resourceVersion"].clone();
    let (_, again) = api.ask("PATCH", &format!("{CLUSTERS}/a"), MERGE, json!({ "spec": { "instances": 2 } })).await;
    assert_eq!(again["metadata"]["resourceVersion"], version);
}

#[tokio::test]
async fn finalizers_hold_and_owners_take_their_dependents_with_them() {
    let api = Api::with_namespace().await;
    let mut owner = cluster("a", 1);
    owner["metadata"]["finalizers"] = json!(["kiven.io/hold"]);
    let uid = api.post(CLUSTERS, owner).await.1["metadata"]["uid"].clone();
    let reference = json!([{ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "a", "uid": uid }]);
    api.post("/api/v1/namespaces/db/pods", json!({ "metadata": { "name": "a-1", "ownerReferences": reference } })).await;
    let (_, marked) = api.ask("DELETE", &format!("{CLUSTERS}/a?propagationPolicy=Foreground"), "", Value::Null).await;
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(api.get("/api/v1/namespaces/db/pods/a-1").await.0, 200);
    let release = json!([{ "op": "remove", "path": "/metadata/finalizers" }]);
    assert_eq!(api.ask("PATCH", &format!("{CLUSTERS}/a"), "application/json-patch+json", release).await.0, 200);
    assert_eq!(api.get(&format!("{CLUSTERS}/a")).await.0, 404);
    assert_eq!(api.get("/api/v1/namespaces/db/pods/a-1").await.0, 404);
}

#[tokio::test]
async fn a_namespace_goes_with_its_last_object() {
    let api = Api::with_namespace().await;
    api.post("/api/v1/namespaces/db/configmaps", json!({ "metadata": { "name": "held", "finalizers": ["x"] } })).await;
    api.ask("DELETE", "/api/v1/namespaces/db", "", Value::Null).await;
    assert_eq!(api.get("/api/v1/namespaces/db").await.1["status"]["phase"], "Terminating");
    assert_eq!(api.post("/api/v1/namespaces/db/configmaps", json!({ "metadata": { "name": "late" } })).await.0, 403);
    api.ask("PATCH", "/api/v1/namespaces/db/configmaps/held", MERGE, json!({ "metadata": { "finalizers": null } })).await;
    assert_eq!(api.get("/api/v1/namespaces/db").await.0, 404);
}

async fn lines(response: &mut reqwest::Response, count: usize) -> Vec<Value> {
    let mut text = String::new();
    while text.lines().count() < count || !text.ends_with('\n') {
        let chunk = tokio::time::timeout(Duration::from_secs(10), response.chunk()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn watches_tell_every_change_and_old_versions_are_gone() {
    let api = Api::with_namespace().await;
    api.post(CLUSTERS, cluster("a", 1)).await;
    let from = api.get(CLUSTERS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let watch =
        |from: &str| format!("{}{CLUSTERS}?watch=true&allowWatchBookmarks=true&labelSelector=app%3Da&resourceVersion={from}", api.handle.url());
    let mut stream = api.client.get(watch(&from)).bearer_auth("admin").send().await.unwrap();
    api.post(CLUSTERS, cluster("other", 1)).await;
    api.handle.patch(&kinds::CLUSTERS, "db", "a", &json!({ "spec": { "instances": 2 } })).unwrap();
    api.handle.patch(&kinds::CLUSTERS, "db", "a", &json!({ "metadata": { "labels": { "app": "b" } } })).unwrap();
    let told: Vec<String> = lines(&mut stream, 2).await.iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["MODIFIED", "DELETED"]);
    let mut fresh = api.client.get(watch("0").replace("%3Da", "%3Db")).bearer_auth("admin").send().await.unwrap();
    assert_eq!(lines(&mut fresh, 1).await[0]["type"], "ADDED");
    for round in 0..5000 {
        api.handle.patch(&kinds::CLUSTERS, "db", "other", &json!({ "spec": { "instances": round } })).unwrap();
    }
    let mut old = api.client.get(watch(&from)).bearer_auth("admin").send().await.unwrap();
    let gone = &lines(&mut old, 1).await[0];
    assert_eq!((&gone["type"], &gone["object"]["code"]), (&json!("ERROR"), &json!(410)));
    api.handle.stop().await;
}

#[tokio::test]
async fn a_bookmark_moves_a_quiet_watch_on() {
    let api = Api::with_namespace().await;
    let from = api.get(CLUSTERS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let url = format!("{}{CLUSTERS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=20&resourceVersion={from}", api.handle.url());
    let mut stream = api.client.get(url).bearer_auth("admin").send().await.unwrap();
    let made = api.post("/api/v1/namespaces/db/configmaps", json!({ "metadata": { "generateName": "x-" } })).await.1;
    let bookmark = &lines(&mut stream, 1).await[0];
    assert_eq!((&bookmark["type"], &bookmark["object"]["metadata"]["resourceVersion"]), (&json!("BOOKMARK"), &made["metadata"]["resourceVersion"]));
}

#[tokio::test]
async fn tokens_name_their_account_and_verify_with_the_published_key() {
    let mut api = Api::with_namespace().await;
    api.post("/api/v1/namespaces/db/serviceaccounts", json!({ "metadata": { "name": "agent" } })).await;
    let ask = |audiences: Value| json!({ "spec": { "audiences": audiences, "expirationSeconds": 900 } });
    let path = "/api/v1/namespaces/db/serviceaccounts/agent/token";
    let (code, answer) = api.post(path, ask(json!(["kiven-enrol"]))).await;
    assert_eq!(code, 201);
    let enrol = answer["status"]["token"].as_str().unwrap().to_owned();
    let (signed, signature) = enrol.rsplit_once('.').unwrap();
    let claims: Value = serde_json::from_slice(&B64.decode(signed.split_once('.').unwrap().1).unwrap()).unwrap();
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("system:serviceaccount:db:agent"), &json!(["kiven-enrol"])));
    let discovery: Value = api.get("/.well-known/openid-configuration").await.1;
    assert_eq!(discovery["issuer"], claims["iss"]);
    let key = api.get("/openid/v1/jwks").await.1["keys"][0].clone();
    let part = |name: &str| B64.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], part("x"), part("y")].concat();
    let verifier = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point);
    verifier.verify(signed.as_bytes(), &B64.decode(signature).unwrap()).unwrap();
    let own = api.post(path, ask(json!([]))).await.1["status"]["token"].as_str().unwrap().to_owned();
    for (token, code) in [(enrol, 401), (own.clone(), 200), (format!("{own}x"), 401)] {
        api.token = token;
        assert_eq!(api.get(CLUSTERS).await.0, code);
    }
    api.handle.delete(&kinds::SERVICE_ACCOUNTS, "db", "agent").unwrap();
    api.token = own;
    assert_eq!(api.get(CLUSTERS).await.0, 401);
}

fn every_file(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn a_restart_keeps_objects_versions_and_key_and_sqlite_never_sees_secret_data() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Files { database: folder.path().join("kube.sqlite"), secrets: folder.path().join("secrets") };
    let api = Api::start(storage.clone()).await;
    let secret = json!({ "metadata": { "name": "owner", "namespace": "default" }, "stringData": { "password": "correct-horse" } });
    let made = api.post("/api/v1/namespaces/default/secrets", secret).await.1;
    assert_eq!(made["data"]["password"], "Y29ycmVjdC1ob3JzZQ==");
    let key = api.get("/openid/v1/jwks").await.1;
    api.handle.stop().await;
    drop(api);
    for (name, bytes) in every_file(folder.path()) {
        for needle in ["correct-horse", "Y29ycmVjdC1ob3JzZQ"] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle.as_bytes()), "{name}");
        }
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.path().join("secrets/default/owner.json").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let api = Api::start(storage).await;
    let (_, found) = api.get("/api/v1/namespaces/default/secrets/owner").await;
    assert_eq!(found, made);
    assert_eq!(api.get("/openid/v1/jwks").await.1, key);
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    let next = api.post("/api/v1/namespaces/default/secrets", json!({ "metadata": { "name": "next" } })).await.1;
    assert!(version(&next) > version(&made));
    assert!(api.get("/api/v1/secrets?watch=true&resourceVersion=1").await.1.to_string().contains("410"));
    api.handle.delete(&kinds::SECRETS, "default", "owner").unwrap();
    assert!(!folder.path().join("secrets/default/owner.json").exists());
}

#[tokio::test]
async fn the_handle_watches_without_http() {
    let api = Api::with_namespace().await;
    let mut watch = api.handle.watch(&kinds::PODS, Some("db"), Selector::label("app", "a"));
    let pod = json!({ "metadata": { "name": "a", "namespace": "db", "labels": { "app": "a" } } });
    api.handle.apply(&kinds::PODS, pod, "kubelet").unwrap();
    api.handle.patch_status(&kinds::PODS, "db", "a", &json!({ "phase": "Running" })).unwrap();
    api.handle.delete(&kinds::PODS, "db", "a").unwrap();
    for expect in [Change::Added, Change::Modified, Change::Deleted] {
        assert_eq!(watch.next().await.unwrap().change, expect);
    }
    assert!(api.handle.list(&kinds::PODS, None, &Selector::all()).is_empty());
}
