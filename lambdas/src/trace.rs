//! Traces: spans of an invocation, sent to a collector by OTLP over HTTP in its JSON form. Off unless an endpoint is configured.
//!
//! Written here because the collector's protocol is one POST, and its usual crates are larger than a function. All drives of one
//! operation are one trace: its id is the operation's.
use crate::world::{OsRandom, WallClock};
use jiff::Timestamp;
use kiven_ports::{Clock, Random};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Most spans of one invocation; more are dropped and counted.
const SPANS_MAX: usize = 512;
/// How long a collector may take. It is asked after the work, before the answer.
const COLLECTOR_SECONDS_MAX: u64 = 2;
/// The field whose value names the trace.
const OPERATION: &str = "operation_id";

/// Collects spans until they are sent.
#[derive(Clone)]
pub struct Tracer {
    ended: Arc<Mutex<Ended>>,
    endpoint: String,
    service: String,
}

/// Spans that have ended, and how many more there were.
#[derive(Debug, Default)]
struct Ended {
    spans: Vec<Value>,
    dropped: u64,
}

/// What is known of an open span.
struct Open {
    trace: String,
    span: String,
    parent: Option<String>,
    began: Timestamp,
    attributes: Vec<(String, String)>,
}

impl Visit for Open {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.attributes.push((field.name().to_owned(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.attributes.push((field.name().to_owned(), value.to_owned()));
    }
}

impl Tracer {
    /// A tracer of a service that sends to a collector, such as `https://collector.example.com`.
    #[must_use]
    pub fn new(endpoint: &str, service: &str) -> Self {
        Self { ended: Arc::default(), endpoint: endpoint.trim_end_matches('/').to_owned(), service: service.to_owned() }
    }

    fn take(&self) -> Ended {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends what has ended since the last time. What a collector does not take is lost, and said so.
    pub async fn flush(&self) {
        let Ended { spans, dropped } = self.take();
        if dropped > 0 {
            tracing::warn!(dropped, "more spans than are kept");
        }
        if spans.is_empty() {
            return;
        }
        let attributes = [attribute("service.name", &self.service)];
        let body = json!({ "resourceSpans": [{ "resource": { "attributes": attributes }, "scopeSpans": [{ "scope": { "name": "kiven" }, "spans": spans }] }] });
        let sent = async {
            let client = reqwest::Client::builder().timeout(Duration::from_secs(COLLECTOR_SECONDS_MAX)).build()?;
            client.post(format!("{}/v1/traces", self.endpoint)).json(&body).send().await?.error_for_status()
        };
        if let Err(error) = sent.await {
            tracing::warn!(error = %error.without_url(), "the collector did not take the spans");
        }
    }
}

fn attribute(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

fn random_hex(bytes: usize) -> String {
    hex::encode(OsRandom.bits().get(..bytes).unwrap_or_default())
}

/// Nanoseconds since 1970, as OTLP's JSON wants them.
fn nanoseconds(at: Timestamp) -> String {
    at.as_nanosecond().to_string()
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Tracer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let above = span.parent().and_then(|parent| parent.extensions().get::<Open>().map(|open| (open.trace.clone(), open.span.clone())));
        let (trace, parent) = above.map_or_else(|| (random_hex(16), None), |(trace, parent)| (trace, Some(parent)));
        let mut open = Open { trace, span: random_hex(8), parent, began: WallClock.now(), attributes: Vec::new() };
        attributes.record(&mut open);
        if let (None, Some((_, operation))) = (&open.parent, open.attributes.iter().find(|(name, _)| name == OPERATION)) {
            open.trace = hex::encode(Sha256::digest(operation).get(..16).unwrap_or_default());
        }
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        let attributes: Vec<Value> = open.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        let ended = json!({
            "traceId": open.trace, "spanId": open.span, "parentSpanId": open.parent.unwrap_or_default(), "name": span.name(), "kind": 1,
            "startTimeUnixNano": nanoseconds(open.began), "endTimeUnixNano": nanoseconds(WallClock.now()), "attributes": attributes,
        });
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if all.spans.len() < SPANS_MAX {
            all.spans.push(ended);
        } else {
            all.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn spans_of_an_operation_are_one_trace() {
        let tracer = Tracer::new("http://collector/", "worker");
        let subscriber = tracing_subscriber::registry().with(tracer.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..2 {
                let drive = tracing::info_span!("drive", operation_id = %"op_1", outcome = tracing::field::Empty);
                drive.in_scope(|| tracing::info_span!("step", step = "EnsureBucket").in_scope(|| ()));
                drive.record("outcome", "wait");
            }
        });
        let Ended { spans, dropped: 0 } = tracer.take() else { panic!("some were dropped") };
        let [step, drive, _, again] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((&drive["name"], &step["name"]), (&json!("drive"), &json!("step")));
        assert_eq!(step["parentSpanId"], drive["spanId"]);
        assert!(spans.iter().all(|span| span["traceId"] == drive["traceId"]), "{spans:?}");
        assert_ne!(drive["spanId"], again["spanId"]);
        assert_eq!(drive["attributes"], json!([attribute("operation_id", "op_1"), attribute("outcome", "wait")]));
        assert_eq!(drive["traceId"].as_str().map(str::len), Some(32));
    }

    #[test]
    fn what_is_dropped_is_counted_and_the_next_invocation_begins_anew() {
        let tracer = Tracer::new("http://collector/", "worker");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(tracer.clone()), || {
            for _ in 0..SPANS_MAX + 3 {
                tracing::info_span!("step").in_scope(|| ());
            }
        });
        let Ended { spans, dropped } = tracer.take();
        assert_eq!((spans.len(), dropped), (SPANS_MAX, 3));
        let Ended { spans, dropped } = tracer.take();
        assert_eq!((spans.len(), dropped), (0, 0));
    }
}
