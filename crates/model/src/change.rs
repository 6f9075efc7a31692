//! What a change of a database means: what may change, how it is carried out, how long writes stop, what it costs. Pure.
use crate::database::{BackupSpec, CustomSize, DatabaseSpec, PoolMode, PoolerSpec};
use crate::parameters;
use crate::plan::PlanName;
use crate::price::monthly_usd;
use crate::sizing::{Sizing, sizing};
use crate::{Code, Violation};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// EBS takes one change of a volume in six hours (Amazon EBS User Guide, "Requirements when modifying volumes").
pub const STORAGE_COOLDOWN_HOURS: i64 = 6;

/// How a change reaches PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum How {
    /// While everything goes on.
    Online,
    /// Standbys first, one after the other, then one switchover.
    Switchover,
    /// The only instance starts again: there is no standby to switch to.
    Restart,
    /// The only instance moves to another node with its volume.
    Move,
}

impl How {
    /// How long writes stop, in seconds: from a good day to a slow one. `cargo xtask test day-two` measures the first three.
    #[must_use]
    pub fn interruption_seconds(self) -> (u32, u32) {
        match self {
            Self::Online => (0, 0),
            Self::Switchover => (1, 15),
            Self::Restart => (2, 30),
            Self::Move => (60, 300),
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.interruption_seconds();
        match self {
            Self::Online => f.write_str("online, without an interruption"),
            Self::Switchover => write!(f, "rolling, standbys first, then one switchover: writes stop for about {least} to {most} s"),
            Self::Restart => write!(f, "a restart of the only instance: about {least} to {most} s without PostgreSQL"),
            Self::Move => write!(f, "the only instance moves to another node: about {least} to {most} s without PostgreSQL"),
        }
    }
}

/// One attribute that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FieldChange {
    /// The attribute.
    pub field: String,
    /// As it is.
    pub from: String,
    /// As it will be.
    pub to: String,
}

/// A change that may be carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// What changes.
    pub fields: Vec<FieldChange>,
    /// How it is carried out.
    pub how: How,
    /// USD a month at most, before.
    pub usd_before: f64,
    /// USD a month at most, after.
    pub usd_after: f64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<String> = self.fields.iter().map(|one| format!("{} {} → {}", one.field, one.from, one.to)).collect();
        write!(f, "{}. Carried out {}.", fields.join(", "), self.how)?;
        if (self.usd_after - self.usd_before).abs() >= 0.01 {
            write!(f, " At most {:.2} USD a month instead of {:.2}.", self.usd_after, self.usd_before)?;
        }
        Ok(())
    }
}

/// Compares what is with what is wanted. `grown_at` is when the volumes last grew. `None`: nothing that an operation must do.
///
/// # Errors
/// Every field that must not, or cannot yet, change.
pub fn change(is: &DatabaseSpec, wanted: &DatabaseSpec, grown_at: Option<Timestamp>, now: Timestamp) -> Result<Option<Change>, Vec<Violation>> {
    // Destructured without `..`, so that a new field cannot be forgotten.
    let DatabaseSpec {
        name,
        environment_id,
        plan,
        custom,
        postgres_version,
        storage_gb,
        instances,
        parameters,
        pooler,
        backup,
        allowed_namespaces,
        extensions,
        power: _,
        deletion_protection: _,
        deletion: _,
        maintenance_window: _,
    } = is;
    let mut violations = Vec::new();
    for (field, changed) in [("name", *name != wanted.name), ("environment_id", *environment_id != wanted.environment_id)] {
        if changed {
            let hint = "Put it back. Nothing is ever replaced by surprise: make another database and move the data, then destroy this one.";
            violations.push(Violation::new(Code::NEVER_CHANGEABLE, field, format!("{field} can never be changed"), hint));
        }
    }
    if *postgres_version != wanted.postgres_version {
        let message = format!("PostgreSQL {postgres_version} cannot be changed to {} yet", wanted.postgres_version);
        violations.push(Violation::new(Code::NOT_YET_CHANGEABLE, "postgres_version", message, "Put it back."));
    }
    violations.extend(storage(*storage_gb, wanted.storage_gb, grown_at, now));
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut fields = Fields::default();
    fields.note("plan", plan, &wanted.plan);
    fields.note("custom", &size(custom.as_ref()), &size(wanted.custom.as_ref()));
    fields.note("storage_gb", storage_gb, &wanted.storage_gb);
    fields.note("instances", instances, &wanted.instances);
    fields.note("parameters", &settings(parameters, &wanted.parameters), &settings(&wanted.parameters, parameters));
    fields.note("pooler", &pooler_text(pooler), &pooler_text(&wanted.pooler));
    fields.note("backup", &backup_text(backup), &backup_text(&wanted.backup));
    fields.note("allowed_namespaces", &list(allowed_namespaces), &list(&wanted.allowed_namespaces));
    fields.note("extensions", &list(extensions), &list(&wanted.extensions));
    if fields.0.is_empty() {
        return Ok(None);
    }
    Ok(Some(Change { fields: fields.0, how: how(is, wanted), usd_before: monthly_usd(is), usd_after: monthly_usd(wanted) }))
}

