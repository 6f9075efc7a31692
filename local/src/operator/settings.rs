//! postgresql.conf and pg_hba.conf of an instance. Pure.
use super::archive::{Bucket, SUBCOMMAND};
use super::instance::Instance;
use super::logs::LINE_PREFIX;
use super::view::Spec;

use std::collections::BTreeMap;
use std::path::Path;

/// A laptop holds several databases: no server here takes more shared memory than this.
const SHARED_BUFFERS_MB_MAX: u64 = 32;

/// What an instance's files depend on besides the Cluster.
pub(crate) struct Place<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) primary: &'a Instance,
    pub(crate) standbys: &'a [String],
    pub(crate) bucket: Option<&'a Bucket>,
    pub(crate) archive_program: &'a Path,
    pub(crate) libraries: &'a Path,
}

/// The whole postgresql.conf: what the Cluster asks for, then what this place needs.
pub(crate) fn postgresql_conf(spec: &Spec, place: &Place<'_>) -> String {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in [
        ("hot_standby", "on"),
        ("max_wal_senders", "10"),
        ("max_replication_slots", "32"),
        ("wal_level", "replica"),
        ("wal_log_hints", "on"),
        ("archive_timeout", "5min"),
        ("wal_keep_size", "64MB"),
        ("max_connections", "100"),
    ] {
        all.insert(name.into(), value.into());
    }
    for (name, value) in &spec.parameters {
        all.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), Into::into));
    }
    all.extend(imposed(spec, place, &all).map(|(name, value)| (name.to_owned(), value)));
    all.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''"))).collect()
}

/// What this place needs, whatever was asked for.
fn imposed(spec: &Spec, place: &Place<'_>, all: &BTreeMap<String, String>) -> [(&'static str, String); 23] {
    let base = place.instance.base.display();
    let shared = megabytes(all.get("shared_buffers").map_or("", String::as_str)).unwrap_or(SHARED_BUFFERS_MB_MAX);
    let archive = place.bucket.map_or_else(|| "exit 0".into(), |bucket| archive_command(place.archive_program, bucket));
    [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", place.instance.port.to_string()),
        ("unix_socket_directories", place.instance.run.display().to_string()),
        ("unix_socket_permissions", "0700".into()),
        ("shared_buffers", format!("{}MB", shared.min(SHARED_BUFFERS_MB_MAX))),
        ("huge_pages", "off".into()),
        ("fsync", "on".into()),
        ("ssl", "on".into()),
        ("ssl_cert_file", format!("{base}/tls/server.crt")),
        ("ssl_key_file", format!("{base}/tls/server.key")),
        ("password_encryption", "scram-sha-256".into()),
        ("logging_collector", "off".into()),
        ("log_destination", "stderr".into()),
        ("log_line_prefix", LINE_PREFIX.into()),
        ("log_timezone", "UTC".into()),
        ("archive_mode", "on".into()),
        ("archive_command", archive),
        ("cluster_name", place.instance.name.clone()),
        ("primary_conninfo", conninfo(place)),
        ("primary_slot_name", place.instance.slot()),
        ("recovery_target_timeline", "latest".into()),
        ("synchronous_standby_names", synchronous(spec, place.standbys)),
        ("shared_preload_libraries", preload(spec, place.libraries)),
    ]
}

/// Local sockets live in a folder that only the servers' user enters, so they need no password; TCP needs TLS and one.
pub(crate) fn pg_hba(spec: &Spec) -> String {
    let mut lines = vec!["local all all trust".to_owned(), "local replication all trust".to_owned()];
    lines.extend(spec.hba.iter().cloned());
    lines.push("hostssl all all all scram-sha-256".into());
    lines.join("\n") + "\n"
}

/// How to reach an instance's server over its socket, as a libpq connection string.
pub(crate) fn socket(instance: &Instance, user: &str) -> String {
    format!("host={} port={} user={user} dbname=postgres", instance.run.display(), instance.port)
}

