//! The provider under the real Terraform, against a small API in memory.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: it panics where something is not as expected, and nobody reads its documentation"
)]
#[path = "stories/agent_tokens.rs"]
mod agent_tokens;
#[path = "stories/documents.rs"]
mod documents;
mod fake_api;
#[path = "stories/functions.rs"]
mod functions;
#[path = "stories/maintenance.rs"]
mod maintenance;
#[path = "stories/schedules.rs"]
mod schedules;

use fake_api::Fake;
use kiven_model::lifecycle::DatabaseStatus;
use serde_json::Value as Json;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// How long one run of Terraform or one awaited change may take.
const RUN_MAX: Duration = Duration::from_secs(120);
/// `plan -detailed-exitcode`: nothing to do, something to do.
const NO_CHANGES: i32 = 0;
const CHANGES: i32 = 2;

struct Terraform {
    folder: tempfile::TempDir,
    fake: Fake,
}

/// The client that TFPLUGIN_CLIENT names, else Terraform.
fn client() -> OsString {
    std::env::var_os("TFPLUGIN_CLIENT").unwrap_or_else(|| "terraform".into())
}

fn there_is_a_client() -> bool {
    let there = std::process::Command::new(client()).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("skipped: the provider's stories: {} is not installed", client().display());
    }
    there
}

