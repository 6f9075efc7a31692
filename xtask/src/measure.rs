//! What /proc and the logs say: memory, PostgreSQL processes, and Kiven's own share of an operation's time.
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// A process as /proc shows it.
struct Process {
    pid: u32,
    parent: u32,
    name: String,
    rss_kib: u64,
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).filter_map(read).collect()
}

fn read(pid: u32) -> Option<Process> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kib = |text: &str| text.split_whitespace().next().and_then(|number| number.parse().ok());
    Some(Process {
        pid,
        parent: field("PPid:")?.parse().ok()?,
        name: field("Name:")?.to_owned(),
        rss_kib: field("VmRSS:").and_then(kib).unwrap_or(0),
    })
}

/// A process and all below it.
fn tree(root: u32, all: &[Process]) -> Vec<u32> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(all.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        next += 1;
    }
    tree
}

fn mib(kib: u64) -> f64 {
    (kib as f64 / 102.4).round() / 10.0
}

/// Memory in MiB of the largest process of each name below a process, of names with a prefix.
pub(crate) fn rss_by_name_mb(root: u32, prefix: &str) -> BTreeMap<String, f64> {
    let all = processes();
    let tree = tree(root, &all);
    let mut found = BTreeMap::new();
    for process in all.iter().filter(|process| tree.contains(&process.pid) && process.name.starts_with(prefix)) {
        let most: &mut f64 = found.entry(process.name.clone()).or_default();
        *most = most.max(mib(process.rss_kib));
    }
    found
}

/// Memory in MiB of a process and all below it that are not PostgreSQL's, and of the agent among them.
pub(crate) fn rss_mb(root: u32) -> (f64, f64) {
    let all = processes();
    let tree = tree(root, &all);
    let ours = all.iter().filter(|p| tree.contains(&p.pid) && !p.name.starts_with("postgres") && !p.name.starts_with("pgbouncer"));
    let (mut stack, mut agent) = (0, 0);
    for process in ours {
        stack += process.rss_kib;
        if process.name == "kiven-agent" {
            agent += process.rss_kib;
        }
    }
    (mib(stack), mib(agent))
}

/// PostgreSQL servers whose data is under a folder.
pub(crate) fn postgres_under(folder: &Path) -> Vec<u32> {
    let under = |process: &Process| std::fs::read_link(format!("/proc/{}/cwd", process.pid)).is_ok_and(|cwd| cwd.starts_with(folder));
    processes().into_iter().filter(|process| process.name.starts_with("postgres") && under(process)).map(|process| process.pid).collect()
}

/// A stretch of time in milliseconds since 1970, with what it was.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Interval {
    what: String,
    from_ms: i64,
    to_ms: i64,
}

/// Where PostgreSQL's own programs were at work, from the operator's log.
pub(crate) fn postgres_intervals(log: &Path) -> Result<Vec<Interval>> {
    let text = std::fs::read_to_string(log)?;
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        if !["initdb done", "base backup done", "PostgreSQL answers"].contains(&message) {
            continue;
        }
        let elapsed = &line["fields"]["elapsed_ms"];
        let elapsed = elapsed.as_i64().or_else(|| elapsed.as_str().and_then(|text| text.parse().ok())).unwrap_or(0);
        if let Some(to_ms) = line["timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(|at| at.as_millisecond()) {
            found.push(Interval { what: message.to_owned(), from_ms: to_ms - elapsed, to_ms });
        }
    }
    Ok(found)
}

/// How much of `from..to` none of the intervals covers.
pub(crate) fn uncovered_ms(from_ms: i64, to_ms: i64, intervals: &[Interval]) -> i64 {
    let mut sorted: Vec<(i64, i64)> = intervals.iter().map(|i| (i.from_ms.max(from_ms), i.to_ms.min(to_ms))).filter(|(from, to)| from < to).collect();
    sorted.sort_unstable();
    let (mut free, mut reached) = (0, from_ms);
    for (from, to) in sorted {
        free += (from - reached).max(0);
        reached = reached.max(to);
    }
    free + (to_ms - reached).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_intervals_count_once() {
        let interval = |from_ms, to_ms| Interval { what: String::new(), from_ms, to_ms };
        assert_eq!(uncovered_ms(0, 100, &[]), 100);
        assert_eq!(uncovered_ms(0, 100, &[interval(10, 30), interval(20, 40), interval(90, 200)]), 60);
        assert_eq!(uncovered_ms(0, 100, &[interval(-10, 200)]), 0);
    }
}
