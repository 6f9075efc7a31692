//! The suites of `cargo xtask test`: run one after the other, counted, held against budgets and committed minimums.
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a suite found.
#[derive(Debug, Default, Clone)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: Vec<String>,
    /// The tests that failed, as far as they have names.
    pub(crate) failures: Vec<String>,
}

impl Count {
    /// Counts one check.
    pub(crate) fn judge(&mut self, name: &str, good: bool) {
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }
}

/// A suite: its name, its budget in minutes on a new machine, and what it runs.
struct Suite {
    name: &'static str,
    budget_minutes: f64,
    run: fn(&mut Count) -> Result<()>,
}

const SUITES: [Suite; 9] = [
    Suite { name: "static", budget_minutes: 16.0, run: check_static },
    Suite { name: "unit", budget_minutes: 12.0, run: run_unit },
    Suite { name: "local", budget_minutes: 14.0, run: run_local },
    Suite { name: "provider", budget_minutes: 12.0, run: crate::provider::run },
    Suite { name: "system", budget_minutes: 17.0, run: run_system },
    Suite { name: "aws", budget_minutes: 12.0, run: run_aws },
    Suite { name: "deploy", budget_minutes: 12.0, run: run_deploy },
    Suite { name: "kube", budget_minutes: 15.0, run: crate::kube::run },
    Suite { name: "cluster", budget_minutes: 30.0, run: crate::cluster::run },
];
/// Over its budget by this much, a suite fails.
const BUDGET_FACTOR: f64 = 1.5;
/// When the weekend's demo begins: Friday, five minutes before its window closes.
const WEEKEND_BEGINS: &str = "2026-03-27T16:55:00Z";
/// The committed minimum of passed tests by suite, and the most skips.
const MINIMUMS: &str = "xtask/minimums.json";

/// Runs the named suites, or all.
pub(crate) fn run(named: &[String], client: Option<&str>) -> Result<()> {
    match named {
        // Alone, it takes its time: every interrupt, under the client that is asked for.
        [one] if one == "provider" => return crate::provider::whole(client),
        _ if client.is_some() => bail!("--client belongs to the suite `provider`"),
        [one] if one == "kills" => return kills(),
        [one] if one == "day-two" => return day_two(),
        _ => {}
    }
    let unknown: Vec<&String> = named.iter().filter(|name| !SUITES.iter().any(|suite| suite.name == name.as_str())).collect();
    if !unknown.is_empty() {
        bail!("there is no suite {unknown:?}: {}, kills, day-two", SUITES.map(|suite| suite.name).join(", "));
    }
    let minimums: BTreeMap<String, BTreeMap<String, u32>> =
        serde_json::from_str(&std::fs::read_to_string(crate::root().join(MINIMUMS)).context("the committed minimums are missing")?)?;
    let mut rows = Vec::new();
    let mut total = Count::default();
    let mut complaints = Vec::new();
    for suite in SUITES.iter().filter(|suite| named.is_empty() || named.iter().any(|name| name == suite.name)) {
        println!("\n== {} ==", suite.name);
        let (began, mut count) = (Instant::now(), Count::default());
        if let Err(error) = (suite.run)(&mut count) {
            count.failed += 1;
            complaints.push(format!("{}: {error:#}", suite.name));
        }
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        let minimum = |what: &str| minimums.get(suite.name).and_then(|of| of.get(what)).copied().unwrap_or(0);
        if count.passed < minimum("passed") {
            complaints.push(format!("{}: {} passed, the committed minimum is {}", suite.name, count.passed, minimum("passed")));
        }
        if count.skipped.len() > minimum("skipped") as usize {
            complaints.push(format!("{}: {} skipped, at most {} are known", suite.name, count.skipped.len(), minimum("skipped")));
        }
        if minutes > suite.budget_minutes * BUDGET_FACTOR {
            complaints.push(format!("{}: took {minutes:.1} min, its budget is {}", suite.name, suite.budget_minutes));
        }
        rows.push(format!(
            "{:<8} {:>6} {:>6} {:>7}   {minutes:>5.1} / {} min",
            suite.name,
            count.passed,
            count.failed,
            count.skipped.len(),
            suite.budget_minutes
        ));
        complaints.extend(count.failures.iter().map(|name| format!("{}: {name}", suite.name)));
        total.passed += count.passed;
        total.failed += count.failed;
        total.skipped.extend(count.skipped);
    }
    println!("\nsuite    passed failed skipped   actual / budget");
    rows.iter().for_each(|row| println!("{row}"));
    total.skipped.iter().for_each(|skip| println!("skipped: {skip}"));
    complaints.iter().for_each(|complaint| println!("FAILED: {complaint}"));
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped.len());
    if complaints.is_empty() && total.failed == 0 { Ok(()) } else { bail!("{} complaints", complaints.len().max(1)) }
}