impl Terraform {
    async fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_terraform-provider-kiven"));
        let settings = format!("provider_installation {{\n dev_overrides {{ \"kiven/kiven\" = {:?} }}\n direct {{}}\n}}\n", binary.parent().unwrap());
        std::fs::write(folder.path().join("settings.tfrc"), settings).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, fake: Fake::start().await }
    }

    /// A module with an environment, its connection and this database.
    async fn of_database(database: &str) -> Self {
        Self::new(&[("main.tf", &module(database))]).await
    }

    fn write(&self, database: &str) {
        std::fs::write(self.folder.path().join("main.tf"), module(database)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(client());
        command.args(arguments).current_dir(self.folder.path()).kill_on_drop(true);
        command.env("TF_CLI_CONFIG_FILE", self.folder.path().join("settings.tfrc")).env("HOME", self.folder.path()).env("CHECKPOINT_DISABLE", "1");
        command.env("KIVEN_ENDPOINT", &self.fake.endpoint).env("KIVEN_API_KEY", "k").env("TF_IN_AUTOMATION", "1").env_remove("XDG_CONFIG_HOME");
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let output = tokio::time::timeout(RUN_MAX, self.command(arguments).output()).await;
        output.unwrap().unwrap()
    }

    async fn apply(&self, arguments: &[&str]) -> String {
        let mut all = vec!["apply", "-auto-approve", "-no-color"];
        all.extend_from_slice(arguments);
        let output = self.run(&all).await;
        assert!(output.status.success(), "{}", words(&output));
        words(&output)
    }

    async fn plan(&self, arguments: &[&str]) -> i32 {
        let mut all = vec!["plan", "-detailed-exitcode", "-no-color"];
        all.extend_from_slice(arguments);
        let output = self.run(&all).await;
        let code = output.status.code().unwrap();
        assert!(code == NO_CHANGES || code == CHANGES, "{}", words(&output));
        code
    }

    /// A plan that must fail; what Terraform said.
    async fn refused(&self, arguments: &[&str]) -> String {
        let mut all = vec!["plan", "-no-color"];
        all.extend_from_slice(arguments);
        let output = self.run(&all).await;
        assert_eq!(output.status.code(), Some(1), "{}", words(&output));
        words(&output)
    }

    /// The attributes of a resource in the state.
    async fn state(&self, address: &str) -> Option<Json> {
        let output = self.run(&["show", "-json"]).await;
        let json: Json = serde_json::from_slice(&output.stdout).unwrap();
        let all = json["values"]["root_module"]["resources"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["address"] == address).map(|one| one["values"].clone())
    }
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const HEAD: &str = r#"terraform {
  required_providers {
    kiven = { source = "kiven/kiven" }
  }
}
resource "kiven_environment" "this" {
  name             = "test"
  aws_account_id   = "000000000000"
  aws_region       = "eu-west-1"
  eks_cluster_name = "local"
}
resource "kiven_environment_connection" "this" {
  environment_id  = kiven_environment.this.id
  role_arn        = "arn:aws:iam::000000000000:role/kiven-access"
  subnets         = { "eu-west-1a" = "subnet-local-a" }
  launch_template = "lt-local"
}
resource "kiven_database" "this" {
"#;

fn module(database: &str) -> String {
    let environment = if database.contains("environment_id") { "" } else { "  environment_id = kiven_environment_connection.this.environment_id\n" };
    format!("{HEAD}{environment}{database}\n}}\n")
}

const SHOP: &str = "  name = \"shop\"\n  plan = \"startup\"\n  deletion_protection = false";

/// Terraform names the line on which an attribute stands.
fn on_line_of(said: &str, code: &str, line: &str) {
    let said: String = said.replace(['│', '╷', '╵'], " ");
    let found = said.split("Error: ").any(|error| error.starts_with(code) && error.contains(line) && error.contains("main.tf line"));
    assert!(found, "{code} on `{line}` in:\n{said}");
}

#[tokio::test]
async fn the_quickstart_is_made_paused_resumed_and_destroyed() {
    if !there_is_a_client() {
        return;
    }
    let example = |name| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart").join(name)).unwrap();
    let terraform = Terraform::new(&[("main.tf", &example("main.tf")), ("variables.tf", &example("variables.tf"))]).await;
    let said = terraform.apply(&[]).await;
    assert!(said.contains("postgresql://quickstart@quickstart-rw.kiven-databases.svc:5432/quickstart"), "{said}");
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    let state = terraform.state("kiven_database.this").await.unwrap();
    assert_eq!((&state["status"], &state["postgres_version"], &state["instances"]), (&"available".into(), &16.into(), &2.into()));
    assert!(terraform.fake.database().claimed);

    terraform.apply(&["-var", "power=off"]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Paused);
    assert_eq!(terraform.plan(&["-var", "power=off"]).await, NO_CHANGES);
    assert_eq!(terraform.plan(&[]).await, CHANGES);
    terraform.apply(&[]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Available);
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);

    terraform.apply(&["-destroy"]).await;
    terraform.fake.with(|world| {
        assert!(world.environments.is_empty());
        assert!(world.databases.values().all(|database| database.status == DatabaseStatus::Deleted));
    });
}

#[tokio::test]
async fn what_is_wrong_is_refused_at_plan_on_its_line() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database("  name = \"Shop\"\n  plan = \"huge\"\n  parameters = {\n    wrok_mem = \"8MB\"\n  }").await;
    let said = terraform.refused(&[]).await;
    on_line_of(&said, "KV-101", "name = \"Shop\"");
    on_line_of(&said, "KV-102", "plan = \"huge\"");
    on_line_of(&said, "KV-106: `parameters.wrok_mem`", "parameters = {");
    terraform.write("  name = \"shop\"\n  plan = \"startup\"\n  deletion = {\n    grace_days = 91\n  }\n  timeouts = {\n    create = \"soon\"\n  }");
    let said = terraform.refused(&[]).await;
    on_line_of(&said, "KV-115: `deletion.grace_days`", "deletion = {");
    on_line_of(&said, "KV-", "timeouts = {");
    terraform.fake.with(|world| assert!(world.environments.is_empty()));

    terraform.write(SHOP);
    terraform.apply(&[]).await;
    terraform.write("  name = \"other\"\n  plan = \"business\"\n  storage_gb = 20\n  deletion_protection = false");
    let said = terraform.refused(&[]).await;
    on_line_of(&said, "KV-103", "storage_gb = 20");
    terraform.write("  name = \"other\"\n  plan = \"business\"\n  deletion_protection = false");
    let said = terraform.refused(&[]).await;
    on_line_of(&said, "KV-131", "name = \"other\"");
    terraform.write(&format!("{SHOP}\n  postgres_version = 12"));
    on_line_of(&terraform.refused(&[]).await, "KV-109", "postgres_version = 12");

    terraform.write(&SHOP.replace("false", "true"));
    terraform.apply(&[]).await;
    let said = terraform.refused(&["-destroy"]).await;
    assert!(said.contains("KV-206") && said.contains("deletion_protection = false"), "{said}");
}

