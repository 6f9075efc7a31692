//! What the agent relies on in an API server, as one table: fake-kube is held to it always, a real API server in `cargo xtask test kube`.
use kube::client::Body;
use kube::{Client, Config};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const JSON: &str = "application/json";
/// Longest wait for what a controller does, or for a line of a watch.
const WAIT_MAX: Duration = Duration::from_secs(40);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// An API server to be held to the table.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) client: Client,
    /// Told apart from other runs on the same server.
    pub(crate) run: String,
    /// Whether somebody collects what has lost its owner and ends namespaces.
    pub(crate) has_controllers: bool,
}

/// An answer: its status and its body, text where it is no JSON.
type Answer = (u16, Value);

/// How a row is looked at.
type Look = for<'a> fn(&'a World, &'a str) -> std::pin::Pin<Box<dyn Future<Output = String> + 'a>>;

macro_rules! rows {
    ($($name:ident: $title:literal => $expected:literal;)*) => {
        /// What is looked at, how, and what every API server shows. Rows that begin with `controllers` want some.
        const ROWS: &[(&str, Look, &str)] = &[$(($title, |world, namespace| Box::pin($name(world, namespace)), $expected)),*];
    };
}

rows! {
    create: "create, create again, read" => "201 generation 1 | 409 AlreadyExists | 200";
    stale: "a stale writer" => "200 generation 2 | 409 Conflict";
    selectors: "label and field selectors" => "a | b | a,b";
    pages: "lists in pages" => "2, more | 1, no more";
    refusals: "refusals" => "404 404/NotFound 404/NotFound 400/BadRequest 422/Invalid 415 400/BadRequest 400/BadRequest 413";
    apply: "server-side apply" => "201 | 200 unchanged | 409 .spec.instances | 200 3 | dropped label, kept instances | created again? false";
    apply_needs_a_manager: "server-side apply without a manager" => "refused";
    status: "status is apart from the rest" => "1 up, generation 1 | 2 up, generation 2 | unchanged | 404";
    patches: "merge and JSON patches" => "[a,c] | [a] | 422";
    preconditions: "a deletion of another object than was meant" => "409 Conflict | 200 | 404 NotFound";
    finalizers: "finalizers hold a deletion" => "200 marked | there | 422 | 200 | gone";
    generated: "generated names" => "differ, with their prefix";
    watches: "watches tell every change of what they select" => "MODIFIED,DELETED | ADDED";
    old: "old versions are gone" => "ERROR 410";
    bookmark: "a quiet watch is moved on" => "BOOKMARK, not before its beginning, with a version alone";
    tokens: "tokens of ServiceAccounts" => "201 system:serviceaccount [kiven] published | 401 | authenticated | 401 | 401 after deletion";
    owners: "controllers: what was owned goes with its owner" => "there | gone";
    namespaces: "controllers: a namespace goes with its last object" => "Terminating | 403 | gone";
}

impl World {
    async fn send(&self, client: &Client, method: &str, path: &str, media: &str, body: Vec<u8>) -> Result<http::Response<Body>, Answer> {
        let request = http::Request::builder().method(method).uri(path).header("content-type", media).body(Body::from(body)).unwrap();
        match client.send(request).await {
            Ok(response) => Ok(response),
            Err(kube::Error::Api(status)) => Err((status.code, serde_json::to_value(&*status).unwrap())),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    async fn ask(&self, method: &str, path: &str, media: &str, body: &Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let response = match self.send(&self.client, method, path, media, bytes).await {
            Ok(response) => response,
            Err(answer) => return answer,
        };
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())))
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, JSON, &Value::Null).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, JSON, body).await
    }

    /// Waits for an answer.
    async fn until(&self, path: &str, good: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let answer = self.get(path).await;
            if good(&answer) || Instant::now() > deadline {
                return answer;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The first lines of a watch.
    async fn watch(&self, path: &str, lines: usize) -> Vec<Value> {
        let response = self.send(&self.client, "GET", path, JSON, Vec::new()).await.unwrap_or_else(|answer| panic!("{path}: {answer:?}"));
        read(response.into_body(), lines).await
    }
}

/// Lines of a stream, until there are so many or it ends.
async fn read(mut body: Body, lines: usize) -> Vec<Value> {
    use http_body_util::BodyExt;
    let mut text = String::new();
    while text.lines().count() < lines || !text.ends_with('\n') {
        match tokio::time::timeout(WAIT_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
            Ok(_) | Err(_) => break,
        }
    }
    text.lines().take(lines).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn clusters(namespace: &str) -> String {
    format!("/apis/postgresql.cnpg.io/v1/namespaces/{namespace}/clusters")
}

fn maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn cluster(name: &str, instances: u32) -> Value {
    json!({ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "instances": instances, "storage": { "size": "1Gi" } } })
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A status and its reason.
fn reason((code, body): &Answer) -> String {
    format!("{code} {}", word(&body["reason"]))
}

/// Holds a server to the table; answers what differs.
pub(crate) async fn differences(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (number, (title, look, expected)) in ROWS.iter().enumerate() {
        if title.starts_with("controllers") && !world.has_controllers {
            println!("\nskipped: {title}: there are none");
            continue;
        }
        let namespace = format!("{}-{number}", world.run);
        let made = world.post("/api/v1/namespaces", &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } })).await;
        assert_eq!(made.0, 201, "{made:?}");
        let shown = look(world, &namespace).await;
        if shown != *expected {
            found.push(format!("{title}:\n  expected {expected}\n  shown    {shown}"));
        }
        world.ask("DELETE", &format!("/api/v1/namespaces/{namespace}"), JSON, &Value::Null).await;
    }
    println!("{} rows of the table, {} differences", ROWS.len(), found.len());
    found
}

