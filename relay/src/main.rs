//! The relay: ends the agents' mutual TLS, hands commands over, leaves reports in the queue. It keeps nothing but a minute's statistics.
//!
//! Invariants: an agent is the environment its certificate names; a report is acknowledged only once it is safe in the queue, statistics
//! once they are in memory.
mod config;
mod connections;
mod health;
mod identity;
mod limits;
mod listen;
mod metrics;
mod packs;
mod process;
mod serve;
#[cfg(test)]
mod serve_tests;
mod service;
mod session;
#[cfg(test)]
mod session_tests;
mod sessions;

use anyhow::Context;
use config::Config;
use health::Health;
use identity::Identity;
use kiven_aws::Sdk;
use kiven_aws::store::{Queue, S3Packs, Store};
use kiven_model::report::Report;
use kiven_ports::{PortError, ReportQueue};
use metrics::Metrics;
use packs::Packs;
use service::Relay;
use session::SendQueue;
use sessions::Sessions;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries of which warnings are enough.
const QUIET: [&str; 2] = ["aws_config", "aws_smithy_runtime"];

/// The queue that reports wait in.
pub(crate) struct Reports(Queue);

impl ReportQueue for Reports {
    async fn report_send(&self, report: &Report) -> Result<(), PortError> {
        self.0.send(report).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let filter = Targets::new().with_default(Level::INFO).with_targets(QUIET.map(|target| (target, Level::WARN)));
    tracing_subscriber::registry().with(filter).with(fmt::layer().json().with_writer(std::io::stderr)).init();
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let config = Config::parse(|name| std::env::var(name).ok())?;
    process::prepare();
    let sdk = Sdk::new(&config.aws);
    let shown = Identity::obtain(&config.identity, &sdk, now()).await?;
    let (sessions, metrics) = (Sessions::default(), Arc::new(Metrics::default()));
    let id = relay_id()?;
    let packs = Arc::new(Packs::new(id.clone(), now, Arc::clone(&metrics)));
    let archive = Arc::new(S3Packs::new(&sdk, &config.metrics_bucket));
    let putting = tokio::spawn(Arc::clone(&packs).put_for_ever(archive));
    let relay = Relay {
        id,
        store: Arc::new(Store::new(&sdk, &config.store)),
        places: Arc::new(Semaphore::new(limits::RECORDS_CALLS_MAX)),
        queue: Arc::new(SendQueue::new(Reports(Queue::new(&sdk, &config.reports_url)))),
        packs: Arc::clone(&packs),
        sessions: sessions.clone(),
        metrics: Arc::clone(&metrics),
    };
    if let Some(address) = config.health_listen {
        let listener = TcpListener::bind(address).await.with_context(|| format!("nobody can ask for the relay's health at {address}"))?;
        tokio::spawn(health::serve(listener, Health { metrics: Arc::clone(&metrics), sessions: sessions.clone() }));
    }
    let (caller, store, counted) = (sessions, Arc::clone(&relay.store), Arc::clone(&metrics));
    tokio::spawn(async move { caller.call_for_ever(&*store, &counted, now).await });
    let counted = Arc::clone(&metrics);
    let listener = listen::bind(config.listen).with_context(|| format!("the relay cannot listen at {}", config.listen))?;
    tracing::info!(listen = %config.listen, relay_id = relay.id, "relay ready");
    let connections = listen::connections(listener, listen::tls(&shown)?, metrics);
    serve::until(relay, connections, serve::Bounds::default(), told_to_stop(shown.good_for)).await;
    packs.finish(putting).await;
    tracing::info!(sessions = counted.sessions(), "the relay has stopped; these had not left");
    Ok(())
}

/// Now, by the relay's own clock.
fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the relay is a shell; certificates and commands are good by the wall clock")]
    jiff::Timestamp::now()
}

/// A name of this process's own, by which the records say who has a session.
fn relay_id() -> anyhow::Result<String> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("there is no randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Until a signal comes, or the certificate has been used for long enough: whoever runs the relay starts another one.
async fn told_to_stop(good_for: Option<Duration>) {
    let mut terminate = signal(SignalKind::terminate()).ok();
    let terminated = async {
        match terminate.as_mut() {
            Some(terminate) => drop(terminate.recv().await),
            None => std::future::pending().await,
        }
    };
    let old = async {
        match good_for {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        _ = tokio::signal::ctrl_c() => "interrupted",
        () = terminated => "terminated",
        () = old => "the certificate is to be renewed",
    };
    tracing::info!(why, "relay stops");
}
