//! Thousands of agents before one relay process: what each costs, how many commands go through, how soon all are back.
//!
//! `cargo xtask bench relay` runs it. The relay is the shipped program with the shipped SDK clients. Records and queue are a double
//! in this process that speaks DynamoDB's and SQS's wire for the few requests a relay makes: an emulation on SQLite would be what is
//! measured. The first argument is the relay's program, the second the number of agents, the third how many commands a
//! second are recorded for them.
mod authority;
mod fleet;
mod records;
mod relay;

use anyhow::{Context, ensure};
use fleet::Fleet;
use relay::Relay;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long commands are recorded.
const COMMANDS_SECONDS: usize = 20;
/// Commands are recorded in bursts of this time.
const BURST: Duration = Duration::from_millis(10);
/// How long everything is quiet before memory is read.
const QUIET: Duration = Duration::from_secs(5);
/// How long anything may take.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Files beside the agents' connections.
const FILES_BESIDE: u64 = 512;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, program, agents, rate] = &arguments[..] else { anyhow::bail!("wants the relay's program, the number of agents, and commands a second") };
    let rate: usize = rate.parse().context("the rate of commands is no number")?;
    let agents: usize = agents.parse().context("the number of agents is not one")?;
    raise_files(agents as u64 + FILES_BESIDE)?;
    let folder = std::env::temp_dir().join(format!("kiven-bench-relay-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let authority = authority::Authority::new(&folder)?;
    let records = records::serve().await?;
    let mut relay = Relay::start(program, &folder, records.port)?;
    relay.await_ready(WAIT_MAX).await?;
    let empty_kib = relay.rss_kib()?;
    let fleet = Arc::new(Fleet::new(&authority, agents, relay.port)?);
    let began = Instant::now();
    fleet.start();
    fleet.await_connected(agents, WAIT_MAX).await?;
    let connect_seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(QUIET).await;
    let idle_kib = relay.rss_kib()?;
    let (idle_cpu, sent) = (relay.cpu_seconds()?, Instant::now());
    tokio::time::sleep(QUIET).await;
    let idle_cores = (relay.cpu_seconds()? - idle_cpu) / sent.elapsed().as_secs_f64();
    let each = |kib: u64| (kib.saturating_sub(empty_kib)) as f64 / agents as f64;
    eprintln!("{agents} agents connected in {connect_seconds:.1} s, {:.1} KiB each, {idle_cores:.3} cores idle", each(idle_kib));
    let commands = commands(&records, &fleet, &relay, rate).await?;
    let busy_kib = relay.rss_kib()?;
    relay.kill()?;
    fleet.await_connected(0, WAIT_MAX).await?;
    let began = Instant::now();
    let relay = relay.again()?;
    fleet.await_connected(agents, WAIT_MAX).await?;
    let back_seconds = began.elapsed().as_secs_f64();
    let figures = json!({
        "agents": agents,
        "relay_empty_mib": empty_kib / 1024,
        "kib_each_idle": each(idle_kib),
        "kib_each_after_commands": each(busy_kib),
        "connect_seconds": connect_seconds,
        "idle_cores": idle_cores,
        "commands": commands,
        "back_seconds": back_seconds,
    });
    drop(relay);
    std::fs::remove_dir_all(&folder)?;
    println!("{figures}");
    Ok(())
}

/// Records commands at a steady rate, each for another agent, and waits until all are answered.
async fn commands(records: &records::Records, fleet: &Fleet, relay: &Relay, rate: usize) -> anyhow::Result<serde_json::Value> {
    let total = rate * COMMANDS_SECONDS;
    let (began, cpu) = (Instant::now(), relay.cpu_seconds()?);
    let mut recorded = 0;
    while recorded < total {
        let due = usize::try_from(began.elapsed().as_millis())? * rate / 1_000;
        let until = due.min(total);
        for (number, environment) in (recorded..until).zip(fleet.environments.iter().cycle().skip(recorded % fleet.environments.len())) {
            records.command(environment, number);
        }
        recorded = until;
        tokio::time::sleep(BURST).await;
    }
    let deadline = Instant::now() + WAIT_MAX;
    while records.answered() < total && Instant::now() < deadline {
        tokio::time::sleep(BURST).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cores = (relay.cpu_seconds()? - cpu) / seconds;
    let mut latencies = fleet.latencies(records);
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len().saturating_sub(1) as f64 * share) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    ensure!(records.answered() == total, "{} of {total} commands were answered; {} were handed over", records.answered(), latencies.len());
    Ok(json!({
        "recorded": total, "handed_over": latencies.len(), "answered": records.answered(),
        "per_second": total as f64 / seconds, "p50_ms": at(0.5), "p99_ms": at(0.99), "relay_cores": cores,
    }))
}

/// Each agent is a connection in this process and in the relay.
fn raise_files(wanted: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|now| now >= wanted) {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(wanted).max(wanted);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(most) })
        .with_context(|| format!("{wanted} open files are needed, this process may have {:?}: raise `ulimit -Hn`", limit.maximum))
}