async fn create(world: &World, namespace: &str) -> String {
    let path = clusters(namespace);
    let (code, made) = world.post(&path, &cluster("a", 1)).await;
    let again = world.post(&path, &cluster("a", 1)).await;
    let (read, _) = world.get(&format!("{path}/a")).await;
    format!("{code} generation {} | {} | {read}", made["metadata"]["generation"], reason(&again))
}

async fn stale(world: &World, namespace: &str) -> String {
    let path = format!("{}/a", clusters(namespace));
    let (_, mut next) = world.post(&clusters(namespace), &cluster("a", 1)).await;
    next["spec"]["instances"] = json!(2);
    let (code, changed) = world.ask("PUT", &path, JSON, &next).await;
    let stale = world.ask("PUT", &path, JSON, &next).await;
    format!("{code} generation {} | {}", changed["metadata"]["generation"], reason(&stale))
}

async fn selectors(world: &World, namespace: &str) -> String {
    let path = clusters(namespace);
    for name in ["a", "b"] {
        world.post(&path, &cluster(name, 1)).await;
    }
    let mut shown = Vec::new();
    for query in ["labelSelector=app%3Da", "fieldSelector=metadata.name%3Db", "labelSelector=app%20in%20(a,b)"] {
        let (_, list) = world.get(&format!("{path}?{query}")).await;
        shown.push(list["items"].as_array().unwrap().iter().map(|item| word(&item["metadata"]["name"])).collect::<Vec<_>>().join(","));
    }
    shown.join(" | ")
}

async fn pages(world: &World, namespace: &str) -> String {
    let path = clusters(namespace);
    for name in ["a", "b", "c"] {
        world.post(&path, &cluster(name, 1)).await;
    }
    let shown = |list: &Value| {
        let more = if list["metadata"]["continue"].as_str().is_some_and(|next| !next.is_empty()) { "more" } else { "no more" };
        format!("{}, {more}", list["items"].as_array().unwrap().len())
    };
    let (_, first) = world.get(&format!("{path}?limit=2")).await;
    let (_, second) = world.get(&format!("{path}?limit=2&continue={}", word(&first["metadata"]["continue"]))).await;
    format!("{} | {}", shown(&first), shown(&second))
}

async fn refusals(world: &World, namespace: &str) -> String {
    let path = clusters(namespace);
    let mut wrong_kind = map("x");
    wrong_kind["kind"] = json!("Pod");
    world.post(&path, &cluster("a", 1)).await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "x" }, "data": { "a": "!" } });
    let asked = [
        ("GET", "/apis/none.example/v1/things".to_owned(), JSON, Value::Null, false),
        ("GET", format!("/api/v1/namespaces/{namespace}/pods/none"), JSON, Value::Null, true),
        ("POST", format!("{}nowhere/configmaps", maps(namespace).trim_end_matches("/configmaps")), JSON, map("x"), true),
        ("POST", maps(namespace), JSON, wrong_kind, true),
        ("POST", path.clone(), JSON, cluster("Not_a_name", 1), true),
        ("PATCH", format!("{path}/a"), "application/strategic-merge-patch+json", json!({}), false),
        ("POST", format!("/api/v1/namespaces/{namespace}/secrets"), JSON, secret, true),
        ("GET", format!("{path}?labelSelector=a%20b"), JSON, Value::Null, true),
        ("POST", path.clone(), JSON, json!("x".repeat(3_500_000)), false),
    ];
    let mut shown = Vec::new();
    for (method, path, media, body, with_reason) in asked {
        let answer = world.ask(method, &path, media, &body).await;
        shown.push(if with_reason { reason(&answer).replace(' ', "/") } else { answer.0.to_string() });
    }
    shown.join(" ")
}

