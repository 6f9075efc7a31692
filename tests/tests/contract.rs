//! The API keeps its own document: schemathesis asks the running API what the document allows, and what it does not.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use kiven_model::logs::{LogFilter, LogSessionRequest};
use kiven_model::schedule::{ScheduleRequest, WindowRequest};
use kiven_model::{LogSessionId, ScheduleId};
use kiven_tests::customer::database_request;
use kiven_tests::{Customer, Stack, schemathesis, variable};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Most random requests of each operation, unless `KIVEN_CONTRACT_EXAMPLES` says otherwise: what fits into two minutes.
const EXAMPLES_MAX: &str = "60";
/// The run's seed, unless `KIVEN_CONTRACT_SEED` says otherwise.
const SEED: &str = "20260327";
/// How long the whole run may take.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Lines of schemathesis' words that a failure shows.
const TAIL_LINES: usize = 200;

/// The document with ids that lead somewhere, so that not every question ends at 404.
fn with_ids(mut document: Value, ids: &[(&str, String)]) -> Value {
    for (name, id) in ids {
        document["components"]["schemas"][*name]["examples"] = json!([id]);
    }
    for (path, methods) in document["paths"].as_object_mut().unwrap() {
        let schema = ["environments", "databases", "operations", "schedules", "log-sessions"].iter().position(|collection| path.contains(collection));
        for operation in methods.as_object_mut().unwrap().values_mut() {
            for parameter in operation["parameters"].as_array_mut().unwrap().iter_mut().filter(|parameter| parameter["in"] == "path") {
                parameter["example"] = json!(ids[schema.unwrap()].1);
            }
            if let Some(body) =
                operation.pointer_mut("/requestBody/content/application~1json/example").filter(|body| body["environment_id"].is_string())
            {
                body["environment_id"] = json!(ids[0].1);
            }
            if let Some(body) = operation.pointer_mut("/requestBody/content/application~1json/example").filter(|body| body["database_id"].is_string())
            {
                body["database_id"] = json!(ids[1].1);
            }
            if let Some(body) = operation.pointer_mut("/requestBody/content/application~1json/example").filter(|body| body["database_ids"].is_array())
            {
                body["database_ids"] = json!([ids[1].1]);
            }
        }
    }
    document
}

async fn run(program: &Path, stack: &Stack, document: &Value, only: &[&str]) -> (bool, String) {
    let file = stack.base().join("openapi.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let examples = variable("KIVEN_CONTRACT_EXAMPLES").unwrap_or_else(|| EXAMPLES_MAX.to_owned());
    let seed = variable("KIVEN_CONTRACT_SEED").unwrap_or_else(|| SEED.to_owned());
    let mut command = tokio::process::Command::new(program);
    command
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis/schemathesis.toml"))
        .arg("run")
        .arg(file)
        .args(only)
        .args(["--url", &stack.said("api_url").unwrap(), "--no-color", "--workers", "1", "--continue-on-failure"])
        .args(["--max-examples", &examples, "--seed", &seed, "--generation-database", "none"])
        .args(["--checks", "all", "--request-timeout", "30", "--suppress-health-check", "all"])
        .current_dir(stack.base())
        .env("KIVEN_API_KEY", stack.secret("api-key").unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output =
        tokio::time::timeout(RUN_MAX, command.output()).await.unwrap_or_else(|_| panic!("schemathesis took longer than {RUN_MAX:?}")).unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_api_keeps_its_document() {
    let Some(program) = schemathesis::find("contract") else { return };
    let stack = Stack::start("contract").await.unwrap();
    let customer = Customer::connect(&stack).await.unwrap();
    let mut request = database_request(&customer.environment, "shop", 1);
    request.deletion_protection = Some(true);
    let (database, operation) = customer.ask(&request).await.unwrap();
    customer.succeed(&operation).await.unwrap();
    // Disabled: what is asked about it must find the database as it was left.
    let hours = ScheduleRequest {
        database_ids: vec![database.id.to_string()],
        time_zone: "Europe/Paris".to_owned(),
        windows: vec![WindowRequest { days: vec!["mon".to_owned()], start: "08:00".to_owned(), end: "18:00".to_owned() }],
        enabled: Some(false),
        ..ScheduleRequest::default()
    };
    let schedule = customer.client.schedule_put(&ScheduleId::from_random(kiven_tests::random().unwrap()), &hours).await.unwrap();
    let reading = LogSessionRequest {
        database_id: database.id.clone(),
        reader_key: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a".to_owned(),
        expires_at_seconds: None,
        certificate: None,
        filter: LogFilter::default(),
    };
    let session = customer.client.log_session_put(&LogSessionId::from_random(kiven_tests::random().unwrap()), &reading).await.unwrap();
    let served = customer.client.document_get().await.unwrap();
    let ids = [
        ("EnvironmentId", customer.environment.to_string()),
        ("DatabaseId", database.id.to_string()),
        ("OperationId", operation.to_string()),
        ("ScheduleId", schedule.id.to_string()),
        ("LogSessionId", session.id.to_string()),
    ];
    let operations: usize = served["paths"].as_object().unwrap().values().map(|methods| methods.as_object().unwrap().len()).sum();
    let document = with_ids(served, &ids);
    let (good, said) = run(&program, &stack, &document, &[]).await;
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n");
    assert!(good, "the API and its document differ:\n{tail}\n{}", stack.tail());
    assert!(said.lines().any(|line| line.trim() == format!("Tested: {operations}")), "not all of {operations} operations were asked:\n{tail}");
    eprintln!("{tail}");
    // A document that lies about one field: else all of the above might have compared nothing.
    let mut lie = document;
    lie["components"]["schemas"]["Me"]["properties"]["organization_name"] = json!({ "type": "integer" });
    let (good, said) = run(&program, &stack, &lie, &["--include-operation-id", "me", "--phases", "coverage"]).await;
    assert!(!good && said.contains("Response violates schema"), "a lie was not found:\n{said}");
    stack.end().await.unwrap();
}
