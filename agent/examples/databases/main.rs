//! Twenty databases before one agent's process: what it takes while nothing happens, while it collects, and how soon an event is said.
//!
//! `cargo xtask bench agent` runs it. The agent is the shipped program. API server, enrolment and relay are doubles in this process; the
//! instances of all databases are one real PostgreSQL server, which has a database for each of them: forty servers would be what is
//! measured. fake-kube has no logs, so none are followed. The argument is the agent's program.
#![expect(clippy::disallowed_methods, reason = "a measurement reads clocks and the environment")]
mod agent;
mod cluster;
mod kiven;
mod postgres;

use anyhow::{Context, ensure};
use serde_json::json;
use std::time::{Duration, Instant};

/// Databases, each with two instances.
const DATABASES: usize = 20;
/// How often the agent collects, as it does by itself.
const COLLECTION_SECONDS: u64 = 30;
/// For how long everything settles after a start.
const SETTLE: Duration = Duration::from_secs(5);
/// For how long CPU is counted while nothing happens, and while statistics are collected: two rounds.
const IDLE: Duration = Duration::from_secs(30);
const COLLECTING: Duration = Duration::from_secs(2 * COLLECTION_SECONDS);
/// Events that are timed, and the pause between them.
const EVENTS: usize = 300;
const EVENT_PAUSE: Duration = Duration::from_millis(40);
/// How long anything may take.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, program] = &arguments[..] else { anyhow::bail!("wants the agent's program") };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::Builder::new().prefix("kiven-bench-agent-").tempdir()?;
    let names: Vec<String> = (0..DATABASES).map(|number| format!("shop-{number:02}")).collect();
    let authority = kiven::Authority::new()?;
    let postgres = postgres::Postgres::start(folder.path(), &authority, &names).await?;
    let cluster = cluster::Cluster::start(folder.path(), &authority, &postgres, &names).await?;
    let kiven = kiven::Kiven::start(authority).await?;

    let quiet = agent::Agent::start(program, folder.path(), &kiven, 0)?;
    kiven.await_observed(DATABASES, WAIT_MAX).await?;
    tokio::time::sleep(SETTLE).await;
    let idle_cores = quiet.cores_over(IDLE).await?;
    let idle_mib = quiet.rss_mib()?;
    drop(quiet);
    eprintln!("idle: {idle_mib:.1} MiB, {idle_cores:.4} cores");

    let before = kiven.statistics();
    let busy = agent::Agent::start(program, folder.path(), &kiven, COLLECTION_SECONDS)?;
    // A whole round, so that every connection is open and every text has been told.
    let instances = 2 * DATABASES;
    kiven.await_statistics(before.0 + instances, WAIT_MAX).await?;
    let (first, cpu) = (kiven.statistics(), busy.cores_over(COLLECTING));
    let collecting_cores = cpu.await?;
    let second = kiven.statistics();
    let events = events(&cluster, &kiven).await.with_context(|| busy.tail())?;
    let collecting_mib = busy.rss_mib()?;
    let reports = second.0 - first.0;
    ensure!(reports >= instances, "{reports} reports of {instances} instances in {COLLECTING:?}");
    let figures = json!({
        "databases": DATABASES,
        "instances": instances,
        "binary_mb": std::fs::metadata(program).context("the agent's program")?.len() as f64 / 1e6,
        "idle": { "rss_mib": idle_mib, "cores": idle_cores },
        "collecting": { "rss_mib": collecting_mib, "cores": collecting_cores, "reports": reports, "report_bytes": (second.1 - first.1) / reports.max(1),
            "missing": kiven.missing() },
        "event": events,
    });
    drop(busy);
    println!("{figures}");
    Ok(())
}

/// Changes what an API server shows, over and over, and times until the relay has the event.
async fn events(cluster: &cluster::Cluster, kiven: &kiven::Kiven) -> anyhow::Result<serde_json::Value> {
    let mut latencies = Vec::new();
    for number in 0..EVENTS {
        let database = number % DATABASES;
        // Each database in turn stops archiving, and in the next round works again.
        let archives = number / DATABASES % 2 == 1;
        let began = Instant::now();
        cluster.archiving(database, archives)?;
        let at = kiven.await_event(cluster.id(database), archives, WAIT_MAX).await.with_context(|| format!("of event {number}"))?;
        latencies.push(at.saturating_duration_since(began));
        tokio::time::sleep(EVENT_PAUSE).await;
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len().saturating_sub(1) as f64 * share) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    Ok(json!({ "events": EVENTS, "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": at(1.0) }))
}