#[tokio::test]
async fn a_bad_key_and_a_foreign_environment_are_told_at_plan() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(&format!("{SHOP}\n  environment_id = \"env_00000000000000000000\"")).await;
    let said = terraform.refused(&[]).await;
    on_line_of(&said, "KV-203", "environment_id = \"env_00000000000000000000\"");
    let output = terraform.command(&["plan", "-no-color"]).env("KIVEN_API_KEY", "hunter2").output().await.unwrap();
    let said = words(&output);
    assert!(said.contains("KV-201") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn an_undone_create_leaves_no_state_and_the_next_apply_begins_anew() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(SHOP).await;
    terraform.apply(&["-target=kiven_environment.this"]).await;
    terraform.fake.with(|world| world.unwind_next = true);
    let output = terraform.run(&["apply", "-auto-approve", "-no-color"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("KV-301: The role cannot be assumed") && words(&output).contains("trust policy"), "{}", words(&output));
    assert!(terraform.state("kiven_environment_connection.this").await.is_none());
    terraform.apply(&["-target=kiven_environment_connection.this"]).await;
    terraform.fake.with(|world| world.unwind_next = true);
    assert_eq!(terraform.run(&["apply", "-auto-approve"]).await.status.code(), Some(1));
    assert!(terraform.state("kiven_database.this").await.is_none());
    terraform.apply(&[]).await;
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
}

#[tokio::test]
async fn a_create_out_of_time_keeps_its_state_and_is_waited_for_again() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(&format!("{SHOP}\n  timeouts = {{ create = \"1s\" }}")).await;
    terraform.apply(&["-target=kiven_environment_connection.this"]).await;
    terraform.fake.with(|world| world.hold = true);
    let said = terraform.apply(&[]).await;
    assert!(said.contains("Warning: The wait is over before the operation") && said.contains("AwaitHealthy"), "{said}");
    let state = terraform.state("kiven_database.this").await.unwrap();
    assert_eq!((&state["status"], &state["connection_uri"]), (&"provisioning".into(), &Json::Null));
    let id = terraform.fake.database().id;
    assert_eq!(terraform.plan(&[]).await, CHANGES);
    terraform.fake.with(|world| world.hold = false);
    terraform.apply(&[]).await;
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    assert_eq!((terraform.fake.database().id, terraform.state("kiven_database.this").await.unwrap()["status"].as_str()), (id, Some("available")));
}

#[tokio::test]
async fn an_interrupt_in_the_middle_of_a_create_keeps_its_state() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(SHOP).await;
    terraform.apply(&["-target=kiven_environment_connection.this"]).await;
    terraform.fake.with(|world| world.hold = true);
    let mut changed = terraform.fake.changed.subscribe();
    let mut command = terraform.command(&["apply", "-auto-approve", "-no-color"]);
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let group = format!("-{}", child.id().unwrap());
    let made = async {
        while terraform.fake.with(|world| world.databases.is_empty()) {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(RUN_MAX, made).await.unwrap();
    // As at a terminal: the whole group gets it, the provider too.
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().await.unwrap().success());
    let output = tokio::time::timeout(RUN_MAX, child.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.signal().is_none(), "{}", words(&output));
    let state = terraform.state("kiven_database.this").await.unwrap();
    assert_eq!(state["id"].as_str(), Some(terraform.fake.database().id.as_str()), "{}", words(&output));
    assert_eq!(state["status"], "provisioning");
    terraform.fake.with(|world| world.hold = false);
    terraform.apply(&[]).await;
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
}

