//! `docs/reliability.md`: what the whole matrix showed.
use crate::{Outcome, matrix};
use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "# Reliability: the kill matrix

`cargo xtask test kills` wrote this page; with `KIVEN_KILLS_ONLY=word` it runs the cells whose name has the word. In each cell one process is ended as `kill -9` ends it, once, at one point of one step of an operation. A cell holds when:

- the operation still succeeds, within 60 s, without anybody's help;
- the database answers with the recorded system identifier, at once, or within 10 s where its own server was struck; after a resume every row that was written before the pause is there, on the same volumes; while paused no PostgreSQL process is left;
- nothing is there twice: objects in the cluster, node groups and buckets are counted against an undisturbed database;
- after a release the database is as it was and answers, and its agent has stopped; after a destroy nothing of it is left but the bucket; either way the environment has no connection and takes the next one. An agent that dies between its release and its answer says nothing more: Kiven goes without it after 90 s of silence, the one cell that may take so long;
- the same request again changes nothing; for Terraform, the next apply adopts what is there and the plan after it says \"No changes\".

Failpoints (`crates/failpoint`, not in release builds) end a process exactly there: between a step's recorded intent and its effect, between effect and record, before and after a command's effect, between a report and its acknowledgement. \"Step begun\" means: as soon as the step's event is seen. Seconds go from the operation's beginning to its success; the local lease is 4 s and a hidden message comes back after 5 s, in AWS both are longer. \"Not struck\": the victim did not pass the point before the operation was over.

";

const HELD: &str = "held";
const MISSED: &str = "not struck";
const FAILED: &str = "**failed**";

/// A cell's row: its victim, operation, step and point, then how it came out and in how many seconds.
type Row = ([String; 4], String, String);

fn row(Outcome { cell, result }: &Outcome) -> Row {
    let name = [cell.victim.to_owned(), cell.operation.to_string(), cell.step.to_owned(), cell.point.to_owned()];
    match result {
        Ok(held) if held.struck => (name, HELD.to_owned(), format!("{:.1}", held.seconds)),
        Ok(held) => (name, MISSED.to_owned(), format!("{:.1}", held.seconds)),
        Err(_) => (name, FAILED.to_owned(), String::new()),
    }
}

/// The rows that are there, of cells that the matrix still has.
fn known(page: &str) -> Vec<Row> {
    let cells: Vec<String> =
        matrix::cells().iter().chain(&matrix::leaving_cells()).chain(&matrix::terraform_cells()).map(ToString::to_string).collect();
    let read = |line: &str| {
        let parts: Vec<String> = line.trim_matches('|').split('|').map(|part| part.trim().to_owned()).collect();
        let [victim, operation, step, point, word, seconds] = parts.try_into().ok()?;
        Some(([victim, operation, step, point], word, seconds))
    };
    page.lines().filter(|line| line.starts_with("| ")).filter_map(read).filter(|(name, ..)| cells.contains(&name.join(" × "))).collect()
}

/// Writes the page: what these cells have shown now, and of the others what they showed last.
pub fn write(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    let whole = matrix::cells().len() + matrix::leaving_cells().len() + matrix::terraform_cells().len();
    let mut rows: Vec<Row> = outcomes.iter().map(row).collect();
    let new: Vec<[String; 4]> = rows.iter().map(|(name, ..)| name.clone()).collect();
    rows.extend(known(&std::fs::read_to_string(&path).unwrap_or_default()).into_iter().filter(|(name, ..)| !new.contains(name)));
    rows.sort();
    let count = |word: &str| rows.iter().filter(|row| row.1 == word).count();
    let mut page = INTRODUCTION.to_owned();
    writeln!(
        page,
        "{} of {whole} cells: {} held, {} not struck, {} failed. A cell that is run again shows its last run.\n",
        rows.len(),
        count(HELD),
        count(MISSED),
        count(FAILED)
    )?;
    writeln!(page, "| victim | operation | step | point | result | seconds |\n|---|---|---|---|---|---:|")?;
    for ([victim, operation, step, point], word, seconds) in &rows {
        writeln!(page, "| {victim} | {operation} | {step} | {point} | {word} | {seconds} |")?;
    }
    Ok(std::fs::write(path, page)?)
}