async fn apply(world: &World, namespace: &str) -> String {
    let path = |manager: &str, force: bool| format!("{}/a?fieldManager={manager}&force={force}", clusters(namespace));
    let version = |object: &Value| word(&object["metadata"]["resourceVersion"]);
    let (made, first) = world.ask("PATCH", &path("agent", false), APPLY, &cluster("a", 1)).await;
    let (again, second) = world.ask("PATCH", &path("agent", false), APPLY, &cluster("a", 1)).await;
    let unchanged = if version(&first) == version(&second) { "unchanged" } else { "changed" };
    let mut three = cluster("a", 3);
    three["metadata"].as_object_mut().unwrap().remove("labels");
    let (refused, why) = world.ask("PATCH", &path("hand", false), APPLY, &three).await;
    let (forced, object) = world.ask("PATCH", &path("hand", true), APPLY, &three).await;
    let nothing = json!({ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": "a" },
        "spec": { "instances": 3, "storage": { "size": "1Gi" } } });
    let (_, dropped) = world.ask("PATCH", &path("agent", true), APPLY, &nothing).await;
    let label = if dropped["metadata"]["labels"]["app"].is_null() { "dropped label" } else { "kept label" };
    let kept = if dropped["spec"]["instances"] == 3 { "kept instances" } else { "dropped instances" };
    let same = dropped["metadata"]["uid"] == first["metadata"]["uid"];
    format!(
        "{made} | {again} {unchanged} | {refused} {} | {forced} {} | {label}, {kept} | created again? {}",
        word(&why["details"]["causes"][0]["field"]),
        object["spec"]["instances"],
        !same
    )
}

async fn apply_needs_a_manager(world: &World, namespace: &str) -> String {
    let (code, _) = world.ask("PATCH", &format!("{}/a", clusters(namespace)), APPLY, &cluster("a", 1)).await;
    // Which of the two it is depends on where it is noticed.
    if [400, 422].contains(&code) { "refused".to_owned() } else { code.to_string() }
}

async fn status(world: &World, namespace: &str) -> String {
    let path = format!("{}/a", clusters(namespace));
    world.post(&clusters(namespace), &cluster("a", 1)).await;
    let shown = |object: &Value| {
        format!("{} {}, generation {}", object["spec"]["instances"], word(&object["status"]["phase"]), object["metadata"]["generation"])
    };
    let patch = json!({ "spec": { "instances": 9 }, "status": { "phase": "up" } });
    let (_, by_status) = world.ask("PATCH", &format!("{path}/status"), MERGE, &patch).await;
    let patch = json!({ "spec": { "instances": 2 }, "status": { "phase": "down" } });
    let (_, by_main) = world.ask("PATCH", &path, MERGE, &patch).await;
    let (_, again) = world.ask("PATCH", &path, MERGE, &patch).await;
    let unchanged = if by_main["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"] { "unchanged" } else { "changed" };
    let (missing, _) = world.ask("PATCH", &format!("{}/none/status", clusters(namespace)), MERGE, &patch).await;
    format!("{} | {} | {unchanged} | {missing}", shown(&by_status), shown(&by_main))
}