/// Runs a command as one test.
pub(crate) fn one(count: &mut Count, name: &str, command: &mut Command) -> Result<()> {
    println!("-- {name}");
    let status = command.current_dir(crate::root()).status().with_context(|| format!("{name} cannot be started"))?;
    count.judge(name, status.success());
    Ok(())
}

/// Cargo, whose tests find the manifests where they are.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    if let Some(folder) = crate::manifests::folder() {
        cargo.env(crate::manifests::VARIABLE, folder);
    }
    cargo
}

fn check_static(count: &mut Count) -> Result<()> {
    one(count, "formatting", cargo().args(["fmt", "--all", "--check"]))?;
    one(
        count,
        "clippy",
        cargo().args(["clippy", "--workspace", "--all-targets", "--test", "kube", "--test", "installer", "--quiet", "--", "-D", "warnings"]),
    )?;
    for (name, check) in [("generated code", crate::generate::run(true)), ("tidy", crate::tidy::run()), ("audit-iam", crate::audit::run())] {
        println!("-- {name}");
        count.judge(name, check.is_ok());
        if let Err(error) = check {
            println!("{error:#}");
        }
    }
    match crate::install::deny_if_there() {
        Some(deny) => one(count, "cargo deny", Command::new(deny).args(["--log-level", "error", "check", "bans", "licenses", "sources"]))?,
        None => count.skipped.push("cargo deny: cargo-deny is not installed (`cargo xtask install` builds it)".to_owned()),
    }
    let terraform = crate::terraform::find()?;
    for folder in ["examples", "onboarding-module", "terraform-provider/examples", "deploy"] {
        one(count, &format!("terraform fmt {folder}"), Command::new(&terraform).args(["fmt", "-check", "-recursive", folder]))?;
    }
    module(count, &terraform, "onboarding-module", &["", "policies", "tests"])?;
    module(count, &terraform, "deploy", &["", "tests", "tests/packages"])
}

/// Validates and tests a module, as far as needs no AWS, where its provider is at hand.
fn module(count: &mut Count, terraform: &std::path::Path, name: &str, folders: &[&str]) -> Result<()> {
    let Some(mirror) = mirror() else {
        count.skipped.push(format!("{name} validate and test: no mirror has hashicorp/aws (name one in KIVEN_PROVIDER_MIRROR)"));
        return Ok(());
    };
    let check = format!("{name} validate and test");
    println!("-- {check}");
    count.judge(&check, crate::terraform::module_holds(terraform, &mirror, name, folders)?);
    Ok(())
}

fn mirror() -> Option<std::path::PathBuf> {
    std::env::var_os("KIVEN_PROVIDER_MIRROR").map(std::path::PathBuf::from).or_else(known_mirror)
}

/// The module applied with the real zips to an emulated AWS.
fn run_deploy(count: &mut Count) -> Result<()> {
    let Some(mirror) = mirror() else {
        count.skipped.push("deploy: no mirror has hashicorp/aws (name one in KIVEN_PROVIDER_MIRROR)".to_owned());
        return Ok(());
    };
    crate::install::run()?;
    crate::deploy::suite(&mirror, |command| counted(count, command))
}

/// A mirror that the machine offers: a folder `tf-plugins` with hashicorp/aws in it.
fn known_mirror() -> Option<std::path::PathBuf> {
    ["/opt/tf-plugins", "/usr/local/share/tf-plugins"]
        .map(std::path::PathBuf::from)
        .into_iter()
        .find(|path| path.join("registry.terraform.io/hashicorp/aws").is_dir())
}

/// Runs `cargo test`, shows what it says and counts its closing lines.
pub(crate) fn cargo_test(count: &mut Count, arguments: &[&str]) -> Result<()> {
    cargo_test_with(count, arguments, &[("", ""); 0])
}

/// The same with these environment variables.
pub(crate) fn cargo_test_with(count: &mut Count, arguments: &[&str], environment: &[(&str, impl AsRef<std::ffi::OsStr>)]) -> Result<()> {
    let mut command = cargo();
    command.arg("test").arg("--no-fail-fast").args(arguments).current_dir(crate::root());
    counted(count, command.envs(environment.iter().map(|(name, value)| (name, value))))
}

fn counted(count: &mut Count, command: &mut Command) -> Result<()> {
    // Frames by the hundred would bury what failed; who wants them runs the one test.
    let mut child = command.env("RUST_BACKTRACE", "0").stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("cargo test says nothing")?;
    let mut naming = false;
    for line in BufReader::new(output).lines() {
        let line = line?;
        naming = line == "failures:" || (naming && line.starts_with("    "));
        if naming && let Some(name) = line.strip_prefix("    ") {
            count.failures.push(name.to_owned());
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            let number =
                |word: &str| result.split(['.', ';']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u32>().ok()).unwrap_or(0);
            count.passed += number("passed");
            count.failed += number("failed");
        }
        count.skipped.extend(ignored(&line));
        count.skipped.extend(said(&line, "skipped: ").map(str::to_owned));
        count.failures.extend(said(&line, "failed: ").map(str::to_owned));
        println!("{line}");
    }
    if !child.wait()?.success() && count.failed == 0 {
        count.failed += 1;
    }
    Ok(())
}

