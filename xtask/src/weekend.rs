//! The schedule's demo: a Friday evening, a change to summer time and a Monday morning, in virtual time.
use crate::demo::{client, connection, psql};
use crate::local::{Stack, pause};
use crate::measure::postgres_under;
use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the example's windows are.
const ZONE: &str = "Europe/Paris";
/// Friday 18:00 in Paris, still winter time: the window closes.
const CLOSES: &str = "2026-03-27T17:00:00Z";
/// Monday 08:00 in Paris, summer time since Sunday: the window opens, and the database is to be ready.
const OPENS: &str = "2026-03-30T06:00:00Z";
/// Where the clock is moved to over the weekend: Saturday, both sides of the change to summer time, Sunday evening, Monday early.
const WEEKEND: [&str; 5] = ["2026-03-28T12:00:00Z", "2026-03-29T00:59:00Z", "2026-03-29T01:05:00Z", "2026-03-29T18:00:00Z", "2026-03-30T05:00:00Z"];
/// Monday's steps, small enough that a resume, which takes a few seconds of real time, ends before the next one.
const MORNING_STEP: SignedDuration = SignedDuration::from_secs(60);
/// How long something is waited for, in real time.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// How long the stack gets after a step of the clock, in real time: several rounds of the sweep.
const SETTLE: Duration = Duration::from_millis(1_200);
/// Pause between two looks.
const LOOK_MS: u64 = 100;

/// One line of the story.
#[derive(Debug, Serialize)]
struct Moment {
    at: Timestamp,
    status: String,
    postgres_processes: usize,
    what: String,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Figures {
    paused_at: Timestamp,
    resume_began_at: Timestamp,
    ready_at: Timestamp,
    ready_seconds_early: i64,
    postgres_processes_while_paused: usize,
    row_found: bool,
    system_identifier_same: bool,
    no_changes: bool,
    moments: Vec<Moment>,
}

/// The demo's work on one stack.
struct Weekend<'a> {
    stack: &'a Stack,
    moments: Vec<Moment>,
}

/// Runs it.
pub(crate) fn run(binaries: &Path, start: Timestamp, json: Option<&Path>) -> Result<()> {
    let (closes, opens): (Timestamp, Timestamp) = (CLOSES.parse()?, OPENS.parse()?);
    ensure!(start < closes, "the clock must begin before {closes}, when the window closes");
    let stack = Stack::start(binaries, Some(start))?;
    let terraform = client(&stack, "schedule", binaries)?;
    let mut weekend = Weekend { stack: &stack, moments: Vec::new() };
    terraform.run(&["init", "-input=false"])?;
    terraform.run(&["apply", "-input=false", "-auto-approve"])?;
    weekend.note("applied")?;
    let uri = connection(&stack, &terraform.output("connection_uri")?)?;
    psql(&stack, &uri, "CREATE TABLE kiven_demo (said text); INSERT INTO kiven_demo VALUES ('see you on Monday')")?;
    let identifier = psql(&stack, &uri, "SELECT system_identifier FROM pg_control_system()")?;
    let mut figures = weekend.live(closes, opens)?;
    figures.row_found = psql(&stack, &uri, "SELECT said FROM kiven_demo")? == "see you on Monday";
    figures.system_identifier_same = psql(&stack, &uri, "SELECT system_identifier FROM pg_control_system()")? == identifier;
    figures.no_changes = terraform.no_changes(&[])?;
    terraform.run(&["destroy", "-input=false", "-auto-approve"])?;
    figures.moments = weekend.moments;
    stack.stop()?;
    tell(&figures)?;
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(figures.postgres_processes_while_paused == 0, "PostgreSQL ran while paused");
    ensure!(figures.paused_at >= closes, "paused before the window closed");
    ensure!(figures.ready_at <= opens, "ready at {}, after the window opened", figures.ready_at);
    ensure!(figures.row_found && figures.system_identifier_same, "another PostgreSQL answered on Monday");
    ensure!(figures.no_changes, "what the schedule did was drift");
    println!("demo: paused on Friday at 18:00, ready on Monday before 8:00, across the change to summer time; no changes, destroyed");
    Ok(())
}

