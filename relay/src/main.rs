//! The relay: ends the agents' mutual TLS, hands commands over, leaves reports in the queue. It keeps nothing.
//!
//! Invariants: an agent is the environment its certificate names; a report is acknowledged only once it is safe in the queue.
mod config;
mod identity;
mod service;
mod session;

use anyhow::Context;
use config::Config;
use identity::Identity;
use kiven_aws::Sdk;
use kiven_aws::store::{Queue, Store};
use kiven_model::report::Report;
use kiven_ports::{PortError, ReportQueue};
use kiven_proto::v1::agent_relay_service_server::AgentRelayServiceServer;
use service::Relay;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tonic::transport::{Certificate, Server, ServerTlsConfig};

/// Below the 350 s after which the NLB drops a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long sessions may take to end; agents are on their way to another relay meanwhile.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The queue that reports wait in.
pub(crate) struct Reports(Queue);

impl ReportQueue for Reports {
    async fn report_send(&self, report: &Report) -> Result<(), PortError> {
        self.0.send(report).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::new("info,aws_config=warn,aws_smithy_runtime=warn");
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let config = Config::parse(|name| std::env::var(name).ok())?;
    #[expect(clippy::disallowed_methods, reason = "the relay is a shell; certificates are good by the wall clock")]
    let now = jiff::Timestamp::now();
    let sdk = Sdk::new(&config.aws);
    let shown = Identity::obtain(&config.identity, &sdk, now).await?;
    let relay = Relay::new(Store::new(&sdk, &config.store), Reports(Queue::new(&sdk, &config.reports_url)));
    let tls = ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(&shown.certificate, &shown.key))
        .client_ca_root(Certificate::from_pem(&shown.authority));
    tracing::info!(listen = %config.listen, "relay ready");
    let (sessions, stopping) = (relay.sessions(), Notify::new());
    let stop = async {
        told_to_stop(shown.good_for).await;
        sessions.end();
        stopping.notify_one();
    };
    let served = Server::builder()
        .tls_config(tls)?
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(AgentRelayServiceServer::new(relay))
        .serve_with_shutdown(config.listen, stop);
    let too_long = async {
        stopping.notified().await;
        tokio::time::sleep(STOP_MAX).await;
    };
    tokio::select! {
        served = served => served.context("the relay cannot serve"),
        () = too_long => Ok(()),
    }
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
