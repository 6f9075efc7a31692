//! Runs admitted commands as tasks, as many at once as [`crate::lanes`] has places for, and leaves their answers in the outbox.
use crate::epochs::Epochs;
use crate::lanes::Lanes;
use crate::outbox::Outbox;
use kiven_model::Problem;
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::report::ReportBody;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a stop waits for what runs: more than the slowest command takes, less than Kubernetes leaves the process.
const RUN_SECONDS_MAX: u64 = 25;
/// How long it then waits until the relay has the answers.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// What carries out one command.
pub(crate) trait CarryOut: Send + Sync + 'static {
    /// Carries out one command; one that has ended before only gets its answer again.
    fn carry_out(&self, command: &Command) -> impl Future<Output = CommandOutcome> + Send;
    /// The epochs of relays that were seen.
    fn epochs(&self) -> &Epochs;
}

/// Commands on their way from the stream to their answers. It outlives sessions.
pub(crate) struct Runner<C> {
    work: C,
    outbox: Arc<Outbox>,
    lanes: Mutex<Lanes>,
    /// Rung when a command has ended, and on closing.
    ended: Notify,
}

/// A running command's place; given back even when the task panics.
struct Place<C: CarryOut> {
    runner: Arc<Runner<C>>,
    command: Command,
}

impl<C: CarryOut> Drop for Place<C> {
    fn drop(&mut self) {
        self.runner.lanes().ended(&self.command);
        self.runner.ended.notify_waiters();
        self.runner.start_due();
    }
}

impl<C: CarryOut> Runner<C> {
    pub(crate) fn new(work: C, outbox: Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self { work, outbox, lanes: Mutex::default(), ended: Notify::new() })
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a command from the stream. One that runs or waits already is not taken again: its answer comes once.
    pub(crate) fn receive(self: &Arc<Self>, command: Command) {
        let id = command.id.clone();
        if self.lanes().admit(command) {
            self.start_due();
        } else {
            tracing::debug!(command_id = id, "a command that runs already, or came too late to be started, was ignored");
        }
    }

    /// The epochs of relays that were seen.
    pub(crate) fn epochs(&self) -> &Epochs {
        self.work.epochs()
    }

    /// Answers a command that is not even taken in. One of that id that runs or waits gets its own answer.
    pub(crate) fn refuse(&self, command_id: &str, problem: Problem) {
        if !self.lanes().knows(command_id) {
            self.outbox.push(ReportBody::Answered { command_id: command_id.to_owned(), outcome: CommandOutcome::Refused(problem) });
        }
    }

