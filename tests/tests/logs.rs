//! `kiven logs`: what PostgreSQL wrote is printed by the reader, and lies nowhere between the cluster and them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use anyhow::{Context, ensure};
use kiven_model::api::DatabaseView;
use kiven_tests::customer::database_request;
use kiven_tests::needles::{Needle, files_below, forms, search_files};
use kiven_tests::{Customer, Stack, within};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a line may take from PostgreSQL to the reader; without faults it takes about two seconds.
const SHOWN_MAX: Duration = Duration::from_secs(30);
/// What a client writes into a statement.
const CANARY: &str = "canary-9f41c07be2d85a6634-of-a-customer";
/// And into another one, which only the filter keeps from the reader.
const WARNED: &str = "warned-51b7aa09cd4e2f8816-of-a-customer";

/// A running `kiven logs`.
struct Reader {
    child: Child,
    out: PathBuf,
}

impl Reader {
    fn start(stack: &Stack, name: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        // Beside the state folder: what is printed is the reader's own.
        let out = stack.base().join(format!("printed-{name}"));
        let (printed, said) = (std::fs::File::create(&out)?, std::fs::File::create(out.with_extension("err"))?);
        let mut command = Command::new(stack.binaries.join("kiven"));
        command.arg("logs").args(arguments).env("XDG_CONFIG_HOME", stack.config());
        Ok(Self { child: command.stdin(Stdio::null()).stdout(printed).stderr(said).spawn()?, out })
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.out.with_extension("err")).unwrap_or_default()
    }

    /// Waits until it has ended, and answers whether well.
    async fn ended(&mut self) -> anyhow::Result<bool> {
        let over = within(SHOWN_MAX, async || matches!(self.child.try_wait(), Ok(Some(_)))).await;
        ensure!(over, "it does not end: {}", self.said());
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything between the cluster and the reader: records, queues, payloads, every process' log.
fn between(stack: &Stack) -> Vec<PathBuf> {
    let state = &stack.state;
    let mut files: Vec<PathBuf> = std::fs::read_dir(state).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    for folder in ["logs", "blobs", "ca", "secrets", "run"] {
        files.extend(files_below(&state.join(folder)));
    }
    files.push(stack.base().join("out.log"));
    files
}

async fn fail_with(customer: &Customer, database: &DatabaseView, text: &str) -> anyhow::Result<()> {
    let refused = customer.query(database, &format!("SELECT '{text}'::int")).await.err().context("it is no number")?;
    ensure!(format!("{refused:#}").contains("invalid input syntax"), "{refused:#}");
    Ok(())
}

async fn story(stack: &Stack) -> anyhow::Result<()> {
    let customer = Customer::connect(stack).await?;
    let (database, operation) = customer.ask(&database_request(&customer.environment, "logs", 1)).await?;
    customer.prepare(&operation).await?;
    let database = customer.client.database_get(&database.id).await?;

    let mut reader = Reader::start(stack, "errors", &["-f", "logs", "--severity", "error", "--instance", "1"])?;
    // The agent begins to read some time after the reader: until then nothing that is written now is shown.
    let shown = within(SHOWN_MAX, async || {
        fail_with(&customer, &database, CANARY).await.unwrap();
        customer.query(&database, &format!("DO $$ BEGIN RAISE WARNING '{WARNED}'; END $$")).await.unwrap();
        within(Duration::from_secs(3), async || reader.printed().contains(CANARY)).await
    });
    ensure!(shown.await, "nothing was shown after {SHOWN_MAX:?}: {}{}", reader.printed(), reader.said());
    let printed = reader.printed();
    let line = printed.lines().find(|line| line.contains(CANARY)).unwrap_or_default();
    ensure!(line.contains(" ERROR 22P02 ") && line.contains("-1 ERROR") && line.contains("@logs: invalid input syntax"), "{line}");
    ensure!(printed.contains("STATEMENT: SELECT"), "{printed}");
    ensure!(!printed.contains(WARNED), "a warning is no error: {printed}");

    // The same again for a machine, of what is there already; the session ends by itself.
    let mut all = Reader::start(stack, "all", &["--json", "logs", "--since", "10m"])?;
    ensure!(all.ended().await?, "{}", all.said());
    let lines: Vec<Value> = all.printed().lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(lines.iter().any(|line| line["record"]["message"].as_str().is_some_and(|text| text.contains(WARNED))), "{}", all.printed());
    ensure!(all.said().contains("that is all there is"), "{}", all.said());

    // Ctrl-C ends the session at once.
    Command::new("kill").args(["-INT", &reader.child.id().to_string()]).status()?;
    ensure!(reader.ended().await?, "{}", reader.said());
    let agent = || files_below(&stack.state.join("logs")).into_iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect::<String>();
    ensure!(within(SHOWN_MAX, async || agent().contains("the reader has gone")).await, "the agent reads on");

    // Sealed batches were carried, and nothing of them can be read.
    let needles = [forms("an error's text", CANARY), forms("a warning's text", WARNED)].into_iter().flatten().collect::<BTreeSet<Needle>>();
    let (found, read) = search_files(&between(stack), &needles)?;
    ensure!(read > 5, "too few files were looked at: {read}");
    ensure!(found.is_empty(), "what PostgreSQL logged lies where it must not: {found:#?}");
    let (there, _) = search_files(&files_below(&stack.state.join("cluster")), &needles)?;
    ensure!(there.len() >= 2, "the same search does not find it in the cluster: {there:#?}");
    eprintln!("{read} files between cluster and reader hold none of {} forms of what was logged", needles.len());

    customer.prepare(&customer.power(&database.id, false).await?).await?;
    let mut paused = Reader::start(stack, "paused", &["-f", "logs"])?;
    ensure!(!paused.ended().await? && paused.said().contains("KV-207"), "a paused database has no log: {}", paused.said());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_live_and_lies_nowhere_in_between() {
    let stack = Stack::start("logs").await.unwrap();
    if let Err(error) = story(&stack).await {
        panic!("{error:#}\n{}", stack.tail());
    }
    stack.end().await.unwrap();
}
