//! What a function tells of its work: logs on standard error, wide events with metrics, traces where there is a collector.
use crate::Config;
use crate::telemetry::Event;
use crate::trace::Tracer;
use crate::world::WallClock;
use kiven_aws::meter::Meter;
use kiven_ports::Clock;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries of which warnings are enough.
const QUIET: [&str; 4] = ["aws_config", "aws_smithy_runtime", "lambda_runtime", "lambda_http"];

/// Tells of one function's work.
#[derive(Clone)]
pub struct Observer {
    namespace: String,
    tracer: Option<Tracer>,
    meter: Meter,
}

impl Observer {
    /// Starts logs as JSON, as CloudWatch takes them, with the fields of the spans around each; and traces where configured.
    #[must_use]
    pub fn start(config: &Config, meter: &Meter) -> Self {
        let tracer = config.otlp_endpoint.as_deref().map(|endpoint| Tracer::new(endpoint, &format!("kiven-{}", config.function.as_str())));
        let filter = Targets::new().with_default(Level::INFO).with_targets(QUIET.map(|target| (target, Level::WARN)));
        let lines = fmt::layer().json().with_span_list(false).with_writer(std::io::stderr);
        tracing_subscriber::registry().with(filter).with(lines).with(tracer.clone()).init();
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("a TLS provider was installed before");
        }
        Self { namespace: config.namespace.clone(), tracer, meter: meter.clone() }
    }

    /// Before a piece of work: what was counted until now belongs to another.
    pub fn begin(&self) {
        drop(self.meter.take());
    }

    /// After it: one wide event with the AWS calls since it began, and its spans.
    pub async fn end(&self, event: Event) {
        event.calls(&self.meter.take()).emit(&self.namespace);
        if let Some(tracer) = &self.tracer {
            tracer.flush().await;
        }
    }

    /// At the process' end: what was asked of AWS for work that has not ended, and the spans that are left.
    pub(crate) async fn stop(&self) {
        let calls = self.meter.take();
        if calls.total() > 0 {
            Event::new("stopped", WallClock.now()).calls(&calls).emit(&self.namespace);
        }
        if let Some(tracer) = &self.tracer {
            tracer.flush().await;
        }
    }
}
