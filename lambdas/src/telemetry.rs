//! One wide event for each piece of work: a line of JSON that is a log entry and, by its `_aws` part, metrics (CloudWatch's
//! embedded metric format).
//!
//! | metric | dimensions | from |
//! |---|---|---|
//! | `DriveMilliseconds`, `OperationAgeSeconds` | Kind | worker |
//! | `OperationsEnded` | Kind and Outcome; Outcome | worker |
//! | `ProvisionsEnded`, `ProvisionsFailed` | | worker |
//! | `RingLagMilliseconds`, `SchedulesDecided` | | worker |
//! | `Reports`, `ReportsDropped`, `CommandsRefused`, `DatabaseEvents`, `DatabaseEventsDropped`, `PostgresErrors`, `ReportLagMilliseconds`, `AgentAwaySeconds`, `DatabasesDown`, `DatabasesUnarchived` | | reports |
//! | `OperationsDue`, `SchedulesDue`, `SweepMilliseconds` | | sweep |
//! | `Enrolments` | Outcome | enrol |
//! | `RequestMilliseconds` | | api |
//! | `AwsCalls`, `AwsThrottles` | | all |
//!
//! `deploy/alarms.tf` is over these names; a test holds the two together.
use jiff::Timestamp;
use kiven_aws::meter::Calls;
use serde_json::{Map, Value, json};
use std::io::Write;

/// Where metrics go unless configured.
pub const NAMESPACE: &str = "Kiven";

/// A metric's unit, as CloudWatch names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
        }
    }
}

/// A wide event in the making.
#[derive(Debug, Clone)]
pub struct Event {
    at: Timestamp,
    fields: Map<String, Value>,
    metrics: Vec<(&'static [&'static str], &'static str, Unit)>,
}

impl Event {
    /// An event of this name.
    #[must_use]
    pub fn new(name: &str, at: Timestamp) -> Self {
        let fields = Map::from_iter([("level".to_owned(), json!("INFO")), ("event".to_owned(), json!(name))]);
        Self { at, fields, metrics: Vec::new() }
    }

    /// Says something that is no metric. A dimension's value is said in this way too.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Measures by these dimensions, each of which is a field.
    #[must_use]
    pub fn metric(mut self, by: &'static [&'static str], name: &'static str, unit: Unit, value: f64) -> Self {
        self.fields.insert(name.to_owned(), json!(value));
        self.metrics.push((by, name, unit));
        self
    }

    /// What was asked of AWS meanwhile.
    #[must_use]
    pub fn calls(self, calls: &Calls) -> Self {
        let counts = |number: u64| number as f64;
        self.field("aws_calls", json!(calls.by_operation)).metric(&[], "AwsCalls", Unit::Count, counts(calls.total())).metric(
            &[],
            "AwsThrottles",
            Unit::Count,
            counts(calls.throttled),
        )
    }

    /// The line.
    #[must_use]
    pub fn line(self, namespace: &str) -> String {
        let mut directives: Vec<(&[&str], Vec<Value>)> = Vec::new();
        for (by, name, unit) in self.metrics {
            let metric = json!({ "Name": name, "Unit": unit.as_str() });
            match directives.iter_mut().find(|(dimensions, _)| *dimensions == by) {
                Some((_, metrics)) => metrics.push(metric),
                None => directives.push((by, vec![metric])),
            }
        }
        let directives: Vec<Value> =
            directives.into_iter().map(|(by, metrics)| json!({ "Namespace": namespace, "Dimensions": [by], "Metrics": metrics })).collect();
        let mut line = self.fields;
        line.insert("timestamp".to_owned(), json!(self.at.to_string()));
        if !directives.is_empty() {
            line.insert("_aws".to_owned(), json!({ "Timestamp": self.at.as_millisecond(), "CloudWatchMetrics": directives }));
        }
        Value::Object(line).to_string()
    }

    /// Writes the line where the logs go.
    pub fn emit(self, namespace: &str) {
        let mut line = self.line(namespace);
        line.push('\n');
        // There is nowhere left to tell of a log that cannot be written.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// Whole milliseconds between two instants, never negative: clocks of two machines differ.
#[must_use]
pub fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.as_millisecond() - from.as_millisecond()).max(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_log_entry_and_its_metrics() {
        let calls = Calls { by_operation: [("dynamodb:GetItem".to_owned(), 3)].into(), throttled: 1 };
        let event = Event::new("drive", Timestamp::UNIX_EPOCH).field("operation_id", "op_1").field("Kind", "pause");
        let event = event.metric(&["Kind"], "DriveMilliseconds", Unit::Milliseconds, 12.0).calls(&calls);
        let line: Value = serde_json::from_str(&event.line("Kiven/test")).unwrap();
        let metric = |name: &str, unit: &str| json!({ "Name": name, "Unit": unit });
        let expected = json!({
            "timestamp": "1970-01-01T00:00:00Z", "level": "INFO", "event": "drive", "operation_id": "op_1", "Kind": "pause",
            "DriveMilliseconds": 12.0, "AwsCalls": 3.0, "AwsThrottles": 1.0, "aws_calls": { "dynamodb:GetItem": 3 },
            "_aws": { "Timestamp": 0, "CloudWatchMetrics": [
                { "Namespace": "Kiven/test", "Dimensions": [["Kind"]], "Metrics": [metric("DriveMilliseconds", "Milliseconds")] },
                { "Namespace": "Kiven/test", "Dimensions": [[]], "Metrics": [metric("AwsCalls", "Count"), metric("AwsThrottles", "Count")] },
            ] },
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn without_a_metric_it_is_a_log_entry_only() {
        let line = Event::new("request", Timestamp::UNIX_EPOCH).line("Kiven");
        assert_eq!(line, r#"{"event":"request","level":"INFO","timestamp":"1970-01-01T00:00:00Z"}"#);
    }
}
