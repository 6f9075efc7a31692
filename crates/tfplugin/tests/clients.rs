//! The example providers under a real client: Terraform, or the one that TFPLUGIN_CLIENT names.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test: it panics where something is not as expected")]
#[path = "clients/folder.rs"]
mod folder;
#[path = "clients/interrupt.rs"]
mod interrupt;
mod support;

use folder::{Folder, client, since, write};
use serde_json::Value as Json;

const SINK: &str = r#"
terraform {
  required_providers { sink = { source = "examples/sink" } }
  provider_meta "sink" { module = "kitchen" }
}
provider "sink" { folder = "shelf" }
"#;

fn sink(rest: &str) -> String {
    format!("{SINK}\n{rest}")
}

#[test]
fn a_minimal_provider_is_applied_changed_and_destroyed() {
    let Some(client) = client() else { return };
    let notes = |text: &str| {
        format!(
            "terraform {{\n required_providers {{ notes = {{ source = \"examples/notes\" }} }}\n}}\nresource \"notes_note\" \"a\" {{\n path = \"a.txt\"\n text = \"{text}\"\n}}\n"
        )
    };
    let folder = Folder::new(client, &notes("one"));
    folder.good(&["apply", "-auto-approve"]);
    assert_eq!(folder.read("a.txt"), "one");
    write(folder.path("main.tf"), &notes("two"));
    assert!(folder.good(&["apply", "-auto-approve"]).contains("0 added, 1 changed, 0 destroyed"));
    write(folder.path("a.txt"), "drifted");
    assert!(folder.good(&["plan"]).contains("\"drifted\" -> \"two\""));
    folder.good(&["apply", "-auto-approve"]);
    folder.good(&["destroy", "-auto-approve"]);
    assert!(!folder.path("a.txt").exists());
}

const KITCHEN: &str = r#"
resource "sink_thing" "a" {
  name           = "a"
  every          = " 1h "
  precise        = 123456789012345678901234567890.5
  anything       = { list = [1, "two", null] }
  pair           = ["x", 2]
  tags           = ["one", "two"]
  pooler         = { mode = "session" }
  rules          = [{ port = 80 }, { port = 443 }]
  peers          = [{ to = "b" }, { to = "c" }]
  by_zone        = { a = { subnet = "s1" } }
  timeouts { create = "5m" }
  note { text = "first" }
  SECRET
}
data "sink_thing" "a" { id = sink_thing.a.id }
output "cost" { value = data.sink_thing.a.cost }
output "rules" { value = sink_thing.a.rules[*].id }
"#;

#[test]
fn a_resource_with_everything_is_made_read_changed_and_destroyed() {
    let Some(client) = client() else { return };
    let folder = Folder::new(client, &sink(&KITCHEN.replace("SECRET", "")));
    folder.good(&["validate"]);
    let plan = folder.good(&["plan"]);
    assert!(plan.lines().any(|line| line.trim().starts_with("+ id ") && line.ends_with("\"thing-a\"")), "known at plan: {plan}");
    let applied = folder.good(&["apply", "-auto-approve"]);
    assert!(applied.contains("1 added, 0 changed, 0 destroyed"), "{applied}");
    assert_eq!(folder.output("cost"), Json::from(10));
    assert_eq!(folder.output("rules"), serde_json::json!(["rules-80", "rules-443"]));
    assert_eq!(folder.read("shelf/thing-a.module"), "kitchen", "provider_meta");
    assert!(folder.read("terraform.tfstate").contains("123456789012345678901234567890.5"), "every digit is kept");
    folder.unchanged();
    write(folder.path("main.tf"), &sink(&KITCHEN.replace("SECRET", "size = \"large\"").replace("\" 1h \"", "\"1h\"")));
    let plan = folder.good(&["plan"]);
    assert!(plan.contains("cost") && !plan.contains("every"), "what means the same is no change: {plan}");
    folder.good(&["apply", "-auto-approve"]);
    assert_eq!(folder.output("cost"), Json::from(20));
    assert_eq!(folder.read("shelf/thing-a.changes"), "1", "private state");
    folder.good(&["apply", "-auto-approve", "-refresh-only"]);
    folder.good(&["destroy", "-auto-approve"]);
    assert!(!folder.path("shelf/thing-a.json").exists());
}

