//! The kill matrix: whoever is killed wherever, the operation ends as if nothing had happened.
//!
//! `KIVEN_KILLS=all` runs every cell and writes `docs/reliability.md`; otherwise a sample runs, chosen by `KIVEN_KILLS_SEED`.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
mod apply;
mod lane;
mod leaving;
mod matrix;
mod report;
mod strike;

use apply::Module;
use lane::Lane;
use leaving::Leaving;
use matrix::{Cell, Operation};
use std::sync::{Arc, Mutex};
use strike::Held;

/// Cells of a sample, Terraform's apart.
const SAMPLE: usize = 10;
const TERRAFORM_SAMPLE: usize = 2;
const LEAVING_SAMPLE: usize = 2;
/// Stacks at a time.
const LANES_ALL: usize = 2;
const LANES_SAMPLE: usize = 1;

/// A cell's end.
pub struct Outcome {
    pub cell: Cell,
    pub result: Result<Held, String>,
}

type Queue = Arc<Mutex<Vec<Cell>>>;
type Outcomes = Arc<Mutex<Vec<Outcome>>>;

fn note(outcomes: &Outcomes, cell: Cell, result: Result<Held, String>) {
    match &result {
        Ok(held) if held.struck => eprintln!("held         {:6.1} s  {cell}", held.seconds),
        Ok(held) => eprintln!("not struck   {:6.1} s  {cell}", held.seconds),
        Err(error) => {
            eprintln!("FAILED                 {cell}: {error}");
            // For the closing lines of `cargo xtask test`.
            println!("failed: {cell}: {}", error.lines().next().unwrap_or_default());
        }
    }
    let mut outcomes = outcomes.lock().unwrap();
    outcomes.push(Outcome { cell, result });
    // After every cell: a long run that is ended early has still shown something.
    if whole() {
        report::write(&outcomes).unwrap();
    }
}

/// Whether the whole matrix was asked for.
fn whole() -> bool {
    kiven_tests::variable("KIVEN_KILLS").is_some_and(|value| value == "all")
}

/// The next cell that fits the power the lane's database has, so that nothing is switched in between.
fn next(queue: &Queue, on: bool) -> Option<Cell> {
    let mut cells = queue.lock().unwrap();
    let fits = if on { Operation::Pause } else { Operation::Resume };
    let at = cells.iter().position(|cell| cell.operation == fits || cell.operation == Operation::Provision)?;
    Some(cells.remove(at))
}

async fn run_lane(label: String, queue: Queue, outcomes: Outcomes) {
    let mut lane: Option<Lane> = None;
    loop {
        // What remains when no cell fits needs the other power.
        let on = lane.as_ref().is_none_or(|lane| lane.on);
        let Some(cell) = next(&queue, on).or_else(|| next(&queue, !on)) else { break };
        let mut ready = match lane.take() {
            Some(lane) => lane,
            None => match Lane::open(&label).await {
                Ok(lane) => lane,
                Err(error) => {
                    note(&outcomes, cell, Err(format!("no stack: {error:#}")));
                    continue;
                }
            },
        };
        match ready.run(&cell).await {
            Ok(held) => {
                note(&outcomes, cell, Ok(held));
                lane = Some(ready);
            }
            // What a failed cell leaves behind would spoil the next: its stack ends with it.
            Err(error) => note(&outcomes, cell, Err(format!("{error:#}\n{}", ready.stack.tail()))),
        }
    }
    if let Some(lane) = lane {
        lane.stack.end().await.unwrap();
    }
}

async fn run_leaving(cells: Vec<Cell>, outcomes: Outcomes) {
    let mut lane: Option<Leaving> = None;
    for cell in cells {
        let mut ready = match lane.take() {
            Some(lane) => lane,
            None => match Leaving::open().await {
                Ok(lane) => lane,
                Err(error) => {
                    note(&outcomes, cell, Err(format!("no stack: {error:#}")));
                    continue;
                }
            },
        };
        match ready.run(&cell).await {
            Ok(held) => {
                note(&outcomes, cell, Ok(held));
                if ready.is_crowded() {
                    ready.stack.end().await.unwrap();
                } else {
                    lane = Some(ready);
                }
            }
            Err(error) => note(&outcomes, cell, Err(format!("{error:#}\n{}", ready.stack.tail()))),
        }
    }
    if let Some(lane) = lane {
        lane.stack.end().await.unwrap();
    }
}

