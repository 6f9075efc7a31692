//! The relay: ends the agents' mutual TLS, hands commands over, leaves reports in the queue. It keeps nothing.
//!
//! Invariants: an agent is the environment its certificate names; a report is acknowledged only once it is safe in the queue.
mod config;
mod service;
mod session;

use anyhow::Context;
use config::Config;
use kiven_aws::Sdk;
use kiven_aws::store::{Queue, Store};
use kiven_model::report::Report;
use kiven_ports::{PortError, ReportQueue};
use kiven_proto::v1::agent_relay_service_server::AgentRelayServiceServer;
use service::Relay;
use std::path::Path;
use std::time::Duration;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// Below the 350 s after which the NLB drops a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(60);

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
    let sdk = Sdk::new(&config.aws);
    let relay = Relay::new(Store::new(&sdk, &config.store), Reports(Queue::new(&sdk, &config.reports_url)));
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read(&config.certificate)?, read(&config.key)?))
        .client_ca_root(Certificate::from_pem(read(&config.authority)?));
    tracing::info!(listen = %config.listen, "relay ready");
    let stop = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "signals cannot be heard");
            std::future::pending::<()>().await;
        }
    };
    Server::builder()
        .tls_config(tls)?
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(AgentRelayServiceServer::new(relay))
        .serve_with_shutdown(config.listen, stop)
        .await
        .context("the relay cannot serve")
}
