//! What a database counts reaches the archive, and no literal of a statement reaches anything outside of the customer's cluster.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use anyhow::ensure;
use flate2::read::MultiGzDecoder;
use kiven_model::report::{Report, ReportBody};
use kiven_model::statistics::InstanceStatistics;
use kiven_tests::customer::database_request;
use kiven_tests::needles::{Needle, files_below, forms, search, search_files};
use kiven_tests::{Customer, Stack, within};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// How often the relay is asked to put what it has into the archive, and how long it then has.
const ROUNDS_MAX: u32 = 12;
const ROUND: Duration = Duration::from_secs(4);
/// What the agent logs when it cannot ask an instance.
const UNANSWERED: &str = "an instance does not say its statistics";
/// A text and a number that stand in statements only as literals.
const CANARY: &str = "canary-7f3kq9zx2mw8";
const NUMBER: &str = "7305918264093";

/// Statements with the canary in every form of a literal, and in texts that are never shown.
fn statements() -> Vec<String> {
    vec![
        "CREATE TABLE purchases (id bigint PRIMARY KEY, buyer text, note jsonb)".to_owned(),
        format!("INSERT INTO purchases VALUES ({NUMBER}, '{CANARY}', '{{\"k\": \"{CANARY}\"}}'), (2, E'{CANARY}\\n', NULL)"),
        format!("SELECT count(*) FROM purchases WHERE buyer = '{CANARY}' AND id IN ({NUMBER}, 2, 3)"),
        format!("SELECT count(*) FROM purchases /* {CANARY} */ WHERE buyer LIKE $q${CANARY}%$q$ -- {CANARY}"),
        format!("UPDATE purchases SET note = '{{\"a\": \"{CANARY}\"}}' WHERE id = {NUMBER}"),
        format!("DO $$ BEGIN PERFORM '{CANARY}'; END $$"),
        format!("SET kiven.canary = '{CANARY}'"),
        format!("COMMENT ON TABLE purchases IS '{CANARY}'"),
        format!("COPY (SELECT '{CANARY}') TO STDOUT"),
        "ANALYZE purchases".to_owned(),
    ]
}

/// What reached the archive, a file's text each.
fn archived(stack: &Stack) -> Vec<String> {
    let read = |path: PathBuf| {
        let mut text = String::new();
        MultiGzDecoder::new(&std::fs::read(path).ok()?[..]).read_to_string(&mut text).ok()?;
        Some(text)
    };
    files_below(&stack.state.join("blobs/kiven-metrics")).into_iter().filter_map(read).collect()
}

fn statistics(stack: &Stack) -> Vec<InstanceStatistics> {
    let texts = archived(stack);
    let reports = texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str::<Report>(line).unwrap().body);
    reports.filter_map(|body| if let ReportBody::Statistics(all) = body { Some(*all) } else { None }).collect()
}

/// Whether the statement that looks for a buyer has been archived with its figures and its text.
fn told(all: &[InstanceStatistics]) -> bool {
    let text = "SELECT count(*) FROM purchases WHERE buyer = $1 AND id IN ($2)";
    let ids: Vec<i64> =
        all.iter().flat_map(|one| &one.texts).filter(|known| known.text.as_deref() == Some(text)).map(|known| known.query_id).collect();
    all.iter().flat_map(|one| &one.statements).any(|statement| ids.contains(&statement.query_id) && statement.calls >= 1)
}

/// Waits until the statement and a session are archived. A relay that is asked to end puts what it has into the archive at once; the
/// stack starts another one.
async fn archives_at_last(stack: &Stack) -> bool {
    for _ in 0..ROUNDS_MAX {
        let there = within(ROUND, async || {
            let found = statistics(stack);
            told(&found) && found.iter().flat_map(|one| &one.sessions).any(|session| session.keyword.as_deref() == Some("SELECT"))
        });
        if there.await {
            return true;
        }
        let _ = stack.end_all("kiven-relay");
    }
    false
}

/// Everything outside of the customer's cluster: the records, the queues, the logs and what is in buckets.
fn outside(stack: &Stack, needles: &BTreeSet<Needle>) -> anyhow::Result<(Vec<String>, usize)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(&stack.state)?.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.extend(files_below(&stack.state.join("logs")));
    files.extend(files_below(&stack.state.join("blobs")).into_iter().filter(|path| !path.display().to_string().contains("kiven-backups-")));
    files.push(stack.base().join("out.log"));
    let (mut found, read) = search_files(&files, needles)?;
    for (number, text) in archived(stack).iter().enumerate() {
        found.extend(search(&format!("pack {number}"), text.as_bytes(), needles));
    }
    Ok((found.into_iter().map(|found| format!("{} ({}) in {}", found.what, found.form, found.place)).collect(), read))
}

