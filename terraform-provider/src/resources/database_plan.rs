//! Planning a database, purely: from state and configuration to what will be, or why not.
use super::database_schema::{Asked, schema};
use super::value_of;
use crate::diagnose::{refused, violation, violations};
use crate::durations;
use kiven_model::api::Addresses;
use kiven_model::database::DatabaseSpec;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::price::monthly_usd;
use kiven_model::sizing::sizing;
use kiven_model::{Code, Violation, request};
use kiven_tfplugin::{Diagnostics, Value};

/// What makes a database this one.
const IDENTITY: [&str; 2] = ["name", "environment_id"];
/// What cannot be changed yet.
const FROZEN: [&str; 10] =
    ["plan", "custom", "postgres_version", "storage_gb", "instances", "parameters", "pooler", "backup", "allowed_namespaces", "extensions"];
/// What the node class and the cost follow from.
const SIZED: [&str; 4] = ["plan", "custom", "storage_gb", "instances"];

/// Checks a configuration that may hold unknown values. `offered` are the environment's versions, empty when not known.
pub(super) fn check(config: &Value, offered: &[u32]) -> Diagnostics {
    let asked = Asked::read(config);
    let mut wrong = asked.violations.clone();
    wrong.extend(request::database(&asked.request, offered).err().unwrap_or_default().into_iter().filter(|one| asked.counts(one)));
    wrong.extend(durations::check(config));
    violations(&schema(), &wrong)
}

/// The plan of a create.
pub(super) fn create(config: &Value, mut proposed: Value, offered: &[u32]) -> (Value, Diagnostics) {
    let wrong = check(config, offered);
    if wrong.has_error() {
        return (proposed, wrong);
    }
    let mut asked = Asked::read(config);
    if config.get("postgres_version").is_null() && offered.is_empty() {
        // The newest on offer is known once the environment is connected.
        asked.unknown.push("postgres_version");
    }
    let refused = fill(&mut proposed, &asked, offered);
    (proposed, refused)
}

/// The plan of an update.
pub(super) fn update(prior: &Value, config: &Value, mut proposed: Value, offered: &[u32]) -> (Value, Diagnostics) {
    let keeps_version = config.get("postgres_version").is_null() || config.get("postgres_version") == prior.get("postgres_version");
    // What runs may be older than what is on offer now.
    let offered = if keeps_version { &[] } else { offered };
    let mut wrong = check(config, offered);
    if wrong.has_error() {
        return (proposed, wrong);
    }
    let mut asked = Asked::read(config);
    if config.get("postgres_version").is_null() {
        asked.request.postgres_version = prior.get("postgres_version").as_i64().and_then(|version| u32::try_from(version).ok());
    }
    wrong.extend(fill(&mut proposed, &asked, offered));
    wrong.extend(changes(prior, &proposed));
    if !settled(prior) || !proposed.get("power").same(prior.get("power")) {
        proposed.set("status", Value::Unknown);
        proposed.set("operation_id", Value::Unknown);
        for name in ["connection_uri", "ca_certificate"] {
            if prior.get(name).is_null() {
                proposed.set(name, Value::Unknown);
            }
        }
    }
    (proposed, wrong)
}

/// Whether nothing moves any more: neither an operation nor people are at work.
fn settled(state: &Value) -> bool {
    let status = state.get("status").as_str().unwrap_or_default();
    [DatabaseStatus::Available, DatabaseStatus::Paused].iter().any(|settled| settled.as_str() == status)
}

/// Changes that are refused, each on its attribute.
pub(super) fn changes(prior: &Value, planned: &Value) -> Diagnostics {
    let schema = schema();
    let changed = |name: &str| planned.get(name).is_wholly_known() && !planned.get(name).same(prior.get(name));
    let mut wrong = Diagnostics::none();
    for name in IDENTITY.into_iter().filter(|name| changed(name)) {
        let hint = "A database keeps its name and its environment for life. Keep the value, or add a second kiven_database and move the data.";
        wrong.push(refused(&schema, Code::NEVER_CHANGEABLE, name, hint));
    }
    for name in FROZEN.into_iter().filter(|name| changed(name)) {
        let (before, after) = (prior.get(name), planned.get(name));
        if name == "storage_gb" && after.as_i64() < before.as_i64() {
            let message =
                format!("Storage cannot shrink from {} GB to {} GB", before.as_i64().unwrap_or_default(), after.as_i64().unwrap_or_default());
            let hint = "Volumes only grow. Keep the value, or move the data to a smaller database.";
            wrong.push(violation(&schema, &Violation::new(Code::STORAGE_SHRINKS, name, message, hint)));
            continue;
        }
        let field = deepest(name, before, after);
        let hint = "Until the next release only `power`, `deletion_protection`, `deletion` and `timeouts` can be changed. Keep the value.";
        wrong.push(refused(&schema, Code::NOT_YET_CHANGEABLE, &field, hint));
    }
    wrong
}