/// What is applied, with those wishes of another spec that need no operation: what [`change`] leaves out of its comparison.
#[must_use]
pub fn with_wishes_of(applied: &DatabaseSpec, wanted: &DatabaseSpec) -> DatabaseSpec {
    let DatabaseSpec { power, deletion_protection, deletion, maintenance_window, .. } = wanted.clone();
    DatabaseSpec { power, deletion_protection, deletion, maintenance_window, ..applied.clone() }
}

fn storage(is: u32, wanted: u32, grown_at: Option<Timestamp>, now: Timestamp) -> Option<Violation> {
    if wanted < is {
        let message = format!("{wanted} GB is less than the {is} GB there are");
        return Some(Violation::new(Code::STORAGE_SHRINKS, "storage_gb", message, "Volumes only grow. Put the old number back."));
    }
    let free_at = grown_at? + SignedDuration::from_hours(STORAGE_COOLDOWN_HOURS);
    (wanted > is && now < free_at).then(|| {
        let message = format!("the volumes grew less than {STORAGE_COOLDOWN_HOURS} hours ago, and AWS takes no other growth before {free_at}");
        Violation::new(Code::STORAGE_COOLDOWN, "storage_gb", message, "Put the old number back, or apply again after that.")
    })
}

/// The gentlest way that the change allows.
fn how(is: &DatabaseSpec, wanted: &DatabaseSpec) -> How {
    let (Some(before), Some(after)) = (sizing(is), sizing(wanted)) else { return How::Switchover };
    let moves = before.node.node_type != after.node.node_type;
    if !moves && before.postgres == after.postgres && !restarts(&before, &after) {
        return How::Online;
    }
    match (is.instances.min(wanted.instances), moves) {
        (0 | 1, true) => How::Move,
        (0 | 1, false) => How::Restart,
        (_, _) => How::Switchover,
    }
}

/// Whether PostgreSQL takes some setting only at its start.
fn restarts(before: &Sizing, after: &Sizing) -> bool {
    let names = before.parameters.keys().chain(after.parameters.keys());
    let mut changed = names.filter(|name| before.parameters.get(*name) != after.parameters.get(*name));
    let preloads = |sizing: &Sizing| PRELOADED.map(|prefix| sizing.parameters.keys().any(|name| name.starts_with(prefix)));
    changed.any(|name| parameters::needs_restart(name)) || preloads(before) != preloads(after)
}

/// Extensions whose first setting makes CloudNativePG preload their library (CNPG documentation, "Managed extensions").
const PRELOADED: [&str; 3] = ["auto_explain.", "pg_stat_statements.", "pgaudit."];

/// The volume size when none is asked for: a smaller plan does not shrink what there is. `None` where the plan says more.
#[must_use]
pub fn kept_storage_gb(is: &DatabaseSpec, plan: &str) -> Option<u32> {
    let least = PlanName::parse(plan).and_then(PlanName::size).map_or(0, |size| size.storage_gb);
    (is.storage_gb > least).then_some(is.storage_gb)
}

/// The node groups' class, EC2's name, by which a change of nodes is told.
#[must_use]
pub fn node_type(spec: &DatabaseSpec) -> &'static str {
    sizing(spec).map_or("", |sizing| sizing.node.node_type)
}

#[derive(Default)]
struct Fields(Vec<FieldChange>);

impl Fields {
    fn note(&mut self, field: &str, from: &dyn fmt::Display, to: &dyn fmt::Display) {
        let (from, to) = (from.to_string(), to.to_string());
        if from != to {
            self.0.push(FieldChange { field: field.to_owned(), from, to });
        }
    }
}

fn size(custom: Option<&CustomSize>) -> String {
    custom.map_or_else(|| "none".to_owned(), |size| format!("{} vCPU, {} GiB", size.vcpu, size.memory_gib))
}

/// Those settings that differ from the others.
fn settings(these: &BTreeMap<String, String>, others: &BTreeMap<String, String>) -> String {
    let differing: Vec<String> =
        these.iter().filter(|(name, value)| others.get(*name) != Some(value)).map(|(name, value)| format!("{name} = {value}")).collect();
    // Where only the others have something, these differ by having none of it.
    if differing.is_empty() && these.len() < others.len() { "the plan's".to_owned() } else { differing.join(", ") }
}

fn pooler_text(pooler: &PoolerSpec) -> String {
    let PoolerSpec { enabled, mode, pool_size } = pooler;
    if !enabled {
        return "off".to_owned();
    }
    let mode = match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
    };
    pool_size.map_or_else(|| mode.to_owned(), |size| format!("{mode} of {size}"))
}

