//! A real Ctrl-C to the whole process group, at random moments of applies: nothing is orphaned, lost or tainted.
use super::{client, sink};
use crate::folder::Folder;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Applies that are interrupted; `TFPLUGIN_INTERRUPTS` says another number.
const INTERRUPTS: u64 = 5;
/// Resources in each.
const THINGS: usize = 10;
/// About as many lines as their plan has.
const LINES_OF_A_PLAN: u64 = 120;

/// The next of a fixed sequence of numbers: the moments are the same in every run (Knuth's MMIX generator).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// When an apply is interrupted: it has said so many lines.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Of all lines: while it starts, refreshes and plans, too.
    Said(u64),
    /// Of those about resources, which come once the plan is over.
    Making(u64),
}

impl Moment {
    fn random(seed: &mut u64) -> Self {
        match next(seed) % 4 {
            0 => Self::Said(next(seed) % LINES_OF_A_PLAN),
            _ => Self::Making(next(seed) % (2 * THINGS as u64)),
        }
    }

    fn counts(self, line: &str) -> bool {
        match self {
            Self::Said(_) => true,
            Self::Making(_) => line.contains("Creating...") || line.contains("Creation complete"),
        }
    }
}

/// Interrupts an apply at a moment; answers what it said afterwards.
fn interrupted(folder: &Folder, moment: Moment) -> String {
    let mut child = folder
        .command(&["apply", "-auto-approve", "-parallelism=3"])
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (Moment::Said(after) | Moment::Making(after)) = moment;
    let mut counted = lines.by_ref().map_while(Result::ok).filter(|line| moment.counts(line));
    for _ in 0..=after {
        if counted.next().is_none() {
            break;
        }
    }
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-INT", "--", &group]).status().unwrap();
    // Read to the end, so that the client is never held up by a full pipe.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let ended = child.wait().unwrap();
    format!("{ended}: {}", rest.join("\n"))
}

#[test]
fn an_interrupt_loses_nothing() {
    let Some(client) = client() else { return };
    #[expect(clippy::disallowed_methods, reason = "how often is the caller's choice")]
    let wanted = std::env::var("TFPLUGIN_INTERRUPTS").ok();
    let count: u64 = wanted.and_then(|text| text.parse().ok()).unwrap_or(INTERRUPTS);
    let things = sink(&format!("resource \"sink_thing\" \"a\" {{\n  count = {THINGS}\n  name  = \"a${{count.index}}\"\n  pace_ms = 40\n}}\n"));
    let (mut seed, mut emptied) = (29, 0);
    for round in 0..count {
        let folder = Folder::new(client.clone(), &things);
        let said = interrupted(&folder, Moment::random(&mut seed));
        let made: BTreeSet<String> = folder.names("shelf", ".json").into_iter().map(|name| name.trim_end_matches(".json").to_owned()).collect();
        if client.is_tofu() && folder.path("terraform.tfstate").metadata().is_ok_and(|file| file.len() == 0) && said.contains("Apply complete!") {
            // OpenTofu 1.12 itself, interrupted when all is done, says so and empties its state; with terraform_data alone, too.
            emptied += 1;
            continue;
        }
        let text = if folder.path("terraform.tfstate").exists() { folder.read("terraform.tfstate") } else { String::new() };
        // A client that was interrupted before its first write leaves no file, or an empty one that it had locked.
        let state: serde_json::Value = if text.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&text).unwrap() };
        let instances: Vec<&serde_json::Value> =
            state["resources"].as_array().into_iter().flatten().flat_map(|one| one["instances"].as_array().unwrap()).collect();
        assert!(instances.iter().all(|one| one["status"].is_null()), "round {round}: something is tainted: {text}");
        let known: BTreeSet<String> = instances.iter().map(|one| one["attributes"]["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(made, known, "round {round}: what is there and what the state knows, after {said}");
        folder.good(&["apply", "-auto-approve"]);
        assert_eq!(folder.names("shelf", ".json").len(), THINGS, "round {round}: the next apply goes on");
        folder.unchanged();
    }
    assert!(emptied <= count / 5, "the client emptied its own state {emptied} times in {count}");
    println!("{} applies of {THINGS} resources interrupted: nothing orphaned, lost or tainted", count - emptied);
    if emptied > 0 {
        println!("{emptied} more: the client had finished and emptied its own state");
    }
}
