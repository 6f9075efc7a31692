//! The suite `aws`: starts what it needs, and says from the recorded calls which test has shown which operation of AWS.
use crate::suites::Count;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// MiniStack's version is in its list.
const REQUIREMENTS: &str = "tests/ministack/requirements.txt";
/// The script that lists the operations that a folder's source calls.
const OPERATIONS: &str = "tests/ministack/operations.py";
/// What Kiven calls in its own account, where a test is the root user.
const OWN_SERVICES: [&str; 4] = ["dynamodb", "kms", "lambda", "sqs"];
/// Most tests that are named beside an operation.
const TESTS_NAMED_MAX: usize = 3;

/// Runs the tests and holds their traffic against the source.
pub(crate) fn run(count: &mut Count, tests: impl FnOnce(&mut Count, &[(&str, &Path)]) -> Result<()>) -> Result<()> {
    let wire = std::env::temp_dir().join(format!("kiven-wire-{}", std::process::id()));
    std::fs::create_dir_all(&wire)?;
    let ran = tests(count, &[("KIVEN_AWS_WIRE", &wire)]);
    let covered = ran.and_then(|()| coverage(count, &wire));
    std::fs::remove_dir_all(&wire).context("the record of calls cannot be removed")?;
    covered
}

fn python() -> Result<Option<PathBuf>> {
    let installed = crate::install::python_folder("ministack", REQUIREMENTS)?.join("bin/python");
    let python = std::env::var_os("KIVEN_MINISTACK_PYTHON").map_or(installed, PathBuf::from);
    Ok(python.exists().then_some(python))
}

/// Calls by operation: how many, and which tests made them.
type Seen = BTreeMap<String, (u32, BTreeSet<String>)>;

fn coverage(count: &mut Count, wire: &Path) -> Result<()> {
    let Some(python) = python()? else {
        count.skipped.push("aws: which test covers which operation: MiniStack is not installed".to_owned());
        return Ok(());
    };
    let output = Command::new(python).arg(crate::root().join(OPERATIONS)).arg(crate::root().join("crates/aws/src")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let used: Vec<String> = serde_json::from_slice(&output.stdout).context("the list of operations cannot be read")?;
    let seen = seen(wire)?;
    println!("-- each AWS operation of crates/aws, with the tests whose calls were recorded");
    let mut missing = Vec::new();
    for operation in &used {
        let Some((calls, tests)) = seen.get(operation) else {
            missing.push(operation.as_str());
            continue;
        };
        let named: Vec<&str> = tests.iter().map(String::as_str).take(TESTS_NAMED_MAX).collect();
        let more = tests.len().saturating_sub(TESTS_NAMED_MAX);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        println!("{operation:<40} {calls:>6}  {}{more}", named.join(", "));
    }
    println!("{} operations in the source, {} of them on the wire", used.len(), used.len() - missing.len());
    let whole = missing.is_empty() && !used.is_empty();
    if !whole {
        println!("FAILED: never on the wire: {missing:?}");
    }
    count.judge("every operation on the wire", whole);
    Ok(())
}

/// Whether a call had its effect. What was denied, refused, or answered by a fault of the test's has shown nothing of the operation.
fn worked(call: &Value) -> bool {
    let fine = |status: u64| status < 400;
    call["outcome"] == "allowed" && call["fault"] == "" && call["status"].as_u64().is_some_and(fine)
}

fn seen(wire: &Path) -> Result<Seen> {
    let mut seen = Seen::new();
    for entry in std::fs::read_dir(wire)?.flatten() {
        for line in std::fs::read_to_string(entry.path())?.lines() {
            let call: Value = serde_json::from_str(line).context("a recorded call cannot be read")?;
            let text = |name: &str| call[name].as_str().unwrap_or_default();
            if !worked(&call) {
                continue;
            }
            // What the suite itself does in a customer's account as a root user is not the adapters'.
            let own = OWN_SERVICES.contains(&text("service")) || text("test").contains("store");
            if text("principal").ends_with(":root") && !own {
                continue;
            }
            let (calls, tests) = seen.entry(format!("{}:{}", text("service"), text("operation"))).or_default();
            *calls += 1;
            tests.insert(text("test").to_owned());
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_call_that_worked_covers_its_operation() {
        let call = |outcome: &str, fault: &str, status: u64| json!({"outcome": outcome, "fault": fault, "status": status});
        assert!(worked(&call("allowed", "", 200)));
        assert!(!worked(&call("denied", "", 403)));
        assert!(!worked(&call("allowed", "InternalError", 200)));
        assert!(!worked(&call("allowed", "", 404)));
    }
}