fn backup_text(backup: &BackupSpec) -> String {
    let BackupSpec { backup_retention_days, rpo_minutes } = backup;
    format!("{backup_retention_days} days, {rpo_minutes} minutes")
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::DatabaseRequest;
    use crate::request;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn spec(edit: impl FnOnce(&mut DatabaseRequest)) -> DatabaseSpec {
        let environment_id = crate::EnvironmentId::from_random([1; 16]).to_string();
        let mut asked = DatabaseRequest { name: "shop".into(), environment_id, plan: "startup".into(), ..DatabaseRequest::default() };
        edit(&mut asked);
        request::database(&asked, &[17]).unwrap().into_inner()
    }

    fn check(edit: impl FnOnce(&mut DatabaseRequest), how: Option<How>, text: &str) {
        let found = change(&spec(|_| {}), &spec(edit), None, NOW).unwrap();
        assert_eq!(found.as_ref().map(|change| change.how), how, "{found:?}");
        let said = found.map(|change| change.to_string()).unwrap_or_default();
        assert!(said.contains(text), "`{said}` does not say `{text}`");
    }

    fn set(name: &str, value: &str) -> impl FnOnce(&mut DatabaseRequest) {
        let pair = (name.to_owned(), value.to_owned());
        |asked| asked.parameters = [pair].into()
    }

    #[test]
    fn each_change_is_carried_out_in_the_gentlest_way() {
        check(|_| {}, None, "");
        check(|asked| asked.power = Some("off".into()), None, "");
        check(|asked| asked.storage_gb = Some(80), Some(How::Online), "storage_gb 50 → 80. Carried out online");
        check(|asked| asked.instances = Some(3), Some(How::Online), "instances 2 → 3");
        check(|asked| asked.allowed_namespaces = vec!["web".into()], Some(How::Online), "allowed_namespaces none → web");
        check(|asked| asked.backup.rpo_minutes = Some(15), Some(How::Online), "30 days, 5 minutes → 30 days, 15 minutes");
        check(|asked| asked.pooler.enabled = Some(false), Some(How::Online), "pooler transaction → off");
        check(set("work_mem", "8MB"), Some(How::Online), "parameters the plan's → work_mem = 8MB");
        check(set("max_connections", "250"), Some(How::Switchover), "one switchover: writes stop for about 1 to 15 s");
        check(|asked| asked.pooler.pool_size = Some(200), Some(How::Switchover), "transaction → transaction of 200");
        check(|asked| asked.plan = "business".into(), Some(How::Switchover), "plan startup → business");
        check(|asked| asked.plan = "business".into(), Some(How::Switchover), "USD a month instead of");
    }

    #[test]
    fn what_needs_no_operation_is_no_change() {
        let is = spec(|_| {});
        let wished = spec(|asked| (asked.power, asked.deletion_protection, asked.deletion.grace_days) = (Some("off".into()), Some(false), Some(1)));
        assert_eq!(with_wishes_of(&is, &wished), wished);
        assert_eq!(change(&is, &wished, None, NOW).unwrap(), None);
        let larger = spec(|asked| asked.storage_gb = Some(80));
        assert_eq!(with_wishes_of(&is, &larger), is);
    }

    #[test]
    fn a_single_instance_has_nothing_to_switch_to() {
        let single = |asked: &mut DatabaseRequest| asked.instances = Some(1);
        let other = |asked: &mut DatabaseRequest| {
            single(asked);
            asked.parameters = [("max_connections".to_owned(), "250".to_owned())].into();
        };
        assert_eq!(change(&spec(single), &spec(other), None, NOW).unwrap().unwrap().how, How::Restart);
        let larger = |asked: &mut DatabaseRequest| (asked.instances, asked.plan) = (Some(1), "business".into());
        assert_eq!(change(&spec(single), &spec(larger), None, NOW).unwrap().unwrap().how, How::Move);
    }

    #[test]
    fn what_may_not_change_is_told_on_its_field() {
        let refused = |is: &DatabaseSpec, wanted: &DatabaseSpec, grown_at| {
            change(is, wanted, grown_at, NOW).err().unwrap_or_default().into_iter().map(|one| (one.code, one.field)).collect::<Vec<_>>()
        };
        let large = spec(|asked| asked.storage_gb = Some(80));
        assert_eq!(refused(&large, &spec(|_| {}), None), [(Code::STORAGE_SHRINKS, "storage_gb".to_owned())]);
        let hours = |hours| Some(NOW - SignedDuration::from_hours(hours));
        assert_eq!(refused(&spec(|_| {}), &large, hours(5)), [(Code::STORAGE_COOLDOWN, "storage_gb".to_owned())]);
        assert_eq!(refused(&spec(|_| {}), &large, hours(6)), []);
        let other = spec(|asked| (asked.name, asked.postgres_version) = ("other".into(), Some(17)));
        assert_eq!(refused(&spec(|_| {}), &other, None), [(Code::NEVER_CHANGEABLE, "name".to_owned())]);
        let older = spec(|_| {});
        let newer = DatabaseSpec { postgres_version: 18, ..older.clone() };
        assert_eq!(refused(&older, &newer, None), [(Code::NOT_YET_CHANGEABLE, "postgres_version".to_owned())]);
    }
}