fn conninfo(place: &Place<'_>) -> String {
    if place.instance.name == place.primary.name {
        return String::new();
    }
    format!("{} application_name={}", socket(place.primary, "streaming_replica"), place.instance.name)
}

fn archive_command(program: &Path, bucket: &Bucket) -> String {
    let arguments: Vec<String> = bucket.archive_arguments().iter().map(|part| format!("\"{part}\"")).collect();
    format!("\"{}\" {SUBCOMMAND} {}", program.display(), arguments.join(" "))
}

fn synchronous(spec: &Spec, standbys: &[String]) -> String {
    let Some(wanted) = spec.synchronous.as_ref().filter(|_| !standbys.is_empty()) else {
        return String::new();
    };
    let number = wanted.number.min(u64::try_from(standbys.len()).unwrap_or(1)).max(1);
    let names: Vec<String> = standbys.iter().map(|name| format!("\"{name}\"")).collect();
    format!("{} {number} ({})", wanted.method, names.join(","))
}

/// The libraries asked for, or implied by a parameter's prefix, as far as they are installed here.
fn preload(spec: &Spec, libraries: &Path) -> String {
    let mut wanted = spec.preload.clone();
    for name in ["pg_stat_statements", "auto_explain", "pgaudit"] {
        if spec.parameters.keys().any(|key| key.starts_with(&format!("{name}."))) && !wanted.iter().any(|have| have == name) {
            wanted.push(name.into());
        }
    }
    wanted.retain(|name| libraries.join(format!("{name}.so")).is_file());
    wanted.join(",")
}

/// A memory setting in whole megabytes.
fn megabytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    match text[digits.len()..].trim() {
        "TB" => Some(number << 20),
        "GB" => Some(number << 10),
        "MB" => Some(number),
        "kB" => Some((number >> 10).max(1)),
        "" => Some((number >> 7).max(1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn instance(name: &str) -> Instance {
        Instance { name: name.into(), serial: 1, port: 5001, labelled_primary: true, base: "/v".into(), run: "/r".into() }
    }

    fn conf(parameters: Value, synchronous: Value) -> String {
        let cluster = json!({ "metadata": { "name": "a", "namespace": "db" }, "spec": { "postgresql": { "parameters": parameters, "synchronous": synchronous } } });
        let (one, two) = (instance("a-1"), instance("a-2"));
        let bucket = Bucket::parse("http://127.0.0.1:9", "s3://b/p", "a").unwrap();
        let place = Place {
            instance: &two,
            primary: &one,
            standbys: &["a-2".into()],
            bucket: Some(&bucket),
            archive_program: Path::new("/bin/k"),
            libraries: Path::new("/none"),
        };
        postgresql_conf(&Spec::of(&cluster), &place)
    }

    #[test]
    fn what_the_place_needs_wins_over_what_the_cluster_asks() {
        let text = conf(json!({ "work_mem": "4MB", "port": "1", "shared_buffers": "8GB", "x": "it's" }), Value::Null);
        for line in [
            "work_mem = '4MB'",
            "port = '5001'",
            "shared_buffers = '32MB'",
            "x = 'it''s'",
            "synchronous_standby_names = ''",
            "archive_command = '\"/bin/k\" archive-wal \"http://127.0.0.1:9\" \"b\" \"p/a\" \"%p\" \"%f\"'",
            "primary_conninfo = 'host=/r port=5001 user=streaming_replica dbname=postgres application_name=a-2'",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        let text = conf(json!({}), json!({ "method": "any", "number": 1 }));
        assert!(text.contains("synchronous_standby_names = 'ANY 1 (\"a-2\")'"));
    }

    #[test]
    fn memory_units() {
        for (text, expect) in [("1GB", Some(1024)), ("16384", Some(128)), ("512kB", Some(1)), ("8 MB", Some(8)), ("x", None)] {
            assert_eq!(megabytes(text), expect, "{text}");
        }
    }
}
