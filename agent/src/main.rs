//! The agent: outbound only, in the customer's cluster, doing what its guardrails allow and saying what it sees.
//!
//! Invariants: no inbound port; a Secret's content never leaves the cluster; nothing is destroyed without a consent.
mod archive;
mod backup;
mod commands;
mod config;
mod enrol;
mod guardrails;
mod lanes;
mod ledger;
mod maintenance;
mod objects;
mod outbox;
mod retire;
mod revision;
mod runner;
mod secrets;
mod session;
mod sql;
mod watch;

use anyhow::Context;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().json().with_env_filter(tracing_subscriber::EnvFilter::new("info,kube=warn")).with_writer(std::io::stderr).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let config = config::Config::parse(|name| std::env::var(name).ok())?;
    let client = kube::Client::try_default().await.context("the Kubernetes API server cannot be configured")?;
    let outbox = Arc::new(outbox::Outbox::default());
    let world = watch::World::start(client.clone(), Arc::clone(&outbox));
    let mut terminate = signal(SignalKind::terminate())?;
    let commands = commands::Commands::load(client, config.environment_id.clone(), Arc::clone(&world)).await?;
    let runner = runner::Runner::new(commands, Arc::clone(&outbox));
    let stop = async {
        terminate.recv().await;
        runner.stop().await;
    };
    // The session goes on through a stop: answers leave by it.
    tokio::select! {
        () = session::run_for_ever(config, Arc::clone(&runner), outbox, world) => {}
        () = stop => {}
    }
    Ok(())
}

/// Now, by the agent's own clock: the one that decides whether a grace is over.
pub(crate) fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the agent is a shell")]
    jiff::Timestamp::now()
}