#[test]
fn what_is_wrong_is_refused_on_its_line() {
    let Some(client) = client() else { return };
    let folder = Folder::new(
        client,
        &sink("resource \"sink_thing\" \"a\" {\n  name = \"a\"\n  rules = [{ port = 80 }, { port = 0 }]\n  old_name = \"b\"\n}\n"),
    );
    let told = folder.bad(&["validate"]);
    assert!(told.contains("`rules[1].port` must be a whole number from 1 to 65535") && told.contains("0 is not"), "{told}");
    write(folder.path("main.tf"), &sink("resource \"sink_thing\" \"a\" {\n  name = \"a\"\n  old_name = \"b\"\n}\n"));
    assert!(folder.good(&["validate"]).contains("deprecated"), "a deprecated attribute is a warning");
    write(folder.path("main.tf"), &sink("resource \"sink_thing\" \"a\" {\n  name = \"a\"\n  fail = \"create\"\n}\n"));
    assert!(folder.bad(&["apply", "-auto-approve"]).contains("At create."));
    assert!(!folder.read("terraform.tfstate").contains("sink_thing"), "what was not made is not in the state, and not tainted");
}

#[test]
fn a_change_of_the_name_replaces_and_says_so() {
    let Some(client) = client() else { return };
    let thing = |name: &str| sink(&format!("resource \"sink_thing\" \"a\" {{ name = \"{name}\" }}"));
    let folder = Folder::new(client, &thing("a"));
    folder.good(&["apply", "-auto-approve"]);
    write(folder.path("main.tf"), &thing("b"));
    assert!(folder.good(&["plan"]).contains("# forces replacement"));
    folder.good(&["apply", "-auto-approve"]);
    assert!(folder.path("shelf/thing-b.json").exists() && !folder.path("shelf/thing-a.json").exists());
}

#[test]
fn secrets_reach_the_object_and_no_state_and_no_plan() {
    let Some(client) = client() else { return };
    if !since(&client, "write-only attributes and ephemeral resources", "1.11", "1.11") {
        return;
    }
    let secret = |version: i32| {
        let token = "ephemeral \"sink_token\" \"t\" { audience = \"kitchen\" }\n";
        let lines = format!("secret = ephemeral.sink_token.t.token\n  secret_version = {version}");
        sink(&format!("{token}{}", KITCHEN.replace("SECRET", &lines)))
    };
    let folder = Folder::new(client, &secret(1));
    folder.good(&["plan", "-out=plan"]);
    folder.good(&["apply", "plan"]);
    let json = folder.good(&["show", "-json", "plan"]);
    let state = folder.read("terraform.tfstate");
    for text in [&json, &state] {
        assert!(!text.contains("token-for-kitchen"));
    }
    assert!(state.contains("\"secret_length\": 17"), "the secret arrived: {state}");
    assert_eq!(folder.names("shelf", ".token"), Vec::<String>::new(), "every opened one was closed");
    folder.unchanged();
    write(folder.path("main.tf"), &secret(2));
    assert!(folder.good(&["plan"]).contains("secret_length"), "another version is another secret");
}

#[test]
fn functions_are_called_by_the_configuration() {
    let Some(client) = client() else { return };
    if !since(&client, "provider functions", "1.8", "1.7") {
        return;
    }
    let functions = r#"
output "shout" { value = provider::sink::shout("a", "b") }
output "described" { value = [provider::sink::describe([1]), provider::sink::describe("x")] }
output "first" { value = provider::sink::first(["x", "y"]) }
"#;
    let folder = Folder::new(client, &sink(functions));
    folder.good(&["apply", "-auto-approve"]);
    assert_eq!(folder.output("shout"), Json::from("A B"));
    assert_eq!(folder.output("described"), serde_json::json!(["tuple", "string"]));
    assert_eq!(folder.output("first"), Json::from("x"));
    write(folder.path("main.tf"), &sink("output \"wrong\" { value = provider::sink::shout(\"a\", \"\") }"));
    assert!(folder.bad(&["plan"]).contains("there is nothing to say"));
}

