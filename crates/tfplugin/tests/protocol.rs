//! The protocol over reattach: what no client sends by itself, and what the client here is too old for.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test: it panics where something is not as expected")]
mod support;

use kiven_tfplugin::harness::{Harness, HarnessError};
use kiven_tfplugin::{Client, Diagnostics, Number, Path, Refinement, Type, Value};
use tonic::Code;

const THING: &str = "sink_thing";
const SINK: &str = "registry.terraform.io/examples/sink";
const ATTRIBUTES: [&str; 22] = [
    "id",
    "name",
    "size",
    "cost",
    "every",
    "precise",
    "anything",
    "pair",
    "tags",
    "labels",
    "secret",
    "secret_version",
    "secret_length",
    "old_name",
    "fail",
    "pace_ms",
    "pooler",
    "rules",
    "peers",
    "by_zone",
    "timeouts",
    "note",
];

struct Sink {
    harness: Harness,
    folder: tempfile::TempDir,
}

async fn sink() -> Sink {
    let harness = Harness::spawn(&support::example("kitchen-sink")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = Value::object([("folder", folder.path().to_str().unwrap().into()), ("old_folder", Value::Null)]);
    assert!(harness.configure(&config).await.unwrap().is_empty());
    Sink { harness, folder }
}

fn thing(given: &[(&str, Value)]) -> Value {
    let mut thing = Value::object(ATTRIBUTES.map(|name| (name, Value::Null)));
    thing.set("note", Value::List(vec![]));
    given.iter().for_each(|(name, value)| thing.set(name, value.clone()));
    thing
}

fn named(name: &str) -> Value {
    thing(&[("name", name.into())])
}

fn said(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.iter().map(|one| format!("{}: {}", one.path.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string), one.summary)).collect()
}

impl Sink {
    /// Plans and applies a configuration on top of a state.
    async fn apply(&self, prior: &Value, config: &Value) -> Value {
        let mut proposed = config.clone();
        for name in ["id", "size", "cost", "labels", "secret_length"] {
            if config.get(name).is_null() {
                proposed.set(name, prior.get(name).clone());
            }
        }
        let plan = self.harness.plan(THING, prior, &proposed, config).await.unwrap();
        assert!(plan.diagnostics.is_empty(), "{:?}", plan.diagnostics);
        let applied = self.harness.apply(THING, prior, &plan.state, config).await.unwrap();
        assert!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);
        applied.state
    }
}

#[tokio::test]
async fn a_plan_knows_defaults_prefixes_and_keeps_secrets_out() {
    let sink = sink().await;
    let config = thing(&[("name", Value::Unknown), ("secret", "s3cret".into()), ("secret_version", 1.into())]);
    let plan = sink.harness.plan(THING, &Value::Null, &config, &config).await.unwrap();
    assert_eq!(plan.state.get("size").as_str(), Some("small"));
    assert_eq!(plan.state.get("id"), &Value::from(Refinement::starting_with("thing-")));
    assert!(plan.state.get("secret").is_null() && plan.state.get("cost").is_unknown());
    let (mut planned, mut config) = (plan.state, config);
    [&mut planned, &mut config].into_iter().for_each(|known| known.set("name", "a"));
    let applied = sink.harness.apply(THING, &Value::Null, &planned, &config).await.unwrap();
    assert!(applied.state.get("secret").is_null());
    assert_eq!(applied.state.get("secret_length").as_i64(), Some(6));
}

#[tokio::test]
async fn a_write_only_value_is_refused_for_a_client_that_would_keep_it() {
    let sink = sink().await;
    let config = thing(&[("name", "a".into()), ("secret", "s".into()), ("secret_version", 1.into())]);
    assert_eq!(said(&sink.harness.validate(THING, &config).await.unwrap()), Vec::<String>::new());
    let old = sink.harness.as_client(Client::default());
    assert_eq!(said(&old.validate(THING, &config).await.unwrap()), ["secret: This attribute is write-only"]);
    assert_eq!(said(&old.validate(THING, &named("a")).await.unwrap()), Vec::<String>::new());
}

