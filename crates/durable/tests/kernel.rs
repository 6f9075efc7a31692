//! The kernel by itself: a scripted body over scripted steps, one table of stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
use kiven_durable::{At, Body, Cx, Drive, Driven, NoFaults, Outcome, Progress, Step, StepError, Stop, drive};
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_model::{Code, OperationId, Problem};
use kiven_ports::{Clock, PortError, Ports, Records, Write};
use kiven_sim::{Odds, World, block_on};
use serde::Serialize;
use serde_json::json;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const DRIVES_MAX: u32 = 200;

#[derive(Clone, Copy, Debug)]
enum Act {
    Done,
    Pending,
    Retry,
    Failed,
    /// Somebody outside must act first.
    Blocked,
    /// Never comes back.
    Hang,
}

/// What each step and undo does, run by run (the last one for ever), and what was called.
#[derive(Default)]
struct Script {
    acts: BTreeMap<String, VecDeque<Act>>,
    log: Vec<String>,
}

thread_local! {
    static SCRIPT: RefCell<Script> = RefCell::default();
}

async fn act(name: &str) -> Result<Progress<String>, StepError> {
    let problem = || Problem::new(Code::AGENT_FAILED, format!("{name} failed"));
    let next = SCRIPT.with_borrow_mut(|script| {
        script.log.push(name.to_owned());
        let acts = script.acts.get_mut(name)?;
        if acts.len() > 1 { acts.pop_front() } else { acts.front().copied() }
    });
    match next.unwrap_or(Act::Done) {
        Act::Done => Ok(Progress::Done(name.to_owned())),
        Act::Pending => Ok(Progress::Pending { after: Duration::from_secs(30), on: "rain".to_owned() }),
        Act::Retry => Err(StepError::Retry { problem: problem(), after: Duration::from_millis(500) }),
        Act::Failed => Err(StepError::Failed(problem())),
        Act::Blocked => Err(StepError::Blocked { problem: problem(), after: Duration::from_secs(6 * 3600) }),
        Act::Hang => std::future::pending().await,
    }
}

#[derive(Clone, Serialize)]
struct Do(char);

impl<P: Ports> Step<P> for Do {
    const NAME: &'static str = "do";
    const WAIT_MAX: Duration = Duration::from_secs(300);
    const ATTEMPTS_MAX: u32 = 4;
    type Output = String;
    fn key(&self) -> String {
        self.0.to_string()
    }
    async fn run(&self, _: &P, _: &At) -> Result<Progress<String>, StepError> {
        act(&self.0.to_string()).await
    }
    async fn undo(&self, _: &P, _: &At, done: Option<String>) -> Result<Progress<()>, StepError> {
        let mark = if done.is_some() { "-" } else { "~" }; // `~`: it may or may not have happened
        Ok(match act(&format!("{mark}{}", self.0)).await? {
            Progress::Done(_) => Progress::Done(()),
            Progress::Pending { after, on } => Progress::Pending { after, on },
        })
    }
}

/// A body written as text: `a` one step, `(bc)` both at once, `[de]` each, `!` no way back.
struct Text;

impl<P: Ports> Body<P> for Text {
    const KIND: OperationKind = OperationKind::Connect;
    const VERSION: u32 = 1;
    type Input = String;
    type Output = ();

    async fn run(cx: Cx<P>, input: String) -> Result<(), Stop> {
        let mut rest = input.chars();
        while let Some(word) = rest.next() {
            match word {
                '!' => cx.no_way_back().await?,
                '(' => {
                    let pair: Vec<char> = rest.by_ref().take_while(|c| *c != ')').collect();
                    cx.all((Do(pair[0]), Do(pair[1]))).await?;
                }
                '[' => {
                    let list: Vec<Do> = rest.by_ref().take_while(|c| *c != ']').map(Do).collect();
                    cx.each(list).await?;
                }
                one => drop(cx.step(Do(one)).await?),
            }
        }
        Ok(())
    }
    async fn settle(_: &P, _: &Operation, _: &Outcome) -> Result<Vec<Write>, PortError> {
        Ok(Vec::new())
    }
}