async fn run_terraform(cells: Vec<Cell>, outcomes: Outcomes) {
    let Some(program) = kiven_tests::terraform::find("kills: terraform and provider") else { return };
    let mut module: Option<Module> = None;
    for cell in cells {
        let ready = match module.take() {
            Some(module) => Ok(module),
            None => Module::open(program.clone()).await,
        };
        match ready {
            Ok(ready) => match ready.run(&cell).await {
                Ok(held) => {
                    note(&outcomes, cell, Ok(held));
                    module = Some(ready);
                }
                Err(error) => note(&outcomes, cell, Err(format!("{error:#}\n{}", ready.stack.tail()))),
            },
            Err(error) => note(&outcomes, cell, Err(format!("no stack: {error:#}"))),
        }
    }
    if let Some(module) = module {
        module.stack.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_wherever_the_operation_ends_as_if_nothing_had_happened() {
    let (mut cells, mut terraform_cells, mut lanes) = (matrix::cells(), matrix::terraform_cells(), LANES_ALL);
    let mut leaving_cells = matrix::leaving_cells();
    if let Some(pattern) = kiven_tests::variable("KIVEN_KILLS_ONLY") {
        cells.retain(|cell| cell.to_string().contains(&pattern));
        terraform_cells.retain(|cell| cell.to_string().contains(&pattern));
        leaving_cells.retain(|cell| cell.to_string().contains(&pattern));
        eprintln!("{} cells contain `{pattern}`", cells.len() + leaving_cells.len() + terraform_cells.len());
    } else if whole() {
        // Shuffled, so that the first half of a run says something about everything.
        let count = cells.len();
        cells = matrix::sample(cells, 0, count);
    } else {
        let named = kiven_tests::variable("KIVEN_KILLS_SEED").and_then(|seed| seed.parse().ok());
        let seed = named.unwrap_or_else(|| u64::from(u32::from_be_bytes(kiven_tests::random().unwrap()[..4].try_into().unwrap())));
        eprintln!("a sample of the kill matrix; the same again: KIVEN_KILLS_SEED={seed}; everything: KIVEN_KILLS=all");
        cells = matrix::sample(cells, seed, SAMPLE);
        terraform_cells = matrix::sample(terraform_cells, seed, TERRAFORM_SAMPLE);
        leaving_cells = matrix::sample(leaving_cells, seed, LEAVING_SAMPLE);
        lanes = LANES_SAMPLE;
    }
    let count = cells.len() + leaving_cells.len() + terraform_cells.len();
    let (queue, outcomes): (Queue, Outcomes) = (Arc::new(Mutex::new(cells)), Arc::default());
    // The lanes only wait for other processes: one thread is enough for all.
    let tasks = tokio::task::LocalSet::new();
    for lane in 0..lanes {
        tasks.spawn_local(run_lane(format!("kills{lane}"), queue.clone(), outcomes.clone()));
    }
    // As many lanes, so that they do not outlast the others.
    let share = leaving_cells.len().div_ceil(lanes).max(1);
    for cells in leaving_cells.chunks(share).map(<[Cell]>::to_vec) {
        tasks.spawn_local(run_leaving(cells, outcomes.clone()));
    }
    tasks.spawn_local(run_terraform(terraform_cells, outcomes.clone()));
    tasks.await;
    let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    let failed: Vec<String> = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err().map(|_| outcome.cell.to_string())).collect();
    eprintln!("{} of {count} cells ran, {} failed", outcomes.len(), failed.len());
    let missing = count - outcomes.len();
    assert!(missing == 0 || kiven_tests::terraform::find("kills").is_none(), "{missing} cells did not run");
    assert!(failed.is_empty(), "these cells failed: {failed:#?}");
}
