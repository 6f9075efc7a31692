//! Measures the functions as shipped: from the start of the process to its first request for work, its memory then, its zip.
use anyhow::{Context, Result, bail, ensure};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
        if median >= COLD_MS_MAX || rss >= RSS_MB_MAX {
            over.push(format!("{function}: {median:.1} ms, {rss:.1} MB"));
        }
    }
    ensure!(over.is_empty(), "over {COLD_MS_MAX} ms or {RSS_MB_MAX} MB: {}", over.join("; "));
    Ok(serde_json::json!({}))
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
    Ok((asked?, memory))
}

/// Waits for the first request for work.
fn asked(listener: &TcpListener, began: Instant) -> Result<Duration> {
    while began.elapsed() < ASK_MAX {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false)?;
                let mut head = [0; 256];
                let read = stream.read(&mut head)?;
                ensure!(head.get(..read).is_some_and(|head| head.starts_with(b"GET /2018-06-01/runtime/invocation/next")), "another request");
                return Ok(began.elapsed());
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("nothing within {ASK_MAX:?}")
}
