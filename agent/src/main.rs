//! The agent: outbound only, in the customer's cluster, doing what its guardrails allow and saying what it sees.
//!
//! Invariants: no inbound port; a Secret's content never leaves the cluster; nothing is destroyed without a consent.
mod agent_token;
mod archive;
mod backup;
mod commands;
mod config;
mod databases;
mod enrol;
mod epochs;
mod guardrails;
#[cfg(test)]
mod hostile_real;
#[cfg(test)]
mod hostile_table;
#[cfg(test)]
mod hostile_tests;
mod installer;
mod lanes;
mod ledger;
mod line_reader;
mod log_lines;
mod logs;
mod maintenance;
mod objects;
mod outbox;
mod plugin_tls;
mod proxy;
mod readers;
mod released;
mod retire;
mod revision;
mod runbook;
mod runner;
mod secrets;
mod session;
mod shapes;
mod sql;
mod starting;
mod statistics;
mod strip;
mod upgrade;
mod volumes;
mod waiting;
mod warnings;
mod watch;
mod watched;

use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How long the answer to a release may take to the relay: nobody comes back to give it again.
const LAST_WORD_MAX: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let filter = Targets::new().with_default(Level::INFO).with_target("kube", Level::WARN);
    tracing_subscriber::registry().with(filter).with(fmt::layer().json().with_writer(std::io::stderr)).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let lookup = |name: &str| std::env::var(name).ok();
    match std::env::args().nth(1) {
        None => agent(&config::Config::parse(lookup)?).await.map(|()| ExitCode::SUCCESS),
        Some(word) => match installer::Task::parse(&word) {
            Some(task) => Ok(installer::run(task, lookup).await),
            None => anyhow::bail!("`{word}` is not something the agent does: nothing, `install`, `catalog`, `preflight` or `listen`"),
        },
    }
}

/// The agent itself, for as long as the process lives.
async fn agent(config: &config::Config) -> anyhow::Result<()> {
    let client = kubernetes().await.context("the Kubernetes API server cannot be configured")?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A released cluster's backups go on, so its plugin's certificates do too.
    if config.plugin_tls {
        tokio::spawn(plugin_tls::keep(client.clone()));
    }
    let released = starting::patiently(|| released::is(&client, &config.environment_id)).await;
    if released.context("it cannot be read whether this cluster was released")? {
        idle(&mut terminate).await;
        return Ok(());
    }
    let outbox = Arc::new(outbox::Outbox::default());
    let world = watch::World::start(client.clone(), Arc::clone(&outbox), config.operator_namespace.clone(), config.plugin_tls);
    tokio::spawn(warnings::watch(Arc::clone(&world)));
    tokio::spawn(logs::follow_for_ever(client.clone(), Arc::clone(&outbox)));
    if let Some(every) = config.statistics_every {
        tokio::spawn(statistics::collect_for_ever(Arc::clone(&world), Arc::clone(&outbox), every));
    }
    let let_go = Arc::new(Notify::new());
    let readers = readers::Readers::new(client.clone(), Arc::clone(&outbox), config.trusted_readers.clone());
    let commands = commands::Commands::load(client, config.environment_id.clone(), Arc::clone(&world), readers, Arc::clone(&let_go)).await?;
    let runner = runner::Runner::new(commands, Arc::clone(&outbox));
    let stop = async {
        let answered_within = tokio::select! {
            _ = terminate.recv() => runner::ANSWERED_WITHIN,
            () = let_go.notified() => {
                tracing::info!("this cluster is released");
                LAST_WORD_MAX
            }
        };
        runner.stop(answered_within).await;
    };
    // The session goes on through a stop: answers leave by it. After a release the next process finds the mark.
    tokio::select! {
        () = session::run_for_ever(config.clone(), Arc::clone(&runner), outbox, world) => {}
        () = stop => {}
    }
    Ok(())
}

/// The way to the cluster's own API server, which is never through a proxy.
async fn kubernetes() -> anyhow::Result<kube::Client> {
    let mut config = kube::Config::infer().await?;
    config.proxy_url = None;
    Ok(kube::Client::try_from(config)?)
}

/// Released: there, so that its Deployment does not start it over and over, and doing nothing but what [`agent`] began before.
async fn idle(terminate: &mut Signal) {
    tracing::info!("this cluster was released: nothing is watched, reported or changed any more");
    terminate.recv().await;
}

/// Now, by the agent's own clock: the one that decides whether a grace is over.
pub(crate) fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the agent is a shell")]
    jiff::Timestamp::now()
}
