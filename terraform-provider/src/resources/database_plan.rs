//! Planning a database, purely: from state and configuration to what will be, or why not.
use super::database_schema::{Asked, schema};
use super::value_of;
use crate::diagnose::violations;
use crate::durations;
use jiff::Timestamp;
use kiven_model::api::Addresses;
use kiven_model::change::{Change, change, kept_storage_gb};
use kiven_model::database::{DatabaseSpec, Power};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::price::monthly_usd;
use kiven_model::request;
use kiven_model::schedule::NextSwitch;
use kiven_model::sizing::sizing;
use kiven_tfplugin::{Diagnostic, Diagnostics, Value};

/// What makes a database this one.
const IDENTITY: [&str; 2] = ["name", "environment_id"];
/// What a change is carried out for.
const CHANGEABLE: [&str; 10] =
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

/// What the API knows that a plan depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The environment's versions, empty when not known.
    pub(super) offered: &'a [u32],
    /// When the volumes last grew.
    pub(super) grown_at: Option<Timestamp>,
    /// What its schedule does next, where it follows one.
    pub(super) next_switch: Option<NextSwitch>,
    /// Now.
    pub(super) now: Timestamp,
}

/// The plan of an update.
pub(super) fn update(prior: &Value, config: &Value, mut proposed: Value, seen: &Seen<'_>) -> (Value, Diagnostics) {
    let Seen { offered, grown_at, next_switch, now } = *seen;
    let keeps_version = config.get("postgres_version").is_null() || config.get("postgres_version") == prior.get("postgres_version");
    // What runs may be older than what is on offer now.
    let offered = if keeps_version { &[] } else { offered };
    let mut wrong = check(config, offered);
    if wrong.has_error() {
        return (proposed, wrong);
    }
    let mut asked = Asked::read(config);
    if config.get("storage_gb").is_null()
        && let Ok(is) = request::database(&Asked::read(prior).request, &[])
    {
        asked.request.storage_gb = kept_storage_gb(&is, &asked.request.plan);
    }
    if config.get("postgres_version").is_null() {
        asked.request.postgres_version = prior.get("postgres_version").as_i64().and_then(|version| u32::try_from(version).ok());
    }
    wrong.extend(fill(&mut proposed, &asked, offered));
    let (change, refused) = changes(prior, &proposed, grown_at, now);
    wrong.extend(refused);
    wrong.extend(change.iter().map(|change| told(prior, change, next_switch)).collect::<Diagnostics>());
    let works = change.is_some() && prior.get("status").as_str() != Some(DatabaseStatus::Paused.as_str());
    if works || !settled(prior) || !proposed.get("power").same(prior.get("power")) {
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

/// Whether nothing moves any more: neither an operation nor people are at work. A database that its schedule is switching
/// is nothing to wait for: what a schedule does is no change.
fn settled(state: &Value) -> bool {
    let status = state.get("status").as_str().unwrap_or_default();
    let is = |all: &[DatabaseStatus]| all.iter().any(|settled| settled.as_str() == status);
    let switched = [DatabaseStatus::Pausing, DatabaseStatus::Resuming];
    is(&[DatabaseStatus::Available, DatabaseStatus::Paused]) || (state.get("schedule_id").as_str().is_some() && is(&switched))
}

/// What a change comes to: refusals, each on its attribute, or a word on how it is carried out. Nothing is said of what is not
/// known yet; apply asks again.
pub(super) fn changes(prior: &Value, planned: &Value, grown_at: Option<Timestamp>, now: Timestamp) -> (Option<Change>, Diagnostics) {
    let schema = schema();
    let is = Asked::read(prior);
    let mut wanted = Asked::read(planned);
    for name in std::mem::take(&mut wanted.unknown) {
        wanted.keep(name, &is);
    }
    let (Ok(is), Ok(wanted)) = (request::database(&is.request, &[]), request::database(&wanted.request, &[])) else {
        return (None, Diagnostics::none());
    };
    match change(&is, &wanted, grown_at, now) {
        Ok(change) => (change, Diagnostics::none()),
        Err(wrong) => (None, violations(&schema, &wrong)),
    }
}

/// Whether no PostgreSQL runs, or none will in a moment. What is declared does not say: a schedule switches off what is declared on.
pub(super) fn is_off(state: &Value) -> bool {
    let off = [DatabaseStatus::Paused, DatabaseStatus::Pausing];
    off.iter().any(|status| state.get("status").as_str() == Some(status.as_str()))
}

/// How a change is carried out, for people who read the plan.
pub(super) fn told(prior: &Value, change: &Change, next_switch: Option<NextSwitch>) -> Diagnostic {
    let name = prior.get("name").as_str().unwrap_or_default();
    if is_off(prior) {
        let title = format!("The change of database `{name}` is kept until it is switched on");
        let when = match next_switch {
            Some(NextSwitch { at, power: Power::On }) => format!(" Its schedule switches it on at {at}."),
            Some(NextSwitch { power: Power::Off, .. }) | None => String::new(),
        };
        return Diagnostic::warning(title, format!("{change} Nothing happens while it is off.{when}"));
    }
    Diagnostic::warning(format!("How the change of database `{name}` is carried out"), change.to_string())
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
    for name in IDENTITY.iter().chain(&CHANGEABLE).chain(&["power", "deletion_protection", "deletion", "maintenance_window"]) {
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

    fn seen(offered: &[u32]) -> Seen<'_> {
        Seen { offered, grown_at: None, next_switch: None, now: Timestamp::UNIX_EPOCH }
    }

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
        assert_eq!(state.get("maintenance_window").get("start").as_str(), Some("02:00"));
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
        let (planned, wrong) = update(&prior, &config(&[]), prior.clone(), &seen(&[17]));
        assert!(wrong.is_empty() && planned.same(&prior), "{wrong:?}");
    }

    #[test]
    fn a_change_says_how_it_is_carried_out_or_is_refused_on_its_attribute() {
        let prior = available(&config(&[("storage_gb", Value::from(60))]));
        let check = |prior: &Value, changes: &[(&str, Value)], expected: &[&str]| {
            let mut all = vec![("storage_gb", Value::from(60))];
            all.extend_from_slice(changes);
            let config = config(&all);
            let mut proposed = prior.clone();
            for (name, value) in changes {
                proposed.set(name, value.clone());
            }
            let (planned, said) = update(prior, &config, proposed, &seen(&[17, 16]));
            let found: Vec<String> = said
                .iter()
                .map(|one| format!("{}@{} {}", &one.summary[..6], one.path.as_ref().map(ToString::to_string).unwrap_or_default(), one.detail))
                .collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)), "{found:?} is not {expected:?}");
            planned
        };
        check(&prior, &[("name", "other".into())], &["KV-131@name"]);
        check(&prior, &[("environment_id", EnvironmentId::from_random([2; 16]).as_str().into())], &["KV-131@environment_id"]);
        check(&prior, &[("storage_gb", Value::from(50))], &["KV-104@storage_gb"]);
        check(&prior, &[("postgres_version", Value::from(17))], &["KV-130@postgres_version"]);
        let larger = check(
            &prior,
            &[("plan", "business".into()), ("storage_gb", Value::from(100))],
            &["How th@ plan startup → business, storage_gb 60 → 100, instances 2 → 3. Carried out rolling"],
        );
        assert!(larger.get("status").is_unknown() && larger.get("node_type").as_str() == Some("r6g.xlarge"));
        let parameters = || Value::Map([("work_mem".to_owned(), "8MB".into())].into());
        check(&prior, &[("parameters", parameters())], &["How th@ parameters the plan's → work_mem = 8MB. Carried out online"]);
        let mut off = prior.clone();
        off.set("status", "paused");
        off.set("power", "off");
        let kept = check(&off, &[("parameters", parameters()), ("power", "off".into())], &["The ch@ parameters"]);
        assert_eq!(kept.get("status").as_str(), Some("paused"), "nothing happens while it is off");
        let off = check(&prior, &[("power", "off".into()), ("deletion_protection", false.into())], &[]);
        assert!(off.get("status").is_unknown() && off.get("operation_id").is_unknown());
        assert_eq!(off.get("connection_uri").as_str(), Some("known"));
    }

    #[test]
    fn what_is_changed_while_its_schedule_has_it_off_is_kept_until_it_is_on() {
        let mut prior = available(&config(&[]));
        prior.set("schedule_id", "sch_1");
        let parameters = ("parameters", Value::Map([("work_mem".to_owned(), "8MB".into())].into()));
        let check = |status: &str, power: Power| {
            let mut prior = prior.clone();
            prior.set("status", status);
            let mut proposed = prior.clone();
            proposed.set(parameters.0, parameters.1.clone());
            let next_switch = Some(NextSwitch { at: "2026-11-24T07:00:00Z".parse().unwrap(), power });
            let (planned, said) = update(&prior, &config(std::slice::from_ref(&parameters)), proposed, &Seen { next_switch, ..seen(&[]) });
            let said: Vec<String> = said.iter().map(|one| format!("{} {}", one.summary, one.detail)).collect();
            (planned.get("status").clone(), said.join(" "))
        };
        // Declared on, switched off.
        for (status, after) in [("paused", Value::from("paused")), ("pausing", Value::Unknown)] {
            let (planned, said) = check(status, Power::On);
            assert!(said.contains("is kept until it is switched on") && said.contains("switches it on at 2026-11-24T07:00:00Z"), "{said}");
            assert!(planned.same(&after), "{status}: {planned:?}");
        }
        let (planned, said) = check("available", Power::Off);
        assert!(planned.is_unknown() && said.contains("is carried out"), "{said}");
    }

    #[test]
    fn a_smaller_plan_keeps_the_storage_there_is() {
        let prior = available(&config(&[("plan", "business".into())]));
        let config = config(&[]);
        let mut proposed = prior.clone();
        proposed.set("plan", "startup");
        let (planned, said) = update(&prior, &config, proposed, &seen(&[16]));
        assert_eq!((planned.get("storage_gb").as_i64(), planned.get("instances").as_i64()), (Some(100), Some(2)), "{said:?}");
    }

    #[test]
    fn an_unfinished_database_is_waited_for_again() {
        let mut prior = available(&config(&[]));
        prior.set("status", "provisioning");
        prior.set("connection_uri", Value::Null);
        let (planned, wrong) = update(&prior, &config(&[]), prior.clone(), &seen(&[]));
        assert!(wrong.is_empty());
        for name in ["status", "operation_id", "connection_uri"] {
            assert!(planned.get(name).is_unknown(), "{name}");
        }
        assert_eq!(planned.get("ca_certificate").as_str(), Some("known"));
    }

    #[test]
    fn bad_values_are_on_their_attributes_with_code_and_hint() {
        let parameters = Value::Map([("wrok_mem".to_owned(), "8MB".into())].into());
        let window =
            Value::object([("days", Value::Set(vec!["sunday".into()])), ("start", Value::Null), ("end", Value::Null), ("time_zone", Value::Null)]);
        let deletion = Value::object([("final_backup", true.into()), ("grace_days", Value::from(91))]);
        let wrong = check(
            &config(&[
                ("name", "Shop".into()),
                ("plan", "huge".into()),
                ("parameters", parameters),
                ("deletion", deletion),
                ("maintenance_window", window),
                ("storage_gb", Value::from(1.5)),
            ]),
            &[],
        );
        let found: Vec<_> = wrong.iter().map(|one| format!("{} {}", &one.summary[..6], one.path.as_ref().unwrap())).collect();
        for expected in ["KV-103 storage_gb", "KV-101 name", "KV-102 plan", "KV-106 parameters", "KV-115 deletion", "KV-134 maintenance_window"] {
            assert!(found.contains(&expected.to_owned()), "{expected} in {found:?}");
        }
        assert!(wrong.iter().all(|one| !one.detail.is_empty()));
    }
}