    /// Whether another command may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.lanes().has_room()
    }

    /// Returns when another command may be read.
    pub(crate) async fn room(&self) {
        self.until(Lanes::has_room).await;
    }

    /// Starts nothing more, and returns when what ran has ended and been answered, or after a bound.
    pub(crate) async fn stop(&self, answered_within: Duration) {
        self.lanes().close();
        self.ended.notify_waiters();
        let ended = tokio::time::timeout(Duration::from_secs(RUN_SECONDS_MAX), self.until(Lanes::is_idle)).await.is_ok();
        let answered = tokio::time::timeout(answered_within, self.outbox.answers_settled()).await.is_ok();
        tracing::info!(ended, answered, "stopping");
    }

    async fn until(&self, holds: impl Fn(&Lanes) -> bool) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Listening begins before the look, so that no end falls between them.
            ended.as_mut().enable();
            if holds(&self.lanes()) {
                return;
            }
            ended.await;
        }
    }

    /// Gives every free place to a command whose turn it is.
    fn start_due(self: &Arc<Self>) {
        loop {
            let Some(command) = self.lanes().next() else { return };
            let place = Place { runner: Arc::clone(self), command };
            tokio::spawn(async move {
                let outcome = place.runner.work.carry_out(&place.command).await;
                let command_id = place.command.id.clone();
                place.runner.outbox.push(ReportBody::Answered { command_id, outcome });
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::tests::command;
    use crate::lanes::{ADMITTED_MAX, RUNNING_MAX};
    use kiven_model::command::CommandOutput;
    use std::collections::BTreeMap;
    use tokio::sync::{mpsc, oneshot};

    type Start = (String, oneshot::Sender<()>);

    /// Says what starts, and ends it when told.
    struct Gated(mpsc::UnboundedSender<Start>, Epochs);

    impl CarryOut for Gated {
        async fn carry_out(&self, command: &Command) -> CommandOutcome {
            let (end, ended) = oneshot::channel();
            self.0.send((command.id.clone(), end)).unwrap();
            assert!(ended.await.is_ok(), "this task panics");
            CommandOutcome::Done(CommandOutput::Nothing)
        }
        fn epochs(&self) -> &Epochs {
            &self.1
        }
    }

    struct Harness {
        runner: Arc<Runner<Gated>>,
        outbox: Arc<Outbox>,
        starts: mpsc::UnboundedReceiver<Start>,
        running: BTreeMap<String, oneshot::Sender<()>>,
    }

    impl Harness {
        fn new() -> Self {
            let ((say, starts), outbox) = (mpsc::unbounded_channel(), Arc::new(Outbox::default()));
            Self { runner: Runner::new(Gated(say, Epochs::default()), Arc::clone(&outbox)), outbox, starts, running: BTreeMap::new() }
        }
        /// The next commands to start.
        async fn started(&mut self, count: usize) -> Vec<String> {
            let mut ids = Vec::new();
            while ids.len() < count {
                let (id, end) = self.starts.recv().await.unwrap();
                self.running.insert(id.clone(), end);
                ids.push(id);
            }
            ids
        }
        fn end(&mut self, id: &str) {
            self.running.remove(id).unwrap().send(()).unwrap();
        }
        /// The next answer.
        async fn answer(&self) -> String {
            loop {
                match self.outbox.take() {
                    Some((_, ReportBody::Answered { command_id, .. })) => return command_id,
                    Some(_) => {}
                    None => self.outbox.ready.notified().await,
                }
            }
        }
    }

    #[tokio::test]
    async fn a_slow_database_holds_up_only_itself() {
        let mut h = Harness::new();
        for (database, id) in [(1, "slow"), (1, "behind"), (2, "quick"), (2, "then")] {
            h.runner.receive(command(database, id));
        }
        assert_eq!(h.started(2).await, ["slow", "quick"]);
        h.end("quick");
        assert_eq!(h.answer().await, "quick");
        assert_eq!(h.started(1).await, ["then"]);
        h.end("slow");
        assert_eq!(h.answer().await, "slow");
        assert_eq!(h.started(1).await, ["behind"]);
    }

    #[tokio::test]
    async fn a_delivery_doubled_while_it_runs_has_one_effect_and_one_answer() {
        let mut h = Harness::new();
        h.runner.receive(command(1, "a"));
        assert_eq!(h.started(1).await, ["a"]);
        h.runner.receive(command(1, "a"));
        h.runner.receive(command(1, "b"));
        h.end("a");
        assert_eq!(h.started(1).await, ["b"]);
        h.end("b");
        assert_eq!([h.answer().await, h.answer().await], ["a", "b"]);
        h.runner.until(Lanes::is_idle).await;
        assert!(h.outbox.take().is_none() && h.starts.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_reader_waits_while_all_is_full_and_goes_on_after_an_end() {
        let mut h = Harness::new();
        (0..ADMITTED_MAX).for_each(|n| h.runner.receive(command(u8::try_from(n).unwrap(), &n.to_string())));
        assert_eq!(h.started(RUNNING_MAX).await.len(), RUNNING_MAX);
        assert!(!h.runner.has_room() && h.starts.try_recv().is_err());
        let runner = Arc::clone(&h.runner);
        let reader = tokio::spawn(async move { runner.room().await });
        h.end("3");
        reader.await.unwrap();
        assert!(h.runner.has_room());
        assert_eq!(h.started(1).await, [RUNNING_MAX.to_string()]);
    }

    #[tokio::test]
    async fn a_task_that_panics_gives_its_place_back() {
        let mut h = Harness::new();
        h.runner.receive(command(1, "a"));
        h.runner.receive(command(1, "b"));
        assert_eq!(h.started(1).await, ["a"]);
        drop(h.running.remove("a"));
        assert_eq!(h.started(1).await, ["b"]);
        assert!(h.outbox.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_what_runs_starts_nothing_and_waits_for_the_answer_to_arrive() {
        let mut h = Harness::new();
        h.runner.receive(command(1, "a"));
        h.runner.receive(command(1, "never"));
        assert_eq!(h.started(1).await, ["a"]);
        let (runner, began) = (Arc::clone(&h.runner), tokio::time::Instant::now());
        let stop = tokio::spawn(async move { runner.stop(ANSWERED_WITHIN).await });
        h.end("a");
        assert_eq!(h.answer().await, "a");
        h.outbox.acknowledge(1);
        stop.await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1) && h.starts.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_ever() {
        let mut h = Harness::new();
        h.runner.receive(command(1, "stuck"));
        assert_eq!(h.started(1).await, ["stuck"]);
        let began = tokio::time::Instant::now();
        h.runner.stop(ANSWERED_WITHIN).await;
        assert_eq!(began.elapsed().as_secs(), RUN_SECONDS_MAX);
    }
}
