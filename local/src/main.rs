//! `kiven-local`: Kiven on one machine, with the shipped functions, relay and agent, and real PostgreSQL processes.
use anyhow::{Context, bail};
use kiven_local::operator::archive;
use kiven_local::stack::{self, Options};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: kiven-local dev [--state FOLDER] [--port PORT]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // PostgreSQL calls this for every WAL segment: nothing else may start first.
    if arguments.get(1).is_some_and(|name| name == archive::SUBCOMMAND) {
        return archive::run(arguments.get(2..).unwrap_or_default());
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kiven-local: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let options = parse(arguments)?;
    let filter = tracing_subscriber::EnvFilter::new("info,aws_config=warn,aws_smithy_runtime=warn,hyper=warn");
    let log = std::fs::File::create(options.state_log()?).context("cannot write the log")?;
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::sync::Mutex::new(log)).init();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(stack::run(options))
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut rest = arguments.iter().skip(1);
    if rest.next().map(String::as_str) != Some("dev") {
        bail!("{USAGE}");
    }
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let mut options = Options::default_with(|name| std::env::var(name).ok())?;
    while let Some(flag) = rest.next() {
        let value = rest.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
        match flag.as_str() {
            "--state" => options.state = PathBuf::from(value),
            "--port" => options.port = value.parse().with_context(|| format!("`{value}` is no port"))?,
            _ => bail!("there is no {flag}\n{USAGE}"),
        }
    }
    Ok(options)
}