async fn patches(world: &World, namespace: &str) -> String {
    let path = format!("{}/m", maps(namespace));
    let mut object = map("m");
    object["data"] = json!({ "a": "1", "b": "2" });
    world.post(&maps(namespace), &object).await;
    let keys = |object: &Value| object["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",");
    let (_, merged) = world.ask("PATCH", &path, MERGE, &json!({ "data": { "b": null, "c": "3" } })).await;
    let (_, patched) = world.ask("PATCH", &path, PATCH, &json!([{ "op": "remove", "path": "/data/c" }])).await;
    let (code, _) = world.ask("PATCH", &path, PATCH, &json!([{ "op": "test", "path": "/data/a", "value": "no" }])).await;
    format!("[{}] | [{}] | {code}", keys(&merged), keys(&patched))
}

async fn preconditions(world: &World, namespace: &str) -> String {
    let path = format!("{}/m", maps(namespace));
    let (_, made) = world.post(&maps(namespace), &map("m")).await;
    let options = |uid: &Value| json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
    let other = world.ask("DELETE", &path, JSON, &options(&json!("6f8b1d0c-0000-4000-8000-000000000001"))).await;
    let (meant, _) = world.ask("DELETE", &path, JSON, &options(&made["metadata"]["uid"])).await;
    let gone = world.ask("DELETE", &path, JSON, &options(&made["metadata"]["uid"])).await;
    format!("{} | {meant} | {}", reason(&other), reason(&gone))
}

async fn finalizers(world: &World, namespace: &str) -> String {
    let path = format!("{}/a", clusters(namespace));
    let mut held = cluster("a", 1);
    held["metadata"]["finalizers"] = json!(["kiven.io/hold"]);
    world.post(&clusters(namespace), &held).await;
    let (code, marked) = world.ask("DELETE", &path, JSON, &Value::Null).await;
    let marked = if marked["metadata"]["deletionTimestamp"].is_string() { "marked" } else { "not marked" };
    let there = if world.get(&path).await.0 == 200 { "there" } else { "gone" };
    // Once it is going nobody adds another hold.
    let (late, _) = world.ask("PATCH", &path, MERGE, &json!({ "metadata": { "finalizers": ["kiven.io/hold", "kiven.io/late"] } })).await;
    let (freed, _) = world.ask("PATCH", &path, PATCH, &json!([{ "op": "remove", "path": "/metadata/finalizers" }])).await;
    let after = if world.until(&path, |answer| answer.0 == 404).await.0 == 404 { "gone" } else { "there" };
    format!("{code} {marked} | {there} | {late} | {freed} | {after}")
}

async fn generated(world: &World, namespace: &str) -> String {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "made-" } });
    let (_, one) = world.post(&maps(namespace), &object).await;
    let (_, other) = world.post(&maps(namespace), &object).await;
    let (one, other) = (word(&one["metadata"]["name"]), word(&other["metadata"]["name"]));
    if one != other && [&one, &other].iter().all(|name| name.len() > 5 && name.starts_with("made-")) {
        "differ, with their prefix".to_owned()
    } else {
        format!("{one} {other}")
    }
}

async fn watches(world: &World, namespace: &str) -> String {
    let path = clusters(namespace);
    world.post(&path, &cluster("a", 1)).await;
    let from = word(&world.get(&path).await.1["metadata"]["resourceVersion"]);
    let watch = |from: &str, label: &str| {
        format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds=30&labelSelector=app%3D{label}&resourceVersion={from}")
    };
    world.post(&path, &cluster("other", 1)).await;
    world.ask("PATCH", &format!("{path}/a"), MERGE, &json!({ "spec": { "instances": 2 } })).await;
    world.ask("PATCH", &format!("{path}/a"), MERGE, &json!({ "metadata": { "labels": { "app": "b" } } })).await;
    let kinds = |lines: &[Value]| lines.iter().map(|line| word(&line["type"])).collect::<Vec<_>>().join(",");
    format!("{} | {}", kinds(&world.watch(&watch(&from, "a"), 2).await), kinds(&world.watch(&watch("0", "b"), 1).await))
}

async fn old(world: &World, namespace: &str) -> String {
    // Older than everything that is remembered: the version of the server's first moment, after many changes.
    let path = clusters(namespace);
    world.post(&path, &cluster("a", 1)).await;
    let deadline = Instant::now() + WAIT_MAX;
    for round in 0u32.. {
        let line = &world.watch(&format!("{path}?watch=true&timeoutSeconds=1&resourceVersion=1"), 1).await;
        let shown = line.first().map(|line| format!("{} {}", word(&line["type"]), line["object"]["code"])).unwrap_or_default();
        if shown.starts_with("ERROR") || Instant::now() > deadline {
            return shown;
        }
        for change in 0..1000 {
            world.ask("PATCH", &format!("{path}/a"), MERGE, &json!({ "metadata": { "annotations": { "n": format!("{round}-{change}") } } })).await;
        }
    }
    String::new()
}

