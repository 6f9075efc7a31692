//! The demo: one `terraform apply` gives a PostgreSQL that answers; then pause, resume, no changes, destroy.
use crate::local::{Stack, build};
use crate::measure::{Interval, postgres_intervals, postgres_under, rss_mb, uncovered_ms};
use crate::terraform::Terraform;
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The example whose demo is a weekend.
const WEEKEND: &str = "schedule";

/// How the demo runs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Goes through to the end and exits; else the database stays until Enter is pressed.
    #[arg(long)]
    once: bool,
    /// Where the figures go, as one flat JSON object.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Waits for Enter at these points: wrote, paused, resumed.
    #[arg(long, value_delimiter = ',')]
    pause_at: Vec<String>,
    /// First installs by name what is missing.
    #[arg(long)]
    install: bool,
    /// Builds and runs optimised binaries.
    #[arg(long)]
    release: bool,
    /// What is applied: a folder of `examples/`. `schedule` shows a weekend and takes a `--clock`.
    #[arg(long, default_value = "quickstart")]
    example: String,
    /// Virtual time begins here, as 2026-03-27T16:55:00Z.
    #[arg(long)]
    clock: Option<Timestamp>,
}

impl Options {
    /// Through to the end, with nobody at the keyboard.
    pub(crate) fn unattended() -> Self {
        Self { once: true, json: None, pause_at: Vec::new(), install: false, release: true, example: "quickstart".to_owned(), clock: None }
    }
}

/// The figures.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) ready_ms: u128,
    pub(crate) apply_ms: u128,
    pub(crate) own_ms: i64,
    pub(crate) pause_ms: u128,
    pub(crate) resume_ms: u128,
    pub(crate) stack_rss_mb: f64,
    pub(crate) agent_rss_mb: f64,
    pub(crate) row_found: bool,
    pub(crate) system_identifier_same: bool,
    pub(crate) no_changes: bool,
    pub(crate) postgres_processes_while_paused: usize,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.install {
        crate::install::run()?;
    }
    let binaries = build(options.release)?;
    if options.example == WEEKEND {
        let start = options.clock.context("the schedule's demo needs virtual time: add --clock 2026-03-27T16:55:00Z")?;
        return crate::weekend::run(&binaries, start, options.json.as_deref());
    }
    let (figures, _) = live(options, &binaries, |_, _| Ok(()))?;
    let text = serde_json::to_string_pretty(&figures)?;
    println!("{text}");
    if let Some(path) = &options.json {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(figures.row_found, "the row was not found after the resume");
    ensure!(figures.system_identifier_same, "another PostgreSQL answered after the resume");
    ensure!(figures.no_changes, "a plan after the resume found changes");
    ensure!(figures.postgres_processes_while_paused == 0, "PostgreSQL ran while paused");
    println!("demo: applied, wrote, paused, resumed, found, no changes, destroyed");
    Ok(())
}

/// The whole life; `while_up` runs once the database answers.
pub(crate) fn live(options: &Options, binaries: &Path, while_up: impl FnOnce(&Stack, &str) -> Result<()>) -> Result<(Figures, Vec<Interval>)> {
    let stack = Stack::start(binaries, options.clock)?;
    let terraform = client(&stack, &options.example, binaries)?;
    let mut figures = Figures { ready_ms: stack.ready_ms, ..Figures::default() };
    terraform.run(&["init", "-input=false"])?;
    figures.apply_ms = timed(|| terraform.run(&["apply", "-input=false", "-auto-approve"]))?;
    let intervals = postgres_intervals(&stack.state().join("logs/kiven-local.jsonl"))?;
    figures.own_ms = own_time(&stack, &intervals)?;
    let uri = connection(&stack, &terraform.output("connection_uri")?)?;
    psql(&stack, &uri, "CREATE TABLE kiven_demo (said text); INSERT INTO kiven_demo VALUES ('I was here')")?;
    let identifier = psql(&stack, &uri, "SELECT system_identifier FROM pg_control_system()")?;
    (figures.stack_rss_mb, figures.agent_rss_mb) = rss_mb(stack.pid());
    while_up(&stack, &uri)?;
    point(options, "wrote", &uri)?;
    figures.pause_ms = timed(|| terraform.run(&["apply", "-input=false", "-auto-approve", "-var", "power=off"]))?;
    figures.postgres_processes_while_paused = postgres_under(&stack.folder).len();
    point(options, "paused", &uri)?;
    figures.resume_ms = timed(|| terraform.run(&["apply", "-input=false", "-auto-approve", "-var", "power=on"]))?;
    figures.row_found = psql(&stack, &uri, "SELECT said FROM kiven_demo")? == "I was here";
    figures.system_identifier_same = psql(&stack, &uri, "SELECT system_identifier FROM pg_control_system()")? == identifier;
    point(options, "resumed", &uri)?;
    figures.no_changes = terraform.no_changes(&[])?;
    if !options.once {
        println!("\nThe database answers at\n  {uri}\nPress Enter to destroy it and end.");
        std::io::stdin().read_line(&mut String::new())?;
    }
    terraform.run(&["destroy", "-input=false", "-auto-approve"])?;
    stack.stop()?;
    Ok((figures, intervals))
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<u128> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_millis())
}

/// Terraform on an example, its provider in the stack's time.
pub(crate) fn client(stack: &Stack, example: &str, binaries: &Path) -> Result<Terraform> {
    let terraform =
        Terraform::prepare(crate::terraform::find()?, &stack.folder, example, &binaries.join("terraform-provider-kiven"), &stack.config_home())?;
    Ok(terraform.with_environment(stack.clock_environment()))
}

/// Adds where the password and the authority are; neither is in the string.
pub(crate) fn connection(stack: &Stack, uri: &str) -> Result<String> {
    let state = stack.state();
    let host = uri.split_once('@').map_or("", |(_, rest)| rest).split([':', '/']).next().unwrap_or_default();
    let name = host.split('.').next().and_then(|service| service.strip_suffix("-rw")).with_context(|| format!("no database is named in {uri}"))?;
    let (passwords, authority) = (state.join("pgpass"), state.join("ca").join(format!("{name}.crt")));
    Ok(format!("{uri}&passfile={}&sslrootcert={}", passwords.display(), authority.display()))
}

/// One answer of the database; certificates are judged by the stack's time.
pub(crate) fn psql(stack: &Stack, uri: &str, sql: &str) -> Result<String> {
    let output = Command::new("psql").args([uri, "-XAtqc", sql]).envs(stack.clock_environment()).output();
    let output = output.context("psql is needed: install the package postgresql-client")?;
    ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits for Enter where it was asked to.
fn point(options: &Options, name: &str, uri: &str) -> Result<()> {
    if options.pause_at.iter().any(|wanted| wanted == name) {
        println!("{name}\n{uri}");
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

/// The provision's time outside initdb, base backup and PostgreSQL's start.
fn own_time(stack: &Stack, intervals: &[Interval]) -> Result<i64> {
    let operations = stack.api_get("/v1/operations")?;
    let provision = operations.as_array().into_iter().flatten().find(|o| o["kind"] == "provision").context("there is no provision")?;
    let at = |field: &str| provision[field].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(|at| at.as_millisecond());
    let (from, to) = (at("created_at").context("no beginning")?, at("updated_at").context("no end")?);
    Ok(uncovered_ms(from, to, intervals))
}
