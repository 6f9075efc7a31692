//! Random faults by seed over a whole life: provision, pause, resume, delete, purge. A seed reproduces any failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
use common::{Stage, judge};
use kiven_model::operation::{OperationKind, OperationStatus};
use kiven_sim::Odds;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds in CI; `KIVEN_SIM_SEEDS` asks for more, `KIVEN_SIM_SEED` for one.
const SEEDS: u64 = 300;

/// Lives one life as far as it goes; answers how many operations came to a good end.
fn live(seed: u64) -> Result<u32, String> {
    let mut stage = Stage::new(seed, Odds::rough());
    let mut good = 0;
    use OperationKind::{Change, Connect, Delete, Pause, Provision, Purge, Resume};
    for kind in [Connect, Provision, Pause, Resume, Change, Delete, Purge] {
        let before = if kind == Purge { stage.world.snapshot() } else { stage.settle() };
        let Some(id) = stage.accept(kind, 0) else { continue };
        let head = stage.run(&id);
        judge(&stage, &head, &before).map_err(|why| format!("{kind:?}: {why}"))?;
        good += u32::from(head.status == OperationStatus::Succeeded);
        if matches!(kind, Connect | Provision | Delete) && head.status != OperationStatus::Succeeded {
            break;
        }
    }
    Ok(good)
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn wanted(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Every fourth seed, so that the four quarters run beside each other.
fn quarter(number: u64) {
    let all: Vec<u64> = match wanted("KIVEN_SIM_SEED") {
        Some(one) => vec![one],
        None => (0..wanted("KIVEN_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let seeds: Vec<u64> = all.into_iter().filter(|seed| seed % 4 == number).collect();
    let mut good = 0;
    for &seed in &seeds {
        match catch_unwind(AssertUnwindSafe(|| live(seed))) {
            Ok(Ok(ends)) => good += ends as usize,
            Ok(Err(why)) => panic!("KIVEN_SIM_SEED={seed}: {why}"),
            Err(_) => panic!("KIVEN_SIM_SEED={seed}: see the panic above"),
        }
    }
    // A world that only ever fails would prove nothing; one life may end early.
    assert!(good * 10 >= seeds.len() * 7 * 7 || seeds.len() < 10, "{good} good ends of {}", seeds.len() * 7);
}

#[test]
fn random_faults_over_whole_lives_first_quarter() {
    quarter(0);
}
#[test]
fn random_faults_over_whole_lives_second_quarter() {
    quarter(1);
}
#[test]
fn random_faults_over_whole_lives_third_quarter() {
    quarter(2);
}
#[test]
fn random_faults_over_whole_lives_fourth_quarter() {
    quarter(3);
}
