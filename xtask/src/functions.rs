//! Measures the functions as shipped: from the start of the process to its first request for work, its memory, its zip; and the API's
//! answers in the local runtime, with a store as near as it is and with one that is 2 ms away.
use crate::bench::{Latencies, load};
use crate::local::{Stack, release_of};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What runs beside the functions.
const BESIDE: [&str; 3] = ["kiven-local", "kiven-relay", "kiven-agent"];
/// How far away the store is made, in milliseconds.
const STORE_MS: u64 = 2;
/// Bounds of the API's P99 in milliseconds: warm, and warm with such a store.
const P99_MS_MAX: [(u64, f64); 2] = [(0, 10.0), (STORE_MS, 50.0)];
/// Starts of each function; the median counts.
const STARTS: usize = 21;
/// Bounds: a cold start in milliseconds, memory in MiB.
const COLD_MS_MAX: f64 = 60.0;
const RSS_MB_MAX: f64 = 30.0;
/// How long a function may take to ask for work at all.
const ASK_MAX: Duration = Duration::from_secs(10);

/// Packages the functions, measures each, prints a table, and fails over a bound.
pub(crate) fn run() -> Result<serde_json::Value> {
    let made = crate::package::make(Some("x86_64"))?;
    let mut over = Vec::new();
    let mut rows = Vec::new();
    println!("\n| function | cold start, median of {STARTS} | slowest | memory | zip |\n|---|---:|---:|---:|---:|");
    for (function, (_, zip)) in crate::package::FUNCTIONS.iter().zip(&made.sizes) {
        let program = made.binaries.join(format!("lambda-{function}"));
        let mut starts = Vec::new();
        let mut rss = 0.0_f64;
        for _ in 0..STARTS {
            let (took, memory) = start(&program)?;
            starts.push(took.as_secs_f64() * 1000.0);
            rss = rss.max(memory);
        }
        starts.sort_by(f64::total_cmp);
        let (median, slowest) = (starts[STARTS / 2], starts[STARTS - 1]);
        println!("| {function} | {median:.1} ms | {slowest:.1} ms | {rss:.1} MB | {:.2} MB |", *zip as f64 / 1e6);
        rows.push(serde_json::json!({ "function": function, "cold_ms": median, "cold_ms_max": slowest, "rss_mb": rss, "zip_bytes": zip }));
        if median >= COLD_MS_MAX || rss >= RSS_MB_MAX {
            over.push(format!("{function}: {median:.1} ms, {rss:.1} MB"));
        }
    }
    let warm = warm(&made.binaries, &mut over)?;
    ensure!(over.is_empty(), "over a bound: {}", over.join("; "));
    Ok(serde_json::json!({ "starts": STARTS, "functions": rows, "warm": warm }))
}

/// The shipped functions in the local stack, under the same load as the measurement of the path.
fn warm(functions: &Path, over: &mut Vec<String>) -> Result<Vec<serde_json::Value>> {
    let binaries = assemble(functions)?;
    let mut rows = Vec::new();
    println!("\n| store is away | API P50 | API P99 | memory after it, the greatest of each |\n|---:|---:|---:|---|");
    for (store_ms, p99_max) in P99_MS_MAX {
        let stack = Stack::start_with(&binaries, None, &[("KIVEN_STORE_LATENCY_MS", store_ms.to_string())])?;
        let latencies = Latencies::of(load(&stack)?);
        let memory = crate::measure::rss_by_name_mb(stack.pid(), "lambda-");
        stack.stop()?;
        let (p50, p99) = (latencies.at(0.5), latencies.at(0.99));
        let said: Vec<String> = memory.iter().map(|(name, mb)| format!("{name} {mb:.1} MB")).collect();
        println!("| {store_ms} ms | {p50:.1} ms | {p99:.1} ms | {} |", said.join(", "));
        rows.push(serde_json::json!({ "store_ms": store_ms, "api_p50_ms": p50, "api_p99_ms": p99, "rss_mb": memory }));
        if p99 >= p99_max {
            over.push(format!("P99 {p99:.1} ms with the store {store_ms} ms away, at most {p99_max} is allowed"));
        }
        over.extend(memory.iter().filter(|(_, mb)| **mb >= RSS_MB_MAX).map(|(name, mb)| format!("{name} warm: {mb:.1} MB")));
    }
    std::fs::remove_dir_all(&binaries)?;
    Ok(rows)
}

/// A folder with the local stack's programs and the shipped functions, as one looks for the other beside itself.
fn assemble(functions: &Path) -> Result<PathBuf> {
    let packages: Vec<&str> = BESIDE.iter().flat_map(|package| ["-p", package]).collect();
    let release = release_of(&packages)?;
    let folder = release.join(format!("functions-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    for program in BESIDE {
        std::fs::copy(release.join(program), folder.join(program)).with_context(|| format!("{program} is missing"))?;
    }
    for function in crate::package::FUNCTIONS {
        let program = format!("lambda-{function}");
        std::fs::copy(functions.join(&program), folder.join(&program)).with_context(|| format!("{program} is missing"))?;
    }
    Ok(folder)
}

/// Starts a function against a runtime API that has no work, and answers when it asked for some and its memory in MiB.
fn start(program: &Path) -> Result<(Duration, f64)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let environment = [
        ("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("KIVEN_TABLE", "kiven".to_owned()),
        ("KIVEN_PAYLOAD_BUCKET", "kiven".to_owned()),
        ("KIVEN_DOORBELL_URL", "http://127.0.0.1:9".to_owned()),
        ("KIVEN_PRINCIPAL_ARN", "arn:aws:iam::000000000000:role/kiven".to_owned()),
        ("KIVEN_RELAY_ADDRESS", "relay.example.com:443".to_owned()),
        ("KIVEN_AGENT_API_URL", "https://api.example.com".to_owned()),
        ("KIVEN_CA_KEY_ID", "key".to_owned()),
    ];
    let began = Instant::now();
    let mut child = Command::new(program).env_clear().envs(environment).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let asked = asked(&listener, began).with_context(|| format!("{} asks for no work", program.display()));
    let memory = crate::measure::rss_mb(child.id()).0;
    child.kill()?;
    child.wait()?;
    Ok((asked?.0, memory))
}

/// Waits for the first request for work, and plays the part of Lambda that comes before: the extension of the graceful stop. Where
/// a connection closes the function ends, and with it the figure of its memory.
fn asked(listener: &TcpListener, began: Instant) -> Result<(Duration, Vec<TcpStream>)> {
    let mut open = Vec::new();
    while began.elapsed() < ASK_MAX {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false)?;
                let mut head = [0; 1024];
                let read = stream.read(&mut head)?;
                let head = String::from_utf8_lossy(head.get(..read).unwrap_or_default()).into_owned();
                if head.starts_with("POST /2020-01-01/extension/register") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nlambda-extension-identifier: bench\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
                    continue;
                }
                open.push(stream);
                if head.starts_with("GET /2018-06-01/runtime/invocation/next") {
                    return Ok((began.elapsed(), open));
                }
                ensure!(head.starts_with("GET /2020-01-01/extension/event/next"), "another request: {head}");
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("nothing within {ASK_MAX:?}")
}