async fn bookmark(world: &World, namespace: &str) -> String {
    let path = clusters(namespace);
    let from = word(&world.get(&path).await.1["metadata"]["resourceVersion"]);
    world.post(&maps(namespace), &map("elsewhere")).await;
    let lines = world.watch(&format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds=8&resourceVersion={from}"), 1).await;
    let Some(line) = lines.first() else { return "silence".to_owned() };
    let version = |text: &str| text.parse::<u64>().unwrap_or(0);
    let moved = version(&word(&line["object"]["metadata"]["resourceVersion"])) >= version(&from);
    let alone = line["object"]["metadata"]["name"].is_null();
    format!("{}{}{}", word(&line["type"]), if moved { ", not before its beginning" } else { "" }, if alone { ", with a version alone" } else { "" })
}

async fn tokens(world: &World, namespace: &str) -> String {
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    world.post(&accounts, &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "agent" } })).await;
    let token = async |audiences: Value| {
        let asked =
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "audiences": audiences, "expirationSeconds": 900 } });
        let (code, answer) = world.post(&format!("{accounts}/agent/token"), &asked).await;
        (code, word(&answer["status"]["token"]))
    };
    let (code, kiven) = token(json!(["kiven"])).await;
    let (_, own) = token(json!([])).await;
    let part = |token: &str, number: usize| -> Value {
        let encoded = token.split('.').nth(number).unwrap_or_default().replace('-', "+").replace('_', "/");
        let padded = format!("{encoded}{}", "=".repeat((4 - encoded.len() % 4) % 4));
        let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(padded)).unwrap();
        serde_json::from_slice(&bytes.0).unwrap()
    };
    let claims = part(&kiven, 1);
    let subject = word(&claims["sub"]).replace(&format!(":{namespace}:agent"), "");
    let (_, keys) = world.get("/openid/v1/jwks").await;
    let key = part(&kiven, 0)["kid"].clone();
    let published = keys["keys"].as_array().into_iter().flatten().any(|known| known["kid"] == key && key.is_string());
    let with = async |token: &str| {
        let mut config = world.config.clone();
        config.auth_info = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
        let client = Client::try_from(config).unwrap();
        match world.send(&client, "GET", &clusters(namespace), JSON, Vec::new()).await {
            Ok(response) => response.status().as_u16(),
            Err((code, _)) => code,
        }
    };
    let authenticated = if with(&own).await == 401 { "unknown" } else { "authenticated" };
    let (wrong, broken) = (with(&kiven).await, with(&format!("{own}x")).await);
    world.ask("DELETE", &format!("{accounts}/agent"), JSON, &Value::Null).await;
    let deadline = Instant::now() + WAIT_MAX;
    // The API server remembers good tokens for a few seconds.
    while with(&own).await != 401 && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    let published = if published { "published" } else { "unknown key" };
    format!(
        "{code} {subject} [{}] {published} | {wrong} | {authenticated} | {broken} | {} after deletion",
        claims["aud"].as_array().map(|all| all.iter().map(word).collect::<Vec<_>>().join(",")).unwrap_or_default(),
        with(&own).await
    )
}

async fn owners(world: &World, namespace: &str) -> String {
    let path = format!("{}/a", clusters(namespace));
    let (_, owner) = world.post(&clusters(namespace), &cluster("a", 1)).await;
    let mut owned = map("owned");
    owned["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "a", "uid": owner["metadata"]["uid"] }]);
    world.post(&maps(namespace), &owned).await;
    let dependent = format!("{}/owned", maps(namespace));
    let shown = |code: u16| if code == 404 { "gone" } else { "there" };
    let before = shown(world.get(&dependent).await.0);
    world.ask("DELETE", &format!("{path}?propagationPolicy=Background"), JSON, &Value::Null).await;
    format!("{before} | {}", shown(world.until(&dependent, |answer| answer.0 == 404).await.0))
}

async fn namespaces(world: &World, namespace: &str) -> String {
    let mut held = map("held");
    held["metadata"]["finalizers"] = json!(["kiven.io/hold"]);
    world.post(&maps(namespace), &held).await;
    let path = format!("/api/v1/namespaces/{namespace}");
    world.ask("DELETE", &path, JSON, &Value::Null).await;
    let phase = word(&world.get(&path).await.1["status"]["phase"]);
    let (late, _) = world.post(&maps(namespace), &map("late")).await;
    world.ask("PATCH", &format!("{}/held", maps(namespace)), MERGE, &json!({ "metadata": { "finalizers": null } })).await;
    let gone = world.until(&path, |answer| answer.0 == 404).await.0;
    format!("{phase} | {late} | {}", if gone == 404 { "gone" } else { "there" })
}