#[test]
fn objects_are_imported_by_command_and_by_block() {
    let Some(client) = client() else { return };
    let one = sink("resource \"sink_thing\" \"a\" { name = \"a\" }");
    let folder = Folder::new(client, &one);
    folder.good(&["apply", "-auto-approve"]);
    std::fs::remove_file(folder.path("terraform.tfstate")).unwrap();
    folder.good(&["import", "sink_thing.a", "thing-a"]);
    folder.unchanged();
    std::fs::remove_file(folder.path("terraform.tfstate")).unwrap();
    write(folder.path("main.tf"), &format!("{one}\nimport {{\n  to = sink_thing.a\n  id = \"thing-a\"\n}}\n"));
    assert!(folder.good(&["apply", "-auto-approve"]).contains("1 imported, 0 added, 0 changed, 0 destroyed"));
    assert!(folder.bad(&["import", "sink_thing.b", "thing-b"]).contains("sink_thing"), "what is not there is an error");
}

#[test]
fn objects_are_imported_by_identity() {
    let Some(client) = client() else { return };
    if !since(&client, "resource identity", "1.12", "1.12") {
        return;
    }
    let one = sink("resource \"sink_thing\" \"a\" { name = \"a\" }");
    let folder = Folder::new(client, &one);
    folder.good(&["apply", "-auto-approve"]);
    std::fs::remove_file(folder.path("terraform.tfstate")).unwrap();
    write(folder.path("main.tf"), &format!("{one}\nimport {{\n  to = sink_thing.a\n  identity = {{ id = \"thing-a\" }}\n}}\n"));
    assert!(folder.good(&["apply", "-auto-approve"]).contains("1 imported, 0 added, 0 changed, 0 destroyed"));
    assert!(folder.read("terraform.tfstate").contains("\"identity\""), "the state holds it");
}

#[test]
fn an_object_of_another_type_is_moved() {
    let Some(client) = client() else { return };
    if !since(&client, "moves between types", "1.8", "1.10") {
        return;
    }
    let folder = Folder::new(client, &sink("resource \"sink_old\" \"o\" { name = \"o\" }"));
    folder.good(&["apply", "-auto-approve"]);
    let moved = "resource \"sink_thing\" \"o\" { name = \"o\" }\nmoved {\n  from = sink_old.o\n  to   = sink_thing.o\n}\n";
    write(folder.path("main.tf"), &sink(moved));
    let applied = folder.good(&["apply", "-auto-approve"]);
    assert!(applied.contains("0 added, 0 changed, 0 destroyed"), "{applied}");
    assert!(folder.path("shelf/thing-o.json").exists());
}

#[test]
fn a_state_of_an_older_version_is_read() {
    let Some(client) = client() else { return };
    let one = sink("resource \"sink_thing\" \"u\" { name = \"u\" }");
    let folder = Folder::new(client, &one);
    folder.good(&["apply", "-auto-approve"]);
    let mut state: Json = serde_json::from_str(&folder.read("terraform.tfstate")).unwrap();
    let instance = &mut state["resources"][0]["instances"][0];
    instance["schema_version"] = 0.into();
    instance["attributes"] = serde_json::json!({ "id": "thing-u", "title": "u", "cost": 10 });
    instance.as_object_mut().unwrap().retain(|name, _| !name.starts_with("identity"));
    write(folder.path("terraform.tfstate"), &state.to_string());
    folder.unchanged();
}

#[test]
fn what_no_client_here_can_do_yet_is_named() {
    let Some(client) = client() else { return };
    for feature in ["list resources", "actions", "state stores"] {
        since(&client, feature, "1.14", "99");
    }
}