#[tokio::test]
async fn validators_and_rules_speak_on_their_attribute() {
    let sink = sink().await;
    let rule = |port: i64| Value::object([("port", port.into()), ("id", Value::Null)]);
    let config = thing(&[
        ("name", "a name that is far too long".into()),
        ("size", "huge".into()),
        ("rules", Value::List(vec![rule(80), rule(0)])),
        ("secret_version", 1.into()),
        ("fail", "validate".into()),
    ]);
    assert_eq!(
        said(&sink.harness.validate(THING, &config).await.unwrap()),
        [
            "name: `name` must have 1 to 20 characters",
            "size: `size` must be one of `small`, `large`",
            "rules[1].port: `rules[1].port` must be a whole number from 1 to 65535",
            "secret_version: All of `secret`, `secret_version` must be set together",
            "fail: Asked to fail",
        ]
    );
}

#[tokio::test]
async fn values_of_any_type_and_numbers_of_any_size_come_back_as_they_were() {
    let sink = sink().await;
    let of = Type::Tuple(vec![Type::Number, Type::String]);
    let anything = Value::dynamic(of, Value::Tuple(vec![1.into(), "two".into()]));
    let precise = Value::Number(Number::Big("123456789012345678901234567890.5".to_owned()));
    let config = thing(&[
        ("name", "a".into()),
        ("anything", anything.clone()),
        ("precise", precise.clone()),
        ("pair", Value::Tuple(vec!["x".into(), 2.into()])),
    ]);
    let state = sink.apply(&Value::Null, &config).await;
    assert_eq!((state.get("anything"), state.get("precise")), (&anything, &precise));
    let json = r#"{"id":"thing-a","name":"a","precise":123456789012345678901234567890.5,"note":[],"gone":true}"#;
    let upgraded = sink.harness.upgrade(THING, 2, json).await.unwrap();
    assert_eq!(upgraded.state.get("precise"), &precise);
}

#[tokio::test]
async fn nested_attributes_of_every_kind_are_filled_in() {
    let sink = sink().await;
    let object = |pairs: &[(&str, Value)]| Value::object(pairs.iter().map(|(name, value)| (*name, value.clone())));
    let config = thing(&[
        ("name", "a".into()),
        ("pooler", object(&[("size", Value::Null), ("mode", "session".into())])),
        ("rules", Value::List(vec![object(&[("port", 80.into()), ("id", Value::Null)])])),
        ("peers", Value::Set(vec![object(&[("to", "b".into()), ("id", Value::Null)]), object(&[("to", "c".into()), ("id", Value::Null)])])),
        ("by_zone", Value::Map([("a".to_owned(), object(&[("subnet", "s".into())]))].into())),
        ("timeouts", object(&[("create", "5m".into())])),
        ("note", Value::List(vec![object(&[("text", "n".into())])])),
    ]);
    let state = sink.apply(&Value::Null, &config).await;
    assert_eq!(state.get("pooler").get("size").as_i64(), Some(5), "a nested default");
    assert_eq!(state.get("rules").as_items().unwrap()[0].get("id").as_str(), Some("rules-80"));
    let peers: Vec<_> = state.get("peers").as_items().unwrap().iter().map(|peer| peer.get("id").as_str().unwrap().to_owned()).collect();
    assert_eq!(peers, ["peers-b", "peers-c"]);
    let read = sink.harness.read(THING, &state).await.unwrap();
    assert!(read.state.same(&state), "{:?}", read.state);
}

#[tokio::test]
async fn an_update_plans_what_follows_and_nothing_else() {
    let sink = sink().await;
    let state = sink.apply(&Value::Null, &thing(&[("name", "a".into()), ("every", "1h".into())])).await;
    let same = sink.harness.plan(THING, &state, &state, &thing(&[("name", "a".into()), ("every", "1h".into())])).await.unwrap();
    assert_eq!(same.state, state);
    let mut proposed = state.clone();
    proposed.set("size", "large");
    let config = thing(&[("name", "a".into()), ("size", "large".into()), ("every", "1h".into())]);
    let larger = sink.harness.plan(THING, &state, &proposed, &config).await.unwrap();
    assert!(larger.state.get("cost").is_unknown() && larger.requires_replace.is_empty());
    let mut renamed = state.clone();
    renamed.set("name", "b");
    let config = thing(&[("name", "b".into()), ("every", "1h".into())]);
    let replaced = sink.harness.plan(THING, &state, &renamed, &config).await.unwrap();
    assert_eq!(replaced.requires_replace, [Path::attribute("name")]);
}

