//! `docs/reliability.md`: what the whole matrix showed.
use crate::{Outcome, matrix};
use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "# Reliability: the kill matrix

`KIVEN_KILLS=all cargo test -p kiven-tests --test kills` wrote this page. In each cell one process is ended as `kill -9` ends it, once, at one point of one step of an operation. A cell holds when:

- the operation still succeeds, within 60 s, without anybody's help;
- the database answers with the recorded system identifier; after a resume every row that was written before the pause is there, on the same volumes; while paused no PostgreSQL process is left;
- nothing is there twice: objects in the cluster, node groups and buckets are counted against an undisturbed database;
- the same request again changes nothing; for Terraform, the next apply adopts what is there and the plan after it says \"No changes\".

Failpoints (`crates/failpoint`, not in release builds) end a process exactly there: between a step's recorded intent and its effect, between effect and record, before and after a command's effect, between a report and its acknowledgement. \"Step begun\" means: as soon as the step's event is seen. Seconds go from the operation's beginning to its success; the local lease is 4 s and a hidden message comes back after 5 s, in AWS both are longer. \"Not struck\": the victim did not pass the point before the operation was over.

";

/// Writes the page.
pub fn write(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let whole = matrix::cells().len() + matrix::terraform_cells().len();
    let mut rows: Vec<&Outcome> = outcomes.iter().collect();
    rows.sort_by_key(|outcome| (outcome.cell.victim, outcome.cell.operation, outcome.cell.point));
    let held = rows.iter().filter(|row| row.result.as_ref().is_ok_and(|held| held.struck)).count();
    let missed = rows.iter().filter(|row| row.result.as_ref().is_ok_and(|held| !held.struck)).count();
    let mut page = INTRODUCTION.to_owned();
    writeln!(
        page,
        "{} of {whole} cells ran (a run that is ended early has shown a part, in random order): {held} held, {missed} not struck, {} failed.\n",
        rows.len(),
        rows.len() - held - missed
    )?;
    writeln!(page, "| victim | operation | step | point | result | seconds |\n|---|---|---|---|---|---:|")?;
    for Outcome { cell, result } in rows {
        let (word, seconds) = match result {
            Ok(held) if held.struck => ("held", format!("{:.1}", held.seconds)),
            Ok(held) => ("not struck", format!("{:.1}", held.seconds)),
            Err(_) => ("**failed**", String::new()),
        };
        writeln!(page, "| {} | {} | {} | {} | {word} | {seconds} |", cell.victim, cell.operation, cell.step, cell.point)?;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    Ok(std::fs::write(path, page)?)
}
