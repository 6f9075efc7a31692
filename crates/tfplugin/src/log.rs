//! Log lines in the form that Terraform reads from a provider's stderr.
use serde_json::{Map, Value as Json};
use std::fmt;
use std::io::Write;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A layer that writes one JSON object a line with `@level`, `@message`, `@module`, `@timestamp` and the event's fields.
pub struct HclogLayer<W> {
    writer: W,
}

impl<W: Fn(&[u8]) + 'static> HclogLayer<W> {
    /// A layer that hands each finished line to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

#[derive(Default)]
struct Fields(Map<String, Json>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Json) {
        let name = if field.name() == "message" { "@message" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, Json::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, Json::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, Json::from(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, Json::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, Json::from(value));
    }
}

impl<S: Subscriber, W: Fn(&[u8]) + 'static> Layer<S> for HclogLayer<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        fields.0.insert("@level".to_owned(), Json::from(level));
        fields.0.insert("@module".to_owned(), Json::from(event.metadata().target()));
        fields.0.insert("@timestamp".to_owned(), Json::from(timestamp()));
        let mut line = Json::Object(fields.0).to_string().into_bytes();
        line.push(b'\n');
        (self.writer)(&line);
    }
}

#[expect(clippy::disallowed_methods, reason = "a log line carries the wall time at which it was written")]
fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Sends the log of these crates to stderr, at the level that Terraform was asked for in TF_LOG_PROVIDER or TF_LOG; silent
/// without either. Other crates are left out: their wire details would drown what matters, and may name what is secret.
pub fn install_log(crates: &[&'static str], lookup: impl Fn(&str) -> Option<String>) {
    let wanted = lookup("TF_LOG_PROVIDER").or_else(|| lookup("TF_LOG")).unwrap_or_default();
    let level = match wanted.to_ascii_uppercase().as_str() {
        "TRACE" | "JSON" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "WARN" => LevelFilter::WARN,
        "ERROR" => LevelFilter::ERROR,
        _ => LevelFilter::OFF,
    };
    let targets = crates.iter().chain(&[env!("CARGO_CRATE_NAME")]).fold(Targets::new(), |all, name| all.with_target(*name, level));
    // A line that cannot be written has nowhere else to go.
    let layer = HclogLayer::new(|line| drop(std::io::stderr().write_all(line)));
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets));
    // A second one changes nothing: the first has taken the place.
    drop(tracing::subscriber::set_global_default(subscriber));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_line_is_what_terraform_reads() {
        let lines = Arc::new(Mutex::new(Vec::<u8>::new()));
        let sink = lines.clone();
        let layer = HclogLayer::new(move |line: &[u8]| sink.lock().unwrap().extend_from_slice(line));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(operation_id = "op_1", attempt = 2, "waits \"again\"");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(line["@level"], "warn");
        assert_eq!(line["@message"], "waits \"again\"");
        assert_eq!((&line["operation_id"], &line["attempt"]), (&Json::from("op_1"), &Json::from(2)));
        assert!(line["@timestamp"].as_str().unwrap().ends_with('Z') && line["@module"].is_string());
    }
}
