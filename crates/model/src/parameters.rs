//! PostgreSQL's parameters: which exist, what they take, and which are Kiven's to set.
//!
//! `data/parameters.tsv` is PostgreSQL 15's own `pg_settings` (name, type, unit, least, greatest, values, context).
use std::sync::LazyLock;

/// Parameters that Kiven or the operator sets; a customer's value would break a promise.
const MANAGED: [&str; 41] = [
    "allow_in_place_tablespaces",
    "allow_system_table_mods",
    "archive_command",
    "archive_library",
    "archive_mode",
    "archive_timeout",
    "bonjour",
    "bonjour_name",
    "cluster_name",
    "config_file",
    "data_directory",
    "data_sync_retry",
    "event_source",
    "external_pid_file",
    "full_page_writes",
    "fsync",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "log_destination",
    "log_directory",
    "log_filename",
    "logging_collector",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_target",
    "restart_after_crash",
    "restore_command",
    "shared_preload_libraries",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_key_file",
    "synchronous_standby_names",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
    "wal_level",
    "wal_log_hints",
];

/// Parameters that came after PostgreSQL 15, with the major that brought them.
const NEWER: [(&str, u32, Kind); 5] = [
    ("reserved_connections", 16, Kind::Integer { least: 0, greatest: 262_143 }),
    ("vacuum_buffer_usage_limit", 16, Kind::Integer { least: 0, greatest: 16_777_216 }),
    ("transaction_timeout", 17, Kind::Integer { least: 0, greatest: 2_147_483_647 }),
    ("io_combine_limit", 17, Kind::Integer { least: 1, greatest: 32 }),
    ("io_workers", 18, Kind::Integer { least: 1, greatest: 32 }),
];

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Bool,
    Integer { least: i64, greatest: i64 },
    Real { least: f64, greatest: f64 },
    Text,
    Enumeration(&'static str),
}

struct Parameter {
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    /// PostgreSQL reads it at its start only.
    at_start: bool,
}

static KNOWN: LazyLock<Vec<Parameter>> = LazyLock::new(|| include_str!("../data/parameters.tsv").lines().filter_map(row).collect());

fn row(line: &'static str) -> Option<Parameter> {
    let [name, kind, unit, least, greatest, values, context] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
    let kind = match kind {
        "bool" => Kind::Bool,
        "integer" => Kind::Integer { least: least.parse().ok()?, greatest: greatest.parse().ok()? },
        "real" => Kind::Real { least: least.parse().ok()?, greatest: greatest.parse().ok()? },
        "enum" => Kind::Enumeration(values),
        _ => Kind::Text,
    };
    Some(Parameter { name, unit, kind, at_start: context == "postmaster" })
}

/// Whether PostgreSQL takes a new value at its start only.
#[must_use]
pub fn needs_restart(name: &str) -> bool {
    KNOWN.iter().any(|known| known.name == name && known.at_start)
}

/// Why a parameter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such parameter in this major.
    #[error("PostgreSQL {version} has no parameter `{name}`")]
    Unknown {
        /// As given.
        name: String,
        /// The major asked for.
        version: u32,
        /// The known name most like it.
        nearest: Option<&'static str>,
    },
    /// Kiven sets it.
    #[error("`{0}` is set by Kiven")]
    Managed(String),
    /// Not a value of its type or range.
    #[error("`{value}` is not {wanted}")]
    Value {
        /// As given.
        value: String,
        /// What the parameter takes.
        wanted: String,
    },
}

/// Checks one parameter as PostgreSQL would.
///
/// # Errors
/// When PostgreSQL does not know it, Kiven manages it, or the value is not of its type and range.
pub fn check(name: &str, value: &str, version: u32) -> Result<(), Refused> {
    if MANAGED.contains(&name) || name.starts_with("recovery_target") || name.starts_with("debug_") || name.starts_with("ssl_") {
        return Err(Refused::Managed(name.to_owned()));
    }
    if let Some((_, _, kind)) = NEWER.iter().find(|(newer, since, _)| *newer == name && *since <= version) {
        return check_value(value, kind, "");
    }
    match KNOWN.iter().find(|known| known.name == name) {
        Some(known) => check_value(value, &known.kind, known.unit),
        None => Err(Refused::Unknown { name: name.to_owned(), version, nearest: nearest(name) }),
    }
}