impl Weekend<'_> {
    /// Through the weekend: paused after it closes, untouched on its days, ready before it opens.
    fn live(&mut self, closes: Timestamp, opens: Timestamp) -> Result<Figures> {
        self.move_to(closes)?;
        self.await_status("paused")?;
        let paused_at = self.operation("pause")?.1;
        self.note("the window closed: paused")?;
        for time in WEEKEND {
            self.move_to(time.parse()?)?;
            settle();
            self.note("the weekend")?;
            ensure!(self.status()? == "paused", "not paused at {time}");
        }
        let mut time = self.stack.clock()?;
        while self.status()? == "paused" {
            ensure!(time < opens, "still paused at {time}, when the window has opened");
            time = time.checked_add(MORNING_STEP)?.min(opens);
            self.move_to(time)?;
            settle();
        }
        self.note("the resume has begun")?;
        self.await_status("available")?;
        let (resume_began_at, ready_at) = self.operation("resume")?;
        self.note("ready")?;
        self.move_to(opens)?;
        settle();
        self.note("the window opened")?;
        ensure!(self.status()? == "available", "not available when the window has opened");
        let while_paused = self.moments.iter().filter(|moment| moment.status == "paused").map(|moment| moment.postgres_processes).max();
        Ok(Figures {
            paused_at,
            resume_began_at,
            ready_at,
            ready_seconds_early: opens.duration_since(ready_at).as_secs(),
            postgres_processes_while_paused: while_paused.context("never paused")?,
            row_found: false,
            system_identifier_same: false,
            no_changes: false,
            moments: Vec::new(),
        })
    }

    /// Moves the clock on; where it runs past that time by itself it is left alone.
    fn move_to(&self, time: Timestamp) -> Result<()> {
        if self.stack.clock()? < time { self.stack.clock_set(time) } else { Ok(()) }
    }

    fn database(&self) -> Result<Value> {
        let list = self.stack.api_get("/v1/databases")?;
        list.as_array().and_then(|list| list.first()).cloned().context("there is no database")
    }

    fn status(&self) -> Result<String> {
        Ok(self.database()?["status"].as_str().unwrap_or_default().to_owned())
    }

    fn await_status(&self, wanted: &str) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < WAIT_MAX {
            if self.status()? == wanted {
                return Ok(());
            }
            pause(LOOK_MS);
        }
        bail!("the database is {} after {} s, not {wanted}", self.status()?, WAIT_MAX.as_secs())
    }

    /// When the last operation of a kind began and ended, in virtual time.
    fn operation(&self, kind: &str) -> Result<(Timestamp, Timestamp)> {
        let operations = self.stack.api_get("/v1/operations")?;
        let time = |operation: &Value, field: &str| operation[field].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let of_kind = operations.as_array().into_iter().flatten().filter(|operation| operation["kind"] == kind);
        let times = of_kind.filter_map(|operation| Some((time(operation, "created_at")?, time(operation, "updated_at")?)));
        times.max().with_context(|| format!("there was no {kind}"))
    }

    fn note(&mut self, what: &str) -> Result<()> {
        let (at, status) = (self.stack.clock()?, self.status()?);
        self.moments.push(Moment { at, status, postgres_processes: postgres_under(&self.stack.folder).len(), what: what.to_owned() });
        Ok(())
    }
}

fn settle() {
    pause(u64::try_from(SETTLE.as_millis()).unwrap_or(u64::MAX));
}

/// The story as a table, in the zone of the windows.
fn tell(figures: &Figures) -> Result<()> {
    let zone = TimeZone::get(ZONE)?;
    println!("\n{:<22} {:<28} {:<10} {:>10}  what", "UTC", ZONE, "status", "postgres");
    for Moment { at, status, postgres_processes, what } in &figures.moments {
        let there = at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string();
        println!("{:<22} {there:<28} {status:<10} {postgres_processes:>10}  {what}", format!("{at:.0}"));
    }
    println!(
        "\npaused at {:.0}; resume began at {:.0}, ready at {:.0}: {} s early",
        figures.paused_at, figures.resume_began_at, figures.ready_at, figures.ready_seconds_early
    );
    Ok(())
}