struct Ended {
    head: Operation,
    log: String,
    drives: u32,
}

fn begin(body: &str) -> (Arc<World>, OperationId) {
    let world = Arc::new(World::new(1, Odds::none()));
    let head = Operation { input: json!(body), created_at: world.now(), ..kiven_ports::contract::operation(1, 1) };
    let write = Write::Operation { record: Box::new(head.clone()), expected: None };
    block_on(world.records_commit(vec![write])).unwrap().unwrap();
    (world, head.id)
}

fn once(world: &Arc<World>, id: &OperationId, owner: &str) -> Driven {
    let how = Drive { owner: owner.to_owned(), lease: Duration::from_secs(90), faults: Arc::new(NoFaults) };
    block_on(drive::<World, Text>(Arc::clone(world), id, &how)).unwrap().unwrap()
}

fn script(acts: &[(&str, &[Act])]) {
    let acts = acts.iter().map(|(name, acts)| ((*name).to_owned(), acts.iter().copied().collect())).collect();
    SCRIPT.set(Script { acts, log: Vec::new() });
}

fn run(body: &str, acts: &[(&str, &[Act])], cancel_after: Option<u32>) -> Ended {
    script(acts);
    let (world, id) = begin(body);
    for drives in 1..=DRIVES_MAX {
        if cancel_after == Some(drives - 1) {
            world.cancel(&id);
        }
        match once(&world, &id, "a") {
            Driven::Over(_) => {
                let head = block_on(world.operation_get(&id)).unwrap().unwrap().unwrap();
                return Ended { head, log: SCRIPT.with_borrow(|script| script.log.join(" ")), drives };
            }
            Driven::Wait(after) => world.advance_to(world.now_ms() + i64::try_from(after.as_millis()).unwrap()),
            other => panic!("{body}: {other:?}"),
        }
    }
    panic!("{body}: not over after {DRIVES_MAX} drives")
}

#[track_caller]
fn check(body: &str, acts: &[(&str, &[Act])], status: OperationStatus, log: &str) -> Ended {
    let ended = run(body, acts, None);
    assert_eq!((ended.head.status, ended.log.as_str()), (status, log), "{body} {acts:?}: {:?}", ended.head.problem);
    ended
}

use Act::{Blocked, Done, Failed, Hang, Pending, Retry};
use OperationStatus::{Failed as Unwound, Stuck, Succeeded};

#[test]
fn steps_run_once_in_order_and_replay_gives_what_they_gave() {
    check("abc", &[], Succeeded, "a b c");
    check("ab", &[("b", &[Pending, Pending, Done])], Succeeded, "a b b b");
    check("(ab)[cd]e", &[], Succeeded, "a b c d e");
    let ended = check("(ab)", &[("a", &[Pending, Done])], Succeeded, "a b a");
    assert_eq!(ended.drives, 2, "what was done beside a wait is not done again");
}

#[test]
fn what_fails_is_undone_last_first() {
    check("abc", &[("c", &[Failed])], Unwound, "a b c ~c -b -a");
    check("a[bcd]", &[("c", &[Failed])], Unwound, "a b c d -d ~c -b -a");
    let ended = check("(ab)", &[("a", &[Failed]), ("b", &[Failed])], Unwound, "a b ~b ~a");
    assert_eq!(ended.head.problem.unwrap().message, "a failed", "the first by position, after both have come to rest");
}

#[test]
fn retries_and_waits_are_bounded() {
    check("a", &[("a", &[Retry, Retry, Done])], Succeeded, "a a a");
    check("a", &[("a", &[Retry])], Unwound, "a a a a ~a");
    let ended = run("a", &[("a", &[Pending])], None);
    assert_eq!((ended.head.status, ended.head.problem.unwrap().code), (Unwound, Code::STEP_STUCK));
    assert!(ended.drives < 20, "{}", ended.drives);
}

#[test]
fn what_hangs_is_cut_off_and_tried_again() {
    check("ab", &[("a", &[Hang, Hang, Done])], Succeeded, "a a a b");
    check("ab", &[("b", &[Failed]), ("-a", &[Hang, Done])], Unwound, "a b ~b -a -a");
    let ended = check("a", &[("a", &[Hang])], Unwound, "a a a a ~a");
    assert_eq!(ended.head.problem.unwrap().code, Code::UNAVAILABLE);
}

