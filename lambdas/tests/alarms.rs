//! Alarms of `deploy/` are over metrics that the functions tell of, by the dimensions that they tell them by.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use kiven_model::operation::{OperationKind, OperationStatus};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A metric's name and its dimensions.
type Metric = (String, Vec<String>);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What is between the quotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every metric in the functions' source.
fn told() -> BTreeSet<Metric> {
    let files = ["src", "src/bin"].into_iter().flat_map(|name| std::fs::read_dir(folder(name)).unwrap().flatten());
    let files = files.map(|entry| entry.path()).filter(|path| path.is_file());
    let mut found = BTreeSet::new();
    for path in files {
        let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
        // A file's tests tell nothing.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in text.split(".metric(&[").skip(1) {
            let (dimensions, rest) = call.split_once(']').unwrap();
            found.insert((quoted(rest).first().unwrap().clone(), quoted(dimensions)));
        }
    }
    found
}

/// The table of metrics in telemetry's documentation.
fn documented() -> BTreeSet<Metric> {
    let text = std::fs::read_to_string(folder("src/telemetry.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let mut found = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[0].split(',').map(|name| name.trim().trim_matches('`')) {
            for dimensions in cells[1].split(';') {
                let dimensions = dimensions.split(" and ").map(|one| one.trim().to_owned()).filter(|one| !one.is_empty());
                found.insert((name.to_owned(), dimensions.collect()));
            }
        }
    }
    found
}

/// The metrics of ours that alarms are over, with the values of their dimensions.
fn alarmed() -> Vec<(Metric, Vec<String>)> {
    let text = std::fs::read_to_string(folder("../deploy/alarms.tf")).unwrap();
    let ours = text.split("namespace = local.namespace, metric = ").skip(1);
    ours.map(|rest| {
        let (dimensions, _) = rest.split_once("dimensions = {").unwrap().1.split_once('}').unwrap();
        let names = dimensions.split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim().to_owned()).collect();
        ((quoted(rest).first().unwrap().clone(), names), quoted(dimensions))
    })
    .collect()
}

#[test]
fn every_alarm_is_over_a_metric_that_is_told() {
    let (told, alarmed) = (told(), alarmed());
    assert!(alarmed.len() >= 10, "{alarmed:?}");
    for ((name, dimensions), values) in alarmed {
        assert!(told.contains(&(name.clone(), dimensions.clone())), "{name} by {dimensions:?} is told by no function: {told:#?}");
        for (dimension, value) in dimensions.iter().zip(values) {
            let known = match dimension.as_str() {
                "Kind" => serde_json::from_value::<OperationKind>(json!(value)).is_ok(),
                "Outcome" => serde_json::from_value::<OperationStatus>(json!(value)).is_ok(),
                _ => false,
            };
            assert!(known, "{name}: no {dimension} is {value}");
        }
    }
}

#[test]
fn the_table_of_metrics_is_whole() {
    assert_eq!(documented(), told());
}
