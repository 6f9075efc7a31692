//! Measurement of the relay: its process alone, ten thousand agents in another one, and what was promised.
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Agents at once.
const AGENTS: usize = 10_000;
/// Commands a second that are recorded for them: some more than are promised to be answered.
const COMMANDS_PER_SECOND: usize = 1_100;
/// What is promised, as the figure's place, its name for people and its bounds.
const PROMISES: [Promise; 4] = [
    Promise { pointer: "/kib_each_idle", what: "memory of an idle agent, KiB", least: 0.0, most: 40.0 },
    Promise { pointer: "/commands/per_second", what: "commands answered a second", least: 1_000.0, most: f64::MAX },
    Promise { pointer: "/commands/p99_ms", what: "recorded until with the agent, P99, ms", least: 0.0, most: 2_000.0 },
    Promise { pointer: "/back_seconds", what: "all back after a restart, s", least: 0.0, most: 30.0 },
];

struct Promise {
    pointer: &'static str,
    what: &'static str,
    least: f64,
    most: f64,
}

/// Builds, measures, prints and holds what is promised.
pub(crate) fn run() -> Result<Value> {
    let folder = crate::local::release_of(&["-p", "kiven-relay", "--bin", "kiven-relay", "--example", "agents"])?;
    let mut fleet = Command::new(folder.join("examples/agents"));
    fleet.arg(folder.join("kiven-relay")).args([AGENTS.to_string(), COMMANDS_PER_SECOND.to_string()]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = fleet.output().context("the agents cannot be started")?;
    ensure!(output.status.success(), "the agents did not come to their end");
    let figures: Value = serde_json::from_slice(&output.stdout).context("the agents say no figures")?;
    let mut broken = Vec::new();
    for Promise { pointer, what, least, most } in PROMISES {
        let figure = figures.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no figure {pointer}"))?;
        let kept = (least..=most).contains(&figure);
        println!("{what:<42} {figure:>10.1}   {}", if kept { "kept" } else { "BROKEN" });
        if !kept {
            broken.push(what);
        }
    }
    ensure!(broken.is_empty(), "not kept: {}", broken.join(", "));
    Ok(figures)
}
