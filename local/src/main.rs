//! `kiven-local`: Kiven on one machine, with the shipped functions, relay and agent, and real PostgreSQL processes.
use anyhow::{Context, bail};
use jiff::Timestamp;
use kiven_local::operator::archive;
use kiven_local::stack::{self, Options, VirtualClock};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const USAGE: &str = "usage: kiven-local dev [status|stop|clock [set TIME]] [--state FOLDER] [--port PORT] [--clock TIME]
                       [--kubeconfig FILE [--s3 URL]]

  dev                  starts Kiven on this machine and stays until Ctrl-C
  dev status           what runs, as JSON
  dev stop             ends it; databases stay and are adopted by the next start
  dev clock            what the stack's virtual clock shows
  dev clock set TIME   moves it forward, as 2026-03-27T17:00:00Z
  --state              the folder that everything is in
  --port               the API's port; the last one, or any free one, when not given
  --clock              begins virtual time there; a folder that began in virtual time stays in it
  --kubeconfig         databases run on this Kubernetes cluster instead of processes of this machine: docs/cluster-suite.md
  --s3                 where WAL and backups of that cluster go: an S3 that this machine and its pods reach";
/// Libraries of which warnings are enough.
const QUIET: [&str; 3] = ["aws_config", "aws_smithy_runtime", "hyper"];
/// How long a stack may take to end.
const STOP_LOOKS_MAX: u32 = 500;

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
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    let (verb, options) = parse(arguments)?;
    match verb {
        Verb::Start => start(options),
        Verb::Status => status(&options),
        Verb::Stop => stop(&options),
        Verb::Clock(wanted) => clock(&options, wanted),
        Verb::Cluster => cluster(&options),
    }
}

fn real_now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the local stack is a shell")]
    Timestamp::now()
}

/// Shows the stack's virtual clock, moved on first when that is wanted.
fn clock(options: &Options, wanted: Option<Timestamp>) -> anyhow::Result<()> {
    let missing = "this stack runs in real time: begin virtual time in a folder of its own, with `kiven dev --state FOLDER --clock TIME`";
    let mut clock = VirtualClock::of(&options.state)?.context(missing)?;
    if let Some(time) = wanted {
        clock.set(time, real_now())?;
    }
    println!("{:.0}", clock.now(real_now()));
    Ok(())
}

/// Goes on in virtual time when that is wanted: the same program again, reading the state folder's clock from its first look on.
fn enter_virtual_time(options: &Options) -> anyhow::Result<()> {
    let wanted = if options.clock_environment.is_empty() { options.clock } else { None };
    let Some(clock) = VirtualClock::begin(&options.state, wanted, real_now())? else { return Ok(()) };
    let environment = clock.environment()?;
    if options.reads(&environment) {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    Err(std::process::Command::new(program).args(std::env::args_os().skip(1)).envs(environment).exec()).context("cannot go on in virtual time")
}

/// What `dev` is asked to do.
enum Verb {
    Start,
    Status,
    Stop,
    Clock(Option<Timestamp>),
    /// The customer's cluster alone, for suites; not in the usage.
    Cluster,
}

fn start(options: Options) -> anyhow::Result<()> {
    enter_virtual_time(&options)?;
    start_logs(&options)?;
    runtime()?.block_on(stack::run(options))
}

fn cluster(options: &Options) -> anyhow::Result<()> {
    start_logs(options)?;
    runtime()?.block_on(stack::alone::run(options, &options.s3))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn start_logs(options: &Options) -> anyhow::Result<()> {
    let filter = Targets::new().with_default(Level::INFO).with_targets(QUIET.map(|target| (target, Level::WARN)));
    let log = std::fs::File::create(options.state_log()?).context("cannot write the log")?;
    tracing_subscriber::registry().with(filter).with(fmt::layer().json().with_writer(std::sync::Mutex::new(log))).init();
    Ok(())
}

/// What a running stack says of itself.
fn running(options: &Options) -> anyhow::Result<serde_json::Value> {
    let text = std::fs::read_to_string(options.state.join("stack.json")).ok();
    let ready: Option<serde_json::Value> = text.and_then(|text| serde_json::from_str(&text).ok());
    let alive = |ready: &serde_json::Value| std::path::Path::new(&format!("/proc/{}", ready["pid"])).exists();
    ready.filter(alive).with_context(|| format!("no stack runs on {}: start it with `kiven dev`", options.state.display()))
}

fn status(options: &Options) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&running(options)?)?);
    Ok(())
}

fn stop(options: &Options) -> anyhow::Result<()> {
    let pid = running(options)?["pid"].to_string();
    std::process::Command::new("kill").arg(&pid).status().context("cannot signal the stack")?;
    for _ in 0..STOP_LOOKS_MAX {
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "a command waits for a process")]
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bail!("the stack (process {pid}) does not end")
}

fn parse(arguments: &[String]) -> anyhow::Result<(Verb, Options)> {
    let mut rest = arguments.iter().skip(1).peekable();
    if rest.next().map(String::as_str) != Some("dev") {
        bail!("{USAGE}");
    }
    let mut verb = match rest.peek().map(|word| word.as_str()) {
        Some("status") => Verb::Status,
        Some("stop") => Verb::Stop,
        Some("clock") => Verb::Clock(None),
        Some("cluster") => Verb::Cluster,
        _ => Verb::Start,
    };
    if !matches!(verb, Verb::Start) {
        rest.next();
    }
    if matches!(verb, Verb::Clock(_)) && rest.peek().is_some_and(|word| *word == "set") {
        rest.next();
        verb = Verb::Clock(Some(time(rest.next().with_context(|| format!("set needs a time\n{USAGE}"))?)?));
    }
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let mut options = Options::default_with(|name| std::env::var(name).ok())?;
    while let Some(flag) = rest.next() {
        let value = rest.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
        match flag.as_str() {
            "--state" => options.state = PathBuf::from(value),
            "--s3" => value.clone_into(&mut options.s3),
            "--kubeconfig" => options.kubeconfig = Some(PathBuf::from(value)),
            "--clock" => options.clock = Some(time(value)?),
            "--port" => options.port = value.parse().with_context(|| format!("`{value}` is no port"))?,
            _ => bail!("there is no {flag}\n{USAGE}"),
        }
    }
    Ok((verb, options))
}

fn time(text: &str) -> anyhow::Result<Timestamp> {
    text.parse().with_context(|| format!("`{text}` is no time: write it as 2026-03-27T17:00:00Z"))
}