fn check_value(value: &str, kind: &Kind, unit: &str) -> Result<(), Refused> {
    let refuse = |wanted: String| Err(Refused::Value { value: value.chars().take(64).collect(), wanted });
    match kind {
        Kind::Bool if ["on", "off", "true", "false", "yes", "no", "1", "0"].contains(&value.to_ascii_lowercase().as_str()) => Ok(()),
        Kind::Bool => refuse("on or off".to_owned()),
        Kind::Integer { least, greatest } => match in_unit(value, unit) {
            Some(number) if number >= *least as f64 && number <= *greatest as f64 => Ok(()),
            _ => refuse(format!("a whole number from {least} to {greatest}{}", unit_hint(unit))),
        },
        Kind::Real { least, greatest } => match in_unit(value, unit) {
            Some(number) if number >= *least && number <= *greatest => Ok(()),
            _ => refuse(format!("a number from {least} to {greatest}{}", unit_hint(unit))),
        },
        Kind::Enumeration(values) if values.split(',').any(|known| known.eq_ignore_ascii_case(value)) => Ok(()),
        Kind::Enumeration(values) => refuse(format!("one of {}", values.replace(',', ", "))),
        Kind::Text if value.contains(['\n', '\0']) => refuse("one line of text".to_owned()),
        Kind::Text => Ok(()),
    }
}

fn unit_hint(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" (in {unit}, or with a unit such as MB or s)") }
}

/// The value in the parameter's own unit, as PostgreSQL converts it (section "Parameter Names and Values" of its manual).
fn in_unit(value: &str, unit: &str) -> Option<f64> {
    let value = value.trim();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let number: f64 = digits.parse().ok()?;
    let suffix = &value[digits.len()..].trim_start();
    if suffix.is_empty() {
        return Some(number);
    }
    let (base, scale) = base_unit(unit)?;
    let (given, factor) = base_unit(suffix)?;
    (base == given).then_some(number * factor / scale)
}

/// The dimension and the size of a unit in bytes or milliseconds; `8kB` is PostgreSQL's block.
fn base_unit(unit: &str) -> Option<(char, f64)> {
    let (dimension, scale) = match unit {
        "B" => ('b', 1.0),
        "kB" => ('b', 1024.0),
        "8kB" => ('b', 8192.0),
        "MB" => ('b', 1_048_576.0),
        "GB" => ('b', 1_073_741_824.0),
        "TB" => ('b', 1_099_511_627_776.0),
        "us" => ('t', 0.001),
        "ms" => ('t', 1.0),
        "s" => ('t', 1000.0),
        "min" => ('t', 60_000.0),
        "h" => ('t', 3_600_000.0),
        "d" => ('t', 86_400_000.0),
        _ => return None,
    };
    Some((dimension, scale))
}

/// The known name with the fewest edits to this one, when they are few enough to be a slip.
fn nearest(name: &str) -> Option<&'static str> {
    /// More edits than this are another word.
    const EDITS_MAX: usize = 3;
    let best = KNOWN.iter().map(|known| (edits(name, known.name), known.name)).min()?;
    (best.0 <= EDITS_MAX).then_some(best.1)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_as_postgresql_would() {
        for (name, value, good) in [
            ("work_mem", "64MB", true),
            ("work_mem", "64 MB", true),
            ("work_mem", "65536", true),
            ("work_mem", "lots", false),
            ("work_mem", "5min", false),
            ("shared_buffers", "8kB", false),
            ("statement_timeout", "30s", true),
            ("statement_timeout", "-1", false),
            ("jit", "off", true),
            ("jit", "maybe", false),
            ("random_page_cost", "1.1", true),
            ("random_page_cost", "-1", false),
            ("wal_compression", "lz4", true),
            ("wal_compression", "zip", false),
            ("log_line_prefix", "%m", true),
            ("log_line_prefix", "a\nb", false),
            ("max_connections", "100", true),
        ] {
            assert_eq!(check(name, value, 15).is_ok(), good, "{name}={value}");
        }
    }

    #[test]
    fn unknown_ones_get_the_nearest_name_and_managed_ones_are_refused() {
        assert_eq!(check("wrok_mem", "1MB", 15), Err(Refused::Unknown { name: "wrok_mem".into(), version: 15, nearest: Some("work_mem") }));
        assert!(matches!(check("archive_command", "true", 15), Err(Refused::Managed(_))));
        assert!(matches!(check("transaction_timeout", "1000", 15), Err(Refused::Unknown { .. })));
        assert!(check("transaction_timeout", "1000", 17).is_ok());
    }
}
