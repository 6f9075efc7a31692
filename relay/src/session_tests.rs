//! Two relays over one store, in virtual time: ownership, hand-over, back-pressure, revocation.
use crate::connections::Seat;
use crate::limits::COMMANDS_IN_FLIGHT_MAX;
use crate::metrics::Metrics;
use crate::packs::Packs;
use crate::service::{Outgoing, Relay, Shown};
use crate::session::SendQueue;
use crate::sessions::{IDLE_PACE, Sessions};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use kiven_model::report::{Report, ReportBody};
use kiven_model::statistics::InstanceStatistics;
use kiven_model::{EnvironmentId, OperationId};
use kiven_ports::statistics::prefix;
use kiven_ports::{Agents, PortError, Records, ReportQueue, StatisticsArchive, Write};
use kiven_proto::v1::session_response::Message;
use kiven_proto::v1::{Hello, SessionRequest, session_request};
use kiven_sim::{Odds, World};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// When the agents' certificates were signed.
const SIGNED: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// A queue that takes reports while it is open.
struct Gate {
    open: watch::Receiver<bool>,
    taken: mpsc::UnboundedSender<Report>,
}

impl ReportQueue for Gate {
    async fn report_send(&self, report: &Report) -> Result<(), PortError> {
        let mut open = self.open.clone();
        open.wait_for(|open| *open).await.map_err(|_| PortError::retry("the gate", "gone"))?;
        self.taken.send(report.clone()).map_err(|_| PortError::retry("the gate", "gone"))
    }
}

struct Harness {
    world: Arc<World>,
    gate: watch::Sender<bool>,
    open: watch::Receiver<bool>,
    taken: mpsc::UnboundedReceiver<Report>,
    say_taken: mpsc::UnboundedSender<Report>,
}

type TestRelay = Relay<World, Gate>;

/// An agent's end of a session.
struct Agent {
    number: u64,
    sequence: u64,
    out: mpsc::Sender<Result<SessionRequest, Status>>,
    incoming: mpsc::Receiver<Outgoing>,
}

/// In virtual time: what has not come then never comes.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), what).await.expect("it comes")
}

fn environment() -> EnvironmentId {
    EnvironmentId::from_random([9; 16])
}

impl Harness {
    fn new() -> Self {
        let ((gate, open), (say_taken, taken)) = (watch::channel(true), mpsc::unbounded_channel());
        Self { world: Arc::new(World::new(1, Odds::none())), gate, open, taken, say_taken }
    }

    /// Another relay over the same store.
    fn relay(&self, id: &str) -> Arc<TestRelay> {
        let queue = Arc::new(SendQueue::new(Gate { open: self.open.clone(), taken: self.say_taken.clone() }));
        let (sessions, metrics) = (Sessions::default(), Arc::new(Metrics::default()));
        let (caller, store, counted) = (sessions.clone(), Arc::clone(&self.world), Arc::clone(&metrics));
        tokio::spawn(async move { caller.call_for_ever(&*store, &counted, || Timestamp::UNIX_EPOCH).await });
        let packs = Arc::new(Packs::new(id.to_owned(), || Timestamp::UNIX_EPOCH, Arc::clone(&metrics)));
        tokio::spawn(Arc::clone(&packs).put_for_ever(Arc::clone(&self.world)));
        Arc::new(Relay { id: id.to_owned(), store: Arc::clone(&self.world), places: Arc::new(Semaphore::new(4)), queue, packs, sessions, metrics })
    }

    async fn send(&self, count: usize) -> Vec<String> {
        let operation_id = OperationId::from_random([4; 16]);
        let mut ids = Vec::new();
        for n in 0..count {
            let command = Command {
                id: format!("{operation_id}/step-{n}"),
                environment_id: environment(),
                operation_id: operation_id.clone(),
                database_id: None,
                fence: 1,
                not_after: Timestamp::MAX,
                body: CommandBody::Inspect,
            };
            self.world.command_send(&command).await.unwrap();
            ids.push(command.id);
        }
        ids
    }