#[tokio::test]
async fn a_destroy_can_be_refused_at_plan() {
    let sink = sink().await;
    let labels = Value::Map([("keep".to_owned(), "true".into())].into());
    let state = sink.apply(&Value::Null, &thing(&[("name", "a".into()), ("labels", labels)])).await;
    let plan = sink.harness.plan(THING, &state, &Value::Null, &Value::Null).await.unwrap();
    assert_eq!(said(&plan.diagnostics), ["labels[\"keep\"]: It is to be kept"]);
}

#[tokio::test]
async fn identity_comes_with_every_state_and_finds_it_again() {
    let sink = sink().await;
    let state = sink.apply(&Value::Null, &named("a")).await;
    let identity = Value::object([("id", "thing-a".into())]);
    assert_eq!(sink.harness.read(THING, &state).await.unwrap().identity, identity);
    let imported = sink.harness.import(THING, "", Some(&identity)).await.unwrap();
    assert_eq!((imported.state.get("name").as_str(), imported.identity), (Some("a"), identity.clone()));
    assert_eq!(sink.harness.upgrade_identity(THING, 0, r#"{"name":"a"}"#).await.unwrap(), identity);
    let missing = sink.harness.import(THING, "thing-b", None).await.unwrap();
    assert_eq!(said(&missing.diagnostics), ["-: Nothing to import"]);
    let config = sink.harness.generate_config(THING, &imported.state).await.unwrap();
    assert!(config.get("id").is_null() && config.get("name").as_str() == Some("a"));
}

#[tokio::test]
async fn states_of_other_types_and_versions_become_things() {
    let sink = sink().await;
    let moved = sink.harness.move_from(SINK, "sink_old", r#"{"name":"o"}"#, THING).await.unwrap();
    assert_eq!((moved.state.get("id").as_str(), moved.identity.get("id").as_str()), (Some("thing-o"), Some("thing-o")));
    let foreign = sink.harness.move_from("registry.terraform.io/hashicorp/null", "null_resource", "{}", THING).await.unwrap();
    assert_eq!(said(&foreign.diagnostics), ["-: A `null_resource` cannot become a `sink_thing`"]);
    let upgraded = sink.harness.upgrade(THING, 0, r#"{"id":"thing-u","title":"u"}"#).await.unwrap();
    assert_eq!((upgraded.state.get("name").as_str(), upgraded.state.get("size").as_str()), (Some("u"), Some("small")));
    let broken = sink.harness.upgrade(THING, 2, r#"{"name":{}}"#).await.unwrap();
    assert!(broken.diagnostics.iter().any(|one| one.detail == "name: expected a string"), "{:?}", broken.diagnostics);
}

#[tokio::test]
async fn deferral_is_told_to_those_who_know_it_and_a_plain_plan_to_others() {
    let sink = sink().await;
    let config = thing(&[("name", "a".into()), ("fail", "defer".into())]);
    assert!(sink.harness.plan(THING, &Value::Null, &config, &config).await.unwrap().deferred);
    let old = sink.harness.as_client(Client::default());
    let plan = old.plan(THING, &Value::Null, &config, &config).await.unwrap();
    assert!(!plan.deferred && plan.state.get("cost").is_unknown() && plan.diagnostics.is_empty());
}

#[tokio::test]
async fn functions_take_any_value_and_name_the_argument_that_is_wrong() {
    let sink = sink().await;
    let call = async |name: &str, arguments: &[Value]| sink.harness.call(name, arguments).await.unwrap();
    assert_eq!(call("shout", &["a".into(), "b".into(), "c".into()]).await.unwrap().as_str(), Some("A B C"));
    let wrong = call("shout", &["a".into(), "".into()]).await.unwrap_err();
    assert_eq!((wrong.text.as_str(), wrong.argument), ("there is nothing to say", Some(1)));
    let list = Value::dynamic(Type::List(Box::new(Type::String)), Value::List(vec!["x".into()]));
    for (given, word) in [(list.clone(), "list"), (Value::Null, "null"), (Value::Unknown, "unknown")] {
        assert_eq!(call("describe", &[given]).await.unwrap().as_str(), Some(word));
    }
    assert_eq!(call("first", &[list]).await.unwrap(), Value::dynamic(Type::String, "x"));
    assert!(call("shout", &[]).await.unwrap_err().text.contains("takes 1"));
    assert!(call("nothing", &[]).await.unwrap_err().text.contains("no function `nothing`"));
}

#[tokio::test]
async fn an_ephemeral_resource_is_opened_renewed_and_closed() {
    let sink = sink().await;
    let config = |audience: &str| Value::object([("audience", audience.into()), ("token", Value::Null)]);
    let wrong = sink.harness.check("ValidateEphemeralResourceConfig", "sink_token", &config("")).await.unwrap();
    assert_eq!(said(&wrong), ["audience: For whom?"]);
    let opened = sink.harness.open("sink_token", &config("me")).await.unwrap();
    assert_eq!(opened.result.get("token").as_str(), Some("token-for-me"));
    let file = sink.folder.path().join(String::from_utf8(opened.private.clone()).unwrap());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "open");
    let renewed = sink.harness.renew("sink_token", &opened.private).await.unwrap();
    assert!(renewed.renew_at >= opened.renew_at && std::fs::read_to_string(&file).unwrap() == "renewed");
    assert!(sink.harness.close("sink_token", &renewed.private).await.unwrap().is_empty());
    assert!(!file.exists());
}

#[tokio::test]
async fn a_list_streams_until_there_is_enough() {
    let sink = sink().await;
    for name in ["a", "b", "c"] {
        sink.apply(&Value::Null, &named(name)).await;
    }
    let config = Value::object([("prefix", "thing-".into())]);
    let (all, _) = sink.harness.list(THING, &config, true, 0).await.unwrap();
    let names: Vec<&str> = all.iter().map(|one| one.display_name.as_str()).collect();
    assert_eq!(names, ["thing-a", "thing-b", "thing-c"]);
    assert_eq!(all[0].identity.get("id").as_str(), Some("thing-a"));
    assert_eq!(all[2].state.as_ref().unwrap().get("name").as_str(), Some("c"));
    let (two, _) = sink.harness.list(THING, &config, false, 2).await.unwrap();
    assert!(two.len() == 2 && two[0].state.is_none());
}

#[tokio::test]
async fn an_action_tells_its_progress() {
    let sink = sink().await;
    sink.apply(&Value::Null, &named("a")).await;
    let config = |id: &str, times: i64| Value::object([("id", Value::from(id)), ("times", times.into())]);
    let wrong = sink.harness.check("ValidateActionConfig", "sink_poke", &config("thing-a", 9)).await;
    // ValidateActionConfig names its type in the same field as the others.
    assert_eq!(said(&wrong.unwrap()), ["times: `times` must be a whole number from 1 to 5"]);
    let (lines, end) = sink.harness.invoke("sink_poke", &config("thing-a", 3)).await.unwrap();
    assert_eq!(lines, ["poke 1", "poke 2", "poke 3"]);
    assert!(end.is_empty() && sink.folder.path().join("thing-a.poked").exists());
    let (lines, end) = sink.harness.invoke("sink_poke", &config("thing-x", 1)).await.unwrap();
    assert!(lines.is_empty() && said(&end) == ["id: Nothing to poke"]);
}

#[tokio::test]
async fn a_state_store_keeps_large_states_and_locks() {
    let sink = sink().await;
    let (harness, name) = (&sink.harness, "sink_states");
    let config = Value::object([("folder", sink.folder.path().to_str().unwrap().into())]);
    let (chunk, said) = harness.configure_state_store(name, &config, 1000).await.unwrap();
    assert!(chunk == 1000 && said.is_empty());
    let state: Vec<u8> = (0..10_500_u32).flat_map(u32::to_le_bytes).collect();
    let lock = harness.lock_state(name, "default", "apply").await.unwrap().unwrap();
    assert!(harness.lock_state(name, "default", "plan").await.unwrap().is_err(), "it is locked");
    assert!(harness.write_state(name, "default", &state, 999).await.unwrap().is_empty());
    let (read, chunks, _) = harness.read_state(name, "default").await.unwrap();
    assert!(read == state && chunks == 42);
    assert_eq!(harness.read_state(name, "other").await.unwrap().0, b"");
    assert_eq!(harness.states(name).await.unwrap(), ["default"]);
    harness.unlock_state(name, "default", &lock).await.unwrap();
    harness.delete_state(name, "default").await.unwrap();
    assert!(harness.states(name).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_panic_keeps_the_state_and_leaves_a_report() {
    let sink = sink().await;
    let config = thing(&[("name", "a".into()), ("fail", "panic".into())]);
    let plan = sink.harness.plan(THING, &Value::Null, &config, &config).await.unwrap();
    let answer = sink.harness.apply(THING, &Value::Null, &plan.state, &config).await.unwrap();
    assert!(answer.state.is_null());
    let told = answer.diagnostics.iter().next().unwrap();
    assert!(told.detail.starts_with("asked to panic (at ") && told.summary == "The provider panicked", "{told:?}");
    let report = told.detail.split("A report without any value is in ").nth(1).unwrap().trim_end_matches('.');
    let text = std::fs::read_to_string(report).unwrap();
    assert!(text.contains("panicked at") && !text.contains("asked to panic"));
    std::fs::remove_file(report).unwrap();
}

#[tokio::test]
async fn a_stop_lets_what_waits_answer_with_its_state() {
    let sink = sink().await;
    let config = thing(&[("name", "a".into()), ("fail", "wait".into())]);
    let plan = sink.harness.plan(THING, &Value::Null, &config, &config).await.unwrap();
    let (applied, stopped) = tokio::join!(sink.harness.apply(THING, &Value::Null, &plan.state, &config), sink.harness.stop());
    stopped.unwrap();
    let applied = applied.unwrap();
    assert_eq!((applied.state.get("id").as_str(), said(&applied.diagnostics)), (Some("thing-a"), vec!["-: The wait was interrupted".to_owned()]));
}

#[tokio::test]
async fn what_the_provider_does_not_have_is_said() {
    let sink = sink().await;
    let config = Value::object([("prefix", Value::Null)]);
    let (_, end) = sink.harness.list("sink_old", &config, false, 0).await.unwrap();
    assert_eq!(said(&end), ["-: This provider has no list resource `sink_old`"]);
    let wrong = sink.harness.check("ValidateStateStoreConfig", "sink_nothing", &config).await.unwrap();
    assert_eq!(said(&wrong), ["-: This provider has no state store `sink_nothing`"]);
}

#[tokio::test]
async fn a_value_larger_than_what_grpc_takes_by_default_comes_back() {
    let sink = sink().await;
    let large = "x".repeat(16 << 20);
    let state = sink.apply(&Value::Null, &thing(&[("name", "a".into()), ("old_name", large.as_str().into())])).await;
    assert_eq!(state.get("old_name").as_str().map(str::len), Some(large.len()));
}

#[tokio::test]
async fn a_message_may_have_256_mebibytes_and_no_more() {
    const MOST: usize = 256 << 20;
    // What a configuration of one long text adds to that text.
    const REST: usize = 4 << 10;
    let sink = sink().await;
    let config = |bytes: usize| thing(&[("name", "a".into()), ("old_name", "x".repeat(bytes).as_str().into())]);
    let below = sink.harness.validate(THING, &config(MOST - REST)).await.unwrap();
    assert!(!below.has_error(), "{:?}", said(&below));
    let above = sink.harness.validate(THING, &config(MOST)).await.unwrap_err();
    assert!(matches!(&above, HarnessError::Refused(status) if status.code() == Code::OutOfRange), "{above}");
    // Nothing but that message is lost.
    assert!(!sink.harness.validate(THING, &config(1)).await.unwrap().has_error());
}

/// Every proof that the README names is a test.
#[test]
fn the_table_of_features_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = |module: &str| match module {
        "clients" => vec!["tests/clients.rs"],
        "protocol" => vec!["tests/protocol.rs"],
        "interrupt" => vec!["tests/clients/interrupt.rs"],
        "decode::tests" => vec!["src/decode.rs"],
        "wire_test" => vec!["src/wire_test.rs"],
        other => unreachable!("the table names {other}"),
    };
    let text = std::fs::read_to_string(root.join("README.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let proof = row.rsplit('`').nth(1).unwrap();
        let (module, name) = proof.rsplit_once("::").unwrap();
        let found = sources(module).into_iter().any(|file| std::fs::read_to_string(root.join(file)).unwrap().contains(&format!("fn {name}()")));
        assert!(found, "{proof}");
    }
}