#[test]
fn what_is_blocked_waits_for_days_and_undoes_nothing() {
    // Four blocked looks take a day, far more than the step's whole time to wait, which begins anew afterwards.
    let ended = check("ab", &[("b", &[Blocked, Blocked, Blocked, Blocked, Pending, Done])], Succeeded, "a b b b b b b");
    assert_eq!(ended.head.events, 2 + 4 + 1, "a; b with what it waits for, said once each; the end");
    check("ab", &[("b", &[Failed]), ("-a", &[Blocked, Blocked, Done])], Unwound, "a b ~b -a -a -a");
    let ended = run("ab", &[("b", &[Blocked])], None);
    assert_eq!((ended.head.status, ended.head.problem.unwrap().message.as_str()), (Unwound, "b failed"), "thirty days are enough");
}

#[test]
fn an_undo_is_retried_and_then_told() {
    check("ab", &[("b", &[Failed]), ("-a", &[Pending, Retry, Done])], Unwound, "a b ~b -a -a -a");
    let ended = check("ab", &[("b", &[Failed]), ("-a", &[Failed])], Stuck, "a b ~b -a");
    assert_eq!(ended.head.problem.unwrap().code, Code::UNDO_STUCK);
    assert_eq!(run("ab", &[("b", &[Failed]), ("-a", &[Retry])], None).head.status, Stuck);
}

#[test]
fn past_the_point_of_no_return_nothing_is_undone() {
    check("a!b", &[("b", &[Failed])], Stuck, "a b");
    check("a!b", &[("b", &[Retry])], Stuck, "a b b b b");
    let ended = run("a!b", &[("b", &[Pending, Pending, Done])], Some(1));
    assert_eq!((ended.head.status, ended.head.cancel_requested), (Succeeded, false), "a cancel comes too late");
}

#[test]
fn a_cancel_takes_effect_before_the_next_effect() {
    for (after, log) in [(0, ""), (1, "a b ~b -a")] {
        let ended = run("ab", &[("b", &[Pending])], Some(after));
        assert_eq!((ended.head.status, ended.log.as_str()), (Unwound, log));
        assert_eq!(ended.head.problem.unwrap().code, Code::CANCELLED);
    }
}

#[test]
fn two_steps_of_one_key_are_stuck_before_any_effect() {
    check("[aa]", &[], Stuck, "");
    check("aba", &[], Stuck, "a b");
}

#[test]
fn a_ring_does_not_use_up_attempts() {
    script(&[("a", &[Retry])]);
    let (world, id) = begin("a");
    for _ in 0..50 {
        assert!(matches!(once(&world, &id, "a"), Driven::Wait(_) | Driven::Armed));
    }
    assert_eq!(SCRIPT.with_borrow(|script| script.log.len()), 1);
}

#[test]
fn a_lease_keeps_others_out_until_it_ends() {
    script(&[("a", &[Pending])]);
    let (world, id) = begin("a");
    world.withdraw_lease(&id);
    assert_eq!(once(&world, &id, "b"), Driven::Busy);
    world.advance_to(world.now_ms() + 90_000);
    assert!(matches!(once(&world, &id, "b"), Driven::Wait(_) | Driven::Armed), "and it is given back at a rest");
    assert_eq!(once(&world, &id, "c"), Driven::Armed, "a ring that comes early adds no ring of its own");
}

#[test]
fn intents_of_one_group_are_one_write() {
    script(&[("a", &[Pending]), ("b", &[Pending])]);
    let (world, id) = begin("(ab)");
    let at = world.now();
    once(&world, &id, "a");
    let head = block_on(world.operation_get(&id)).unwrap().unwrap().unwrap();
    let steps = block_on(world.operation_steps(&id)).unwrap().unwrap();
    assert!(steps.len() == 2 && steps.iter().all(|step| step.started_at == at));
    assert_eq!(head.version, 1 + 5, "lease, both intents, each wait told once, rest");
}