    /// Records the next report as the function `reports` does.
    async fn record(&mut self) -> Report {
        let report = soon(self.taken.recv()).await.unwrap();
        if let ReportBody::Answered { command_id, outcome } = &report.body {
            self.world.command_answer(command_id, outcome).await.unwrap();
        }
        report
    }
}

async fn open(relay: &TestRelay, number: u64) -> Result<Agent, Status> {
    let (out, incoming) = mpsc::channel(1_000);
    let hello = Hello { environment_id: environment().to_string(), session: number, agent_version: "1".into() };
    let answers = relay.open(Shown::of(&environment(), SIGNED), &Seat::default(), hello, ReceiverStream::new(incoming)).await?;
    Ok(Agent { number, sequence: 0, out, incoming: answers })
}

async fn welcomed(relay: &TestRelay, number: u64) -> (Agent, u64) {
    let mut agent = open(relay, number).await.unwrap();
    let Some(Message::Welcome(welcome)) = agent.next().await else { panic!("the first word is the welcome") };
    (agent, welcome.epoch)
}

impl Agent {
    /// From now on it reads whatever comes, as agents do.
    fn reading(mut self) -> Self {
        let (read, incoming) = mpsc::channel(10_000);
        let mut from = std::mem::replace(&mut self.incoming, incoming);
        tokio::spawn(async move {
            while let Some(message) = from.recv().await {
                if read.send(message).await.is_err() {
                    break;
                }
            }
        });
        self
    }
    async fn next(&mut self) -> Option<Message> {
        soon(self.incoming.recv()).await?.unwrap().message
    }
    /// The id of the next command; acknowledgements before it are passed over.
    async fn command(&mut self) -> String {
        loop {
            match self.next().await.unwrap() {
                Message::Command(command) => return command.id,
                Message::Acknowledgement(_) => {}
                other => panic!("no command but {other:?}"),
            }
        }
    }
    /// How the relay ended it.
    async fn end(&mut self) -> Status {
        loop {
            match soon(self.incoming.recv()).await.unwrap() {
                Ok(_) => {}
                Err(status) => return status,
            }
        }
    }
    async fn say(&mut self, body: ReportBody) {
        self.sequence += 1;
        let report = Report { environment_id: environment(), session: self.number, sequence: self.sequence, at: Timestamp::UNIX_EPOCH, body };
        let report = kiven_proto::v1::Report { sequence: self.sequence, body: serde_json::to_vec(&report).unwrap() };
        let message = Some(session_request::Message::Report(report));
        // A session that is over takes nothing any more.
        let _ = self.out.send(Ok(SessionRequest { message })).await;
    }
    async fn answer(&mut self, id: &str) {
        self.say(ReportBody::Answered { command_id: id.to_owned(), outcome: CommandOutcome::Done(CommandOutput::Nothing) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_comes_within_the_pace_and_its_answer_is_acknowledged_once_it_is_safe() {
    let mut h = Harness::new();
    let relay = h.relay("a");
    let (mut agent, epoch) = welcomed(&relay, 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (began, ids) = (tokio::time::Instant::now(), h.send(1).await);
    let Some(Message::Command(command)) = agent.next().await else { panic!("a command") };
    assert_eq!((&command.id, command.epoch), (&ids[0], epoch));
    assert!(began.elapsed() <= IDLE_PACE);
    h.gate.send(false).unwrap();
    agent.answer(&ids[0]).await;
    // Behind a queue that takes nothing, commands still go out.
    let began = tokio::time::Instant::now();
    let ids = h.send(2).await;
    assert_eq!(agent.command().await, ids[1]);
    assert!(began.elapsed() <= Duration::from_millis(100), "busy: {:?}", began.elapsed());
    h.gate.send(true).unwrap();
    assert!(matches!(agent.next().await, Some(Message::Acknowledgement(a)) if a.sequence == 1));
    assert!(matches!(h.record().await.body, ReportBody::Answered { command_id, .. } if command_id == ids[0]));
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_epoch_is_over_hands_over_nothing_and_takes_no_report() {
    let mut h = Harness::new();
    let (old, new) = (h.relay("old"), h.relay("new"));
    let (mut left, first) = welcomed(&old, 10).await;
    let (mut agent, second) = welcomed(&new, 20).await;
    assert!(second > first);
    // The old relay knows nothing of it until it wants to do something.
    tokio::time::sleep(Duration::from_secs(6)).await;
    left.answer("x").await;
    assert_eq!(left.end().await.code(), Code::Aborted);
    assert!(h.taken.try_recv().is_err());
    let ids = h.send(1).await;
    assert_eq!(agent.command().await, ids[0]);
    let late = open(&old, 15).await.err().unwrap();
    assert_eq!((late.code(), late.metadata().get("kiven-session").unwrap().to_str().unwrap()), (Code::Aborted, "20"));
    // A command that comes while the old session still believes in itself goes to the new one alone.
    let (mut stale, _) = welcomed(&old, 30).await;
    let (mut agent, _) = welcomed(&new, 40).await;
    let again = agent.command().await;
    assert_eq!(again, ids[0], "not answered yet");
    h.send(2).await;
    assert_eq!(stale.command_or_end().await, Err(Code::Aborted));
    assert!(agent.command().await.ends_with("step-1"));
}

impl Agent {
    async fn command_or_end(&mut self) -> Result<String, Code> {
        loop {
            match soon(self.incoming.recv()).await.unwrap().map(|sent| sent.message) {
                // What the session took before the later one claimed it.
                Ok(Some(Message::Command(command))) if command.id.ends_with("step-0") => {}
                Ok(Some(Message::Command(command))) => return Ok(command.id),
                Ok(_) => {}
                Err(status) => return Err(status.code()),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn statistics_go_to_the_archive_and_wait_for_no_queue() {
    let mut h = Harness::new();
    let relay = h.relay("a");
    let (mut agent, _) = welcomed(&relay, 1).await;
    h.gate.send(false).unwrap();
    let database = kiven_model::DatabaseId::from_random([1; 16]);
    let said = InstanceStatistics::empty(database, "c".into(), "c-1".into(), "shop".into(), Timestamp::UNIX_EPOCH);
    agent.say(ReportBody::Statistics(Box::new(said))).await;
    assert!(matches!(agent.next().await, Some(Message::Acknowledgement(a)) if a.sequence == 1));
    tokio::time::sleep(Duration::from_secs(70)).await;
    let key = format!("{}1970/01/01/000000-a-1.jsonl.gz", prefix(&environment()));
    assert!(h.world.pack_get(&key).await.unwrap().is_some());
    assert!(h.taken.try_recv().is_err(), "nothing of it is in the queue");
    assert!(relay.metrics.text().contains("kiven_relay_statistics_total 1\n"));
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_loses_nothing_and_doubles_nothing() {
    let mut h = Harness::new();
    let (first, second) = (h.relay("first"), h.relay("second"));
    let all: BTreeSet<String> = h.send(120).await.into_iter().collect();
    let mut agent = welcomed(&first, 1).await.0.reading();
    let mut done = BTreeSet::new();
    for _ in 0..30 {
        let id = agent.command().await;
        assert!(done.insert(id.clone()), "doubled");
        agent.answer(&id).await;
        h.record().await;
    }
    let within = first.sessions.drain();
    assert!(within <= Duration::from_millis(1), "one agent leaves at once");
    // What is read until the word to go was handed over here; it is answered in the next session.
    let mut open_here = BTreeSet::new();
    loop {
        match agent.next().await.unwrap() {
            Message::Command(command) => assert!(open_here.insert(command.id)),
            Message::Acknowledgement(_) => {}
            Message::GoAway(_) => break,
            Message::Welcome(_) => panic!("welcomed twice"),
        }
    }
    assert!(open_here.is_disjoint(&done) && open_here.len() <= COMMANDS_IN_FLIGHT_MAX);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(agent.incoming.try_recv().is_err(), "nothing is handed over after the word to go");
    agent.say(ReportBody::Dropped { count: 1, events: 0 }).await;
    h.record().await;
    assert_eq!(open(&first, 2).await.err().unwrap().code(), Code::Unavailable);
    let mut agent = welcomed(&second, 3).await.0.reading();
    let mut again = BTreeSet::new();
    while done.len() < all.len() {
        let id = agent.command().await;
        assert!(again.insert(id.clone()) && done.insert(id.clone()), "doubled");
        agent.answer(&id).await;
        h.record().await;
    }
    assert_eq!(done, all);
    assert!(again.is_superset(&open_here), "what was handed over and not answered comes again; the agent knows it by its id");
    assert!(h.world.commands_due(&environment(), 99).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_certificate_opens_no_session_and_ends_the_one_it_has() {
    let h = Harness::new();
    let relay = h.relay("a");
    let (mut agent, _) = welcomed(&relay, 1).await;
    let before = SIGNED + jiff::SignedDuration::from_secs(1);
    h.world.records_commit(vec![Write::AgentsRevoked { environment: environment(), before }]).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(agent.end().await.code(), Code::Aborted);
    assert!(began.elapsed() <= Duration::from_secs(60), "at the latest when the session looks");
    assert_eq!(open(&relay, 2).await.err().unwrap().code(), Code::Unauthenticated);
    assert!(relay.metrics.text().contains("kiven_relay_refusals_total{reason=\"revoked\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn so_many_are_in_flight_and_an_answer_makes_room_for_one() {
    let mut h = Harness::new();
    let relay = h.relay("a");
    let ids = h.send(COMMANDS_IN_FLIGHT_MAX + 5).await;
    let (mut agent, _) = welcomed(&relay, 1).await;
    for id in &ids[..COMMANDS_IN_FLIGHT_MAX] {
        assert_eq!(agent.command().await, *id);
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(agent.incoming.try_recv().is_err());
    agent.answer(&ids[3]).await;
    h.record().await;
    assert_eq!(agent.command().await, ids[COMMANDS_IN_FLIGHT_MAX]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_queue_lets_one_report_of_a_session_wait_and_leaves_the_others_with_the_agent() {
    let mut h = Harness::new();
    let relay = h.relay("a");
    let (mut agent, _) = welcomed(&relay, 1).await;
    h.gate.send(false).unwrap();
    for _ in 0..100 {
        agent.say(ReportBody::Dropped { count: 1, events: 0 }).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(agent.out.capacity(), 1_000 - 99, "one was read");
    h.gate.send(true).unwrap();
    for sequence in 1..=100 {
        assert_eq!(h.record().await.sequence, sequence);
        assert!(matches!(agent.next().await, Some(Message::Acknowledgement(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_too_much_waits_and_one_that_does_not_read_is_let_go() {
    let mut h = Harness::new();
    let relay = h.relay("a");
    let (mut agent, _) = welcomed(&relay, 1).await;
    let began = tokio::time::Instant::now();
    for _ in 0..700 {
        agent.say(ReportBody::Dropped { count: 1, events: 0 }).await;
    }
    for _ in 0..700 {
        h.record().await;
        assert!(matches!(agent.next().await, Some(Message::Acknowledgement(_))));
    }
    assert!(began.elapsed() >= Duration::from_secs(4) && began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(60)).await;
    for _ in 0..100 {
        agent.say(ReportBody::Dropped { count: 1, events: 0 }).await;
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(relay.metrics.sessions(), 0);
    assert!(relay.metrics.text().contains("kiven_relay_refusals_total{reason=\"slow\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_report_of_this_session_ends_it_and_what_cannot_be_read_is_passed_over() {
    let h = Harness::new();
    let relay = h.relay("a");
    let (mut agent, _) = welcomed(&relay, 1).await;
    let message = Some(session_request::Message::Report(kiven_proto::v1::Report { sequence: 1, body: b"{".to_vec() }));
    agent.out.send(Ok(SessionRequest { message })).await.unwrap();
    assert!(matches!(agent.next().await, Some(Message::Acknowledgement(a)) if a.sequence == 1));
    agent.number = 2;
    agent.sequence = 1;
    agent.say(ReportBody::Dropped { count: 1, events: 0 }).await;
    assert_eq!(agent.end().await.code(), Code::PermissionDenied);
    for number in 10..19 {
        welcomed(&relay, number).await;
    }
    assert_eq!(open(&relay, 30).await.err().unwrap().code(), Code::ResourceExhausted, "ten at once");
}