/// The one member in which two values differ, as a dotted field; the attribute itself when members came or went.
fn deepest(name: &str, before: &Value, after: &Value) -> String {
    let (Some(before), Some(after)) = (before.as_members(), after.as_members()) else { return name.to_owned() };
    let mut different = after.iter().filter(|(key, value)| before.get(*key).is_none_or(|old| !old.same(value)));
    match (different.next(), different.next()) {
        (Some((key, _)), None) => format!("{name}.{key}"),
        _ => name.to_owned(),
    }
}

/// Puts everything that follows from the configuration into the planned state; unknown attributes stay as they are.
fn fill(planned: &mut Value, asked: &Asked, offered: &[u32]) -> Diagnostics {
    // With a stand-in for something unknown the whole may not be valid; then everything waits for apply.
    let Ok(spec) = request::database(&asked.request, offered) else { return Diagnostics::none() };
    let spec: DatabaseSpec = spec.into_inner();
    let values = match value_of(&schema(), &spec) {
        Ok(values) => values,
        Err(refused) => return refused.into(),
    };
    let named = asked.knows(&["name", "pooler"]);
    let addresses = match value_of(&schema(), &Addresses::of(&spec.name, spec.pooler.enabled)) {
        Ok(addresses) => addresses,
        Err(refused) => return refused.into(),
    };
    for name in IDENTITY.iter().chain(&FROZEN).chain(&["power", "deletion_protection", "deletion"]) {
        if asked.knows(&[name]) && (*name != "storage_gb" && *name != "instances" || asked.knows(&["plan"])) {
            planned.set(name, values.get(name).clone());
        }
    }
    for name in ["host", "port", "pooler_host", "read_only_host", "database", "username"] {
        if named {
            planned.set(name, addresses.get(name).clone());
        }
    }
    if asked.knows(&SIZED) {
        planned.set("node_type", sizing(&spec).map(|sizing| sizing.node.node_type.to_owned()));
        planned.set("monthly_cost_usd", monthly_usd(&spec));
    }
    Diagnostics::none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::EnvironmentId;

    fn config(changes: &[(&str, Value)]) -> Value {
        let mut config = Value::Object(schema().names().map(|name| (name.to_owned(), Value::Null)).collect());
        config.set("name", "shop-eu");
        config.set("environment_id", EnvironmentId::from_random([1; 16]).as_str());
        config.set("plan", "startup");
        for (name, value) in changes {
            config.set(name, value.clone());
        }
        config
    }

    fn planned(config: &Value) -> Value {
        let mut proposed = config.clone();
        schema().mark_unknown(&mut proposed, config);
        let (planned, wrong) = create(config, proposed, &[16, 15]);
        assert!(wrong.is_empty(), "{wrong:?}");
        planned
    }

    fn available(config: &Value) -> Value {
        let mut state = planned(config);
        for name in ["id", "connection_uri", "ca_certificate", "operation_id"] {
            state.set(name, "known");
        }
        state.set("status", "available");
        state
    }

    #[test]
    fn a_create_knows_addresses_sizes_and_defaults() {
        let state = planned(&config(&[]));
        for (name, expected) in [("host", "shop-eu-rw.kiven-databases.svc"), ("database", "shop_eu"), ("node_type", "m6g.large"), ("power", "on")] {
            assert_eq!(state.get(name).as_str(), Some(expected), "{name}");
        }
        for (name, expected) in [("port", 5432), ("storage_gb", 50), ("instances", 2), ("postgres_version", 16)] {
            assert_eq!(state.get(name).as_i64(), Some(expected), "{name}");
        }
        assert_eq!(state.get("deletion").get("grace_days").as_i64(), Some(7));
        assert_eq!(state.get("deletion_protection").as_bool(), Some(true));
        for name in ["id", "status", "connection_uri", "ca_certificate", "operation_id"] {
            assert!(state.get(name).is_unknown(), "{name}");
        }
    }

    #[test]
    fn what_depends_on_the_unknown_is_unknown() {
        let state = planned(&config(&[("environment_id", Value::Unknown), ("plan", Value::Unknown)]));
        for name in ["environment_id", "plan", "storage_gb", "node_type", "monthly_cost_usd"] {
            assert!(state.get(name).is_unknown(), "{name}");
        }
        assert_eq!(state.get("host").as_str(), Some("shop-eu-rw.kiven-databases.svc"));
        let unnamed = planned(&config(&[("name", Value::Unknown)]));
        assert!(unnamed.get("host").is_unknown() && unnamed.get("storage_gb").as_i64() == Some(50));
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let prior = available(&config(&[]));
        let (planned, wrong) = update(&prior, &config(&[]), prior.clone(), &[17]);
        assert!(wrong.is_empty() && planned.same(&prior), "{wrong:?}");
    }

    #[test]
    fn every_change_but_four_is_refused_on_its_attribute() {
        let prior = available(&config(&[("storage_gb", Value::from(60))]));
        let check = |changes: &[(&str, Value)], expected: &[(&str, &str)]| {
            let mut all = vec![("storage_gb", Value::from(60))];
            all.extend_from_slice(changes);
            let config = config(&all);
            let mut proposed = prior.clone();
            for (name, value) in changes {
                proposed.set(name, value.clone());
            }
            let (planned, wrong) = update(&prior, &config, proposed, &[16]);
            let found: Vec<_> = wrong.iter().map(|one| (one.summary[..6].to_owned(), one.path.as_ref().unwrap().to_string())).collect();
            let expected: Vec<_> = expected.iter().map(|(code, path)| ((*code).to_owned(), (*path).to_owned())).collect();
            assert_eq!(found, expected);
            planned
        };
        check(&[("name", "other".into())], &[("KV-131", "name")]);
        check(&[("environment_id", EnvironmentId::from_random([2; 16]).as_str().into())], &[("KV-131", "environment_id")]);
        check(
            &[("plan", "business".into()), ("storage_gb", Value::from(100))],
            &[("KV-130", "plan"), ("KV-130", "storage_gb"), ("KV-130", "instances")],
        );
        check(&[("storage_gb", Value::from(50))], &[("KV-104", "storage_gb")]);
        let parameters = Value::Map([("work_mem".to_owned(), "8MB".into())].into());
        check(&[("parameters", parameters)], &[("KV-130", "parameters")]);
        let pooler = Value::object([("enabled", Value::Null), ("mode", "session".into()), ("pool_size", Value::Null)]);
        check(&[("pooler", pooler)], &[("KV-130", "pooler")]);
        let off = check(&[("power", "off".into()), ("deletion_protection", false.into())], &[]);
        assert!(off.get("status").is_unknown() && off.get("operation_id").is_unknown());
        assert_eq!(off.get("connection_uri").as_str(), Some("known"));
    }

    #[test]
    fn an_unfinished_database_is_waited_for_again() {
        let mut prior = available(&config(&[]));
        prior.set("status", "provisioning");
        prior.set("connection_uri", Value::Null);
        let (planned, wrong) = update(&prior, &config(&[]), prior.clone(), &[]);
        assert!(wrong.is_empty());
        for name in ["status", "operation_id", "connection_uri"] {
            assert!(planned.get(name).is_unknown(), "{name}");
        }
        assert_eq!(planned.get("ca_certificate").as_str(), Some("known"));
    }

    #[test]
    fn bad_values_are_on_their_attributes_with_code_and_hint() {
        let parameters = Value::Map([("wrok_mem".to_owned(), "8MB".into())].into());
        let deletion = Value::object([("final_backup", true.into()), ("grace_days", Value::from(91))]);
        let wrong = check(
            &config(&[
                ("name", "Shop".into()),
                ("plan", "huge".into()),
                ("parameters", parameters),
                ("deletion", deletion),
                ("storage_gb", Value::from(1.5)),
            ]),
            &[],
        );
        let found: Vec<_> = wrong.iter().map(|one| format!("{} {}", &one.summary[..6], one.path.as_ref().unwrap())).collect();
        for expected in ["KV-103 storage_gb", "KV-101 name", "KV-102 plan", "KV-106 parameters", "KV-115 deletion"] {
            assert!(found.contains(&expected.to_owned()), "{expected} in {found:?}");
        }
        assert!(wrong.iter().all(|one| !one.detail.is_empty()));
    }
}
