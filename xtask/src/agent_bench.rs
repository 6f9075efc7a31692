//! Measurement of the agent: its process alone with twenty databases, and what was promised.
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::{Command, Stdio};

/// What is promised: the figure's place, its name for people and the most that it may be.
const PROMISES: [(&str, &str, f64); 6] = [
    ("/binary_mb", "stripped binary, MB", 12.0),
    ("/idle/rss_mib", "memory, MiB", 20.0),
    ("/idle/cores", "CPU while nothing happens, cores", 0.01),
    ("/collecting/rss_mib", "memory with statistics, MiB", 20.0),
    ("/collecting/cores", "CPU with a collection every 30 s, cores", 0.05),
    ("/event/p99_ms", "event from API server to relay, P99, ms", 200.0),
];

/// Builds, measures, prints and holds what is promised.
pub(crate) fn run() -> Result<Value> {
    let agent = crate::local::built("agent", &["-p", "kiven-agent", "--bin", "kiven-agent"])?.join("kiven-agent");
    let folder = crate::local::release_of(&["-p", "kiven-agent", "--example", "databases"])?;
    let mut bench = Command::new(folder.join("examples/databases"));
    bench.arg(agent).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = bench.output().context("the measurement cannot be started")?;
    ensure!(output.status.success(), "the measurement did not come to its end");
    let figures: Value = serde_json::from_slice(&output.stdout).context("the measurement says no figures")?;
    let mut broken = Vec::new();
    for (pointer, what, most) in PROMISES {
        let figure = figures.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no figure {pointer}"))?;
        let kept = figure <= most;
        println!("{what:<42} {figure:>10.4}   at most {most:<6} {}", if kept { "kept" } else { "BROKEN" });
        if !kept {
            broken.push(what);
        }
    }
    ensure!(broken.is_empty(), "not kept: {}", broken.join(", "));
    Ok(figures)
}