fn as_expected(all: &[InstanceStatistics], instances: &BTreeSet<&str>) -> anyhow::Result<()> {
    let standbys: BTreeSet<bool> = all.iter().filter_map(|one| one.server.as_ref()).map(|server| server.standby).collect();
    ensure!(instances.len() == 2 && standbys.len() == 2, "primary and standby are asked, and it was {instances:?}");
    let missing: BTreeSet<_> = all.iter().flat_map(|one| &one.missing).collect();
    ensure!(missing.is_empty(), "nothing is missing, and it was {missing:?}");
    let primary = all.iter().rev().find(|one| one.server.as_ref().is_some_and(|server| !server.standby) && !one.tables.is_empty());
    let primary = primary.ok_or_else(|| anyhow::anyhow!("the primary says nothing of its tables"))?;
    let table = primary.tables.iter().find(|table| table.name == "purchases");
    ensure!(table.is_some_and(|table| table.rows_live == 2 && table.inserted == 2), "the table is counted: {table:?}");
    ensure!(primary.indexes.iter().any(|index| index.name == "purchases_pkey" && index.unique && index.valid), "so is its index");
    ensure!(primary.databases.iter().any(|database| database.name == primary.inside && database.size_bytes > Some(0)), "so is the database");
    ensure!(primary.replicas.len() == 1 && primary.slots.len() == 1, "so is its standby: {:?}", primary.replicas);
    let volume = primary.volume.as_ref();
    ensure!(
        volume.is_some_and(|volume| volume.data_bytes > 0 && volume.wal_bytes > 0 && volume.percent().is_some_and(|percent| percent < 10)),
        "so is its volume: {volume:?}"
    );
    ensure!(primary.archiver.is_some() && primary.writer.is_some() && primary.checkpointer.is_some() && primary.wal.is_some(), "so is the rest");
    ensure!(!primary.ages.is_empty() && all.iter().any(|one| !one.locks.is_empty()), "ages and locks too");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_database_counts_is_archived_and_no_literal_leaves() {
    let stack = Stack::start_asking("statistics", 1).await.unwrap();
    let work = async {
        let customer = Customer::connect(&stack).await?;
        let (database, operation) = customer.ask(&database_request(&customer.environment, "shop", 2)).await?;
        customer.prepare(&operation).await?;
        let database = customer.client.database_get(&database.id).await?;
        for statement in statements() {
            customer.query(&database, &statement).await?;
        }
        // One that fails, and one that runs while the sessions are looked at.
        ensure!(customer.query(&database, &format!("SELECT '{CANARY}'::integer")).await.is_err(), "this is no number");
        let slow = format!("SELECT pg_sleep(3), '{CANARY}', {NUMBER}");
        let (slow, seen) = tokio::join!(customer.query(&database, &slow), archives_at_last(&stack));
        slow?;
        let all = statistics(&stack);
        ensure!(seen, "the statement and a session are not in the archive, which has {} lines", all.len());
        let instances: BTreeSet<&str> = all.iter().map(|one| one.instance.as_str()).collect();
        as_expected(&all, &instances)?;
        // Whoever is paused is not asked: nobody would answer. Before the role had its password some questions may have failed.
        let unanswered = || std::fs::read_to_string(stack.state.join("logs/agent.jsonl")).map(|log| log.matches(UNANSWERED).count());
        let before = unanswered()?;
        customer.succeed(&customer.power(&database.id, false).await?).await?;
        ensure!(unanswered()? == before, "the agent has asked a database that could not answer");

        let mut needles = forms("the text", CANARY);
        needles.extend(forms("the number", NUMBER));
        let (found, read) = outside(&stack, &needles)?;
        ensure!(found.is_empty(), "literals have left the cluster: {found:#?}");
        eprintln!("{} lines of statistics and {read} files hold none of {} forms of the literals", all.len(), needles.len());

        // The same search finds what is planted among the same files, and what a pack holds.
        std::fs::write(stack.state.join("logs/planted.jsonl"), format!("{{\"message\":\"{CANARY}\"}}"))?;
        let (found, _) = outside(&stack, &forms("the text", CANARY))?;
        ensure!(found.iter().any(|found| found.contains("planted.jsonl")), "a planted literal was not found");
        let (found, _) = outside(&stack, &forms("a name", "purchases_pkey"))?;
        ensure!(found.iter().any(|found| found.contains("pack")), "packs were not searched");
        anyhow::Ok(())
    };
    if let Err(error) = work.await {
        panic!("{error:#}\n{}", stack.tail());
    }
    stack.end().await.unwrap();
}