#[tokio::test]
async fn a_database_is_imported_by_id_and_plans_are_listed() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(SHOP).await;
    terraform.apply(&[]).await;
    let id = terraform.fake.database().id;
    let environment = terraform.state("kiven_environment.this").await.unwrap()["id"].as_str().unwrap().to_owned();
    for address in ["kiven_database.this", "kiven_environment_connection.this"] {
        assert!(terraform.run(&["state", "rm", address]).await.status.success());
    }
    let imported = terraform.run(&["import", "-no-color", "kiven_environment_connection.this", &environment]).await;
    assert!(imported.status.success(), "{}", words(&imported));
    let imported = terraform.run(&["import", "-no-color", "kiven_database.this", id.as_str()]).await;
    assert!(imported.status.success(), "{}", words(&imported));
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    let missing = terraform.run(&["import", "-no-color", "kiven_database.other", "nonsense"]).await;
    assert!(!missing.status.success());
    let listed = format!(
        "{}\ndata \"kiven_plans\" \"all\" {{}}\noutput \"names\" {{ value = join(\",\", data.kiven_plans.all.plans[*].name) }}\n",
        module(SHOP)
    );
    std::fs::write(terraform.folder.path().join("main.tf"), listed).unwrap();
    let said = terraform.apply(&[]).await;
    assert!(said.contains("hobbyist,startup,business,premium"), "{said}");
}

#[tokio::test]
async fn a_database_that_should_be_off_is_off_after_its_create() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(&format!("{SHOP}\n  power = \"off\"")).await;
    terraform.apply(&[]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Paused);
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    terraform.write(&SHOP.replace("false", "true"));
    terraform.apply(&[]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Available);
    assert!(terraform.fake.database().spec.deletion_protection);
}

#[tokio::test]
async fn a_destroy_takes_back_what_is_still_being_made() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(&format!("{SHOP}\n  timeouts = {{ create = \"1s\" }}")).await;
    terraform.apply(&["-target=kiven_environment_connection.this"]).await;
    terraform.fake.with(|world| world.hold = true);
    terraform.apply(&[]).await;
    terraform.apply(&["-destroy"]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Failed);
    assert!(terraform.state("kiven_environment.this").await.is_none());
}

#[tokio::test]
async fn a_stuck_create_keeps_its_state_and_can_be_destroyed() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(SHOP).await;
    terraform.apply(&["-target=kiven_environment_connection.this"]).await;
    terraform.fake.with(|world| world.stick_next = true);
    let said = terraform.apply(&[]).await;
    assert!(said.contains("Warning: KV-301"), "{said}");
    assert_eq!(terraform.state("kiven_database.this").await.unwrap()["status"], "stuck");
    assert_eq!(terraform.plan(&[]).await, CHANGES);
    terraform.apply(&["-destroy"]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Grace);
}

#[tokio::test]
async fn the_provider_ends_when_terraform_is_killed() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(SHOP).await;
    terraform.apply(&["-target=kiven_environment_connection.this"]).await;
    terraform.fake.with(|world| world.hold = true);
    let temporary = terraform.folder.path().join("t");
    std::fs::create_dir(&temporary).unwrap();
    let sockets = || {
        std::fs::read_dir(&temporary).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("tfplugin-")).count()
    };
    let mut changed = terraform.fake.changed.subscribe();
    let mut child =
        terraform.command(&["apply", "-auto-approve"]).env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let made = async {
        while terraform.fake.with(|world| world.databases.is_empty()) {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(RUN_MAX, made).await.unwrap();
    assert!(sockets() > 0);
    child.kill().await.unwrap();
    let ended = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while sockets() > 0 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
}
