//! Measurements of the path: ready, memory, apply, own time, and the API's answers under load.
use crate::demo::{Options, live};
use crate::local::{Stack, build};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests a second, and for how long.
const RATE: u32 = 200;
const SECONDS: u32 = 10;
/// Connections that share the rate.
const CLIENTS: u32 = 4;

/// Runs a measurement.
pub(crate) fn run(what: &str, json: Option<&Path>) -> Result<()> {
    let figures = match what {
        "path" => path()?,
        "functions" => crate::functions::run()?,
        "provider" => crate::provider_bench::run()?,
        "relay" => crate::relay_bench::run()?,
        "agent" => crate::agent_bench::run()?,
        other => bail!("there is no measurement `{other}`: `path`, `functions`, `provider`, `relay`, `agent`"),
    };
    let text = serde_json::to_string_pretty(&figures)?;
    println!("{text}");
    match json {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(()),
    }
}

/// The demo's path, and the API under load while the database is up.
fn path() -> Result<serde_json::Value> {
    let binaries = build(true)?;
    let mut latencies = Vec::new();
    let options = Options::unattended();
    let (figures, intervals) = live(&options, &binaries, |stack, _| {
        latencies = load(stack)?;
        Ok(())
    })?;
    let latencies = Latencies::of(latencies);
    let mut all = serde_json::to_value(&figures)?;
    all["api_requests_per_second"] = RATE.into();
    all["api_p50_ms"] = latencies.at(0.5).into();
    all["api_p99_ms"] = latencies.at(0.99).into();
    all["postgres_intervals"] = serde_json::to_value(&intervals)?;
    Ok(all)
}

/// Latencies, the shortest first.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Sorts them.
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The one, in milliseconds, that this share of them does not exceed.
    pub(crate) fn at(&self, share: f64) -> f64 {
        self.0.get(((self.0.len() as f64 - 1.0) * share) as usize).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}

/// Asks the API at a steady rate; latency counts from when a request was due, so that a slow answer cannot hide behind the next.
pub(crate) fn load(stack: &Stack) -> Result<Vec<Duration>> {
    let key = std::fs::read_to_string(stack.state().join("secrets/api-key"))?;
    let url = stack.ready["api_url"].as_str().context("the stack names no API")?.to_owned();
    let address = url.trim_start_matches("http://").to_owned();
    let began = Instant::now();
    let every = Duration::from_secs(1) * CLIENTS / RATE;
    let (address, key) = (&address, &key);
    let client = move |number: u32| -> Result<Vec<Duration>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let request = format!("GET /v1/databases HTTP/1.1\r\nHost: local\r\nAuthorization: Bearer {key}\r\n\r\n");
        let mut latencies = Vec::new();
        for turn in 0..RATE * SECONDS / CLIENTS {
            let due = every * turn + every * number / CLIENTS;
            crate::local::pause(u64::try_from(due.saturating_sub(began.elapsed()).as_millis())?);
            stream.write_all(request.as_bytes())?;
            answer(&mut stream)?;
            latencies.push(began.elapsed().saturating_sub(due));
        }
        Ok(latencies)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        let mut all = Vec::new();
        for one in running {
            all.extend(one.join().map_err(|_| anyhow::anyhow!("a client fell over"))??);
        }
        Ok(all)
    })
}

/// Reads one whole answer.
fn answer(stream: &mut TcpStream) -> Result<()> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the API closed the connection");
        seen.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        ensure!(head.starts_with("HTTP/1.1 200"), "the API answered {}", head.lines().next().unwrap_or_default());
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").and_then(|n| n.trim().parse::<usize>().ok()));
        if body.len() >= length.context("the answer has no length")? {
            return Ok(());
        }
    }
}