/// The name of an ignored test, and why it is one.
fn ignored(line: &str) -> Option<String> {
    let (name, why) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some(format!("{}{}", name.rsplit("::").next().unwrap_or(name), why.replace(", ", ": ")))
}

/// What a test says of itself for the closing lines: why it is skipped, or which of its parts failed. With one test at a time, cargo
/// has begun the line with the test's name.
fn said<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let (before, what) = line.split_once(word)?;
    (before.is_empty() || before.ends_with(" ... ")).then_some(what)
}

/// Packages that need no process but their own.
const UNIT: [&str; 14] = [
    "kiven-model",
    "kiven-ports",
    "kiven-durable",
    "kiven-data-services",
    "kiven-sim",
    "kiven-operations",
    "kiven-api",
    "kiven-client",
    "kiven-fake-kube",
    "kiven-lambdas",
    "kiven-relay",
    "kiven-agent",
    "kiven-cli",
    "xtask",
];

fn run_unit(count: &mut Count) -> Result<()> {
    let packages: Vec<&str> = UNIT.iter().flat_map(|name| ["-p", name]).collect();
    cargo_test(count, &packages)
}

fn run_local(count: &mut Count) -> Result<()> {
    const ALL_OF_AWS: &str = "kiven-aws/authority,kiven-aws/renewal,kiven-aws/invoke";
    cargo_test(count, &["-p", "kiven-aws", "-p", "kiven-local", "--features", ALL_OF_AWS])
}

fn run_system(count: &mut Count) -> Result<()> {
    demo(count, "demo", &[])?;
    demo(count, "demo of a weekend", &["--example", "schedule", "--clock", WEEKEND_BEGINS])?;
    let tests = system_tests()?;
    let targets = tests.iter().flat_map(|test| ["--test", test]);
    let arguments: Vec<&str> =
        ["-p", "kiven-tests", "--lib"].into_iter().chain(targets).chain(["--", "--test-threads", "1", "--nocapture"]).collect();
    cargo_test(count, &arguments)
}

/// A demo from its start to its end, as one test.
fn demo(count: &mut Count, name: &str, arguments: &[&str]) -> Result<()> {
    let figures = std::env::temp_dir().join(format!("kiven-demo-{}.json", std::process::id()));
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "--once", "--json"]).arg(&figures).args(arguments).stdin(Stdio::null());
    one(count, name, &mut command)?;
    if figures.exists() {
        std::fs::remove_file(&figures)?;
    }
    Ok(())
}

/// Tests of the whole that are suites of their own.
const OWN_SUITES: [&str; 3] = ["aws", "cluster", "deploy"];

/// The other tests of the whole.
fn system_tests() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(crate::root().join("tests/tests"))?.flatten();
    let names = entries.filter_map(|entry| entry.path().file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    let mut names: Vec<String> = names.filter(|name| !OWN_SUITES.contains(&name.as_str())).collect();
    names.sort();
    Ok(names)
}

/// The AWS adapters on an emulation that enforces IAM.
fn run_aws(count: &mut Count) -> Result<()> {
    crate::install::run()?;
    crate::wire::run(count, |count, environment| {
        cargo_test_with(count, &["-p", "kiven-tests", "--test", "aws", "--", "--test-threads", "2", "--nocapture"], environment)
    })
}

/// Changes under a writer, with the gap of each beside a plain restart; part of the suite `system` too.
fn day_two() -> Result<()> {
    crate::local::build(false)?;
    let status = cargo().args(["test", "-p", "kiven-tests", "--test", "day_two", "--", "--nocapture"]).current_dir(crate::root()).status()?;
    if status.success() { Ok(()) } else { bail!("a change under a writer failed") }
}

/// The whole kill matrix, printed into docs/reliability.md.
fn kills() -> Result<()> {
    crate::local::build(false)?;
    let status = cargo()
        .args(["test", "-p", "kiven-tests", "--test", "kills", "--", "--nocapture"])
        .env("KIVEN_KILLS", "all")
        .current_dir(crate::root())
        .status()?;
    if status.success() { Ok(()) } else { bail!("the kill matrix found something") }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn what_a_test_says_is_seen_wherever_cargo_puts_it() {
        assert_eq!(said("skipped: secrets: no client", "skipped: "), Some("secrets: no client"));
        assert_eq!(said("test nothing_secret ... skipped: secrets: no client", "skipped: "), Some("secrets: no client"));
        assert_eq!(said("failed: agent × pause: it is off", "failed: "), Some("agent × pause: it is off"));
        assert_eq!(said("test result: FAILED. 1 passed; 1 failed; 0 ignored", "failed: "), None);
        assert_eq!(said("nobody skipped: this", "skipped: "), None);
    }
}
