//! One agent's session: commands from the records to the agent, reports from the agent to the queue.
use crate::connections::Taken;
use crate::limits::{Allowance, COMMANDS_IN_FLIGHT_MAX, QUEUE_SENDS_MAX};
use crate::metrics::{Metrics, Refusal};
use crate::packs::Packs;
use crate::service::Outgoing;
use crate::sessions::{Counted, Sessions, Signals};
use kiven_model::EnvironmentId;
use kiven_model::report::{REPORT_BYTES_MAX, Report, ReportBody};
use kiven_ports::{Agents, PortError, ReportQueue};
use kiven_proto::v1::{Acknowledgement, Command, GoAway, SessionRequest, SessionResponse, session_request, session_response};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

/// How often a session looks by itself at its epoch and its commands: a call may have been lost.
const LOOK: Duration = Duration::from_secs(60);
/// For how long an epoch that was looked at counts as the newest before a report is taken.
const EPOCH_FRESH: Duration = Duration::from_secs(5);
/// How long an agent may leave what it is sent unread.
const SEND_MAX: Duration = Duration::from_secs(30);

/// The queue of reports, with so many places.
pub(crate) struct SendQueue<Q> {
    queue: Q,
    places: Semaphore,
}

impl<Q: ReportQueue> SendQueue<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        Self { queue, places: Semaphore::new(QUEUE_SENDS_MAX) }
    }

    async fn send(&self, report: &Report) -> Result<(), PortError> {
        let _place = self.places.acquire().await.map_err(|_| PortError::retry("the queue of reports", "it was closed"))?;
        self.queue.report_send(report).await
    }
}

/// What a session works with.
pub(crate) struct Session<S, Q> {
    pub(crate) store: Arc<S>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) queue: Arc<SendQueue<Q>>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) environment: EnvironmentId,
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) out: mpsc::Sender<Outgoing>,
    /// Keeps its connection open.
    pub(crate) _seat: Taken,
}

/// What changes while it runs.
struct Talk {
    allowance: Allowance,
    /// Ids handed over in this session and not answered in it.
    in_flight: BTreeSet<String>,
    /// Something was due that there was no place for.
    more: bool,
    leaving: bool,
    looked_at: Instant,
    epoch_seen_at: Instant,
}

/// A report on its way to the queue: one at most, in a task of its own, so that it goes on while commands are handed over. It
/// ends with its session.
type Sending = JoinSet<Result<(), Status>>;

impl<S: Agents + 'static, Q: ReportQueue + 'static> Session<S, Q> {
    /// Runs until the agent leaves or something fails; the agent comes back by itself.
    pub(crate) async fn run<I: Stream<Item = Result<SessionRequest, Status>> + Unpin>(self, mut incoming: I) {
        // Whatever becomes of this task, its place is given back.
        let _measured = self.metrics.session();
        let _counted = Counted { sessions: self.sessions.clone(), environment: self.environment.clone(), epoch: self.epoch };
        let ended = Arc::new(self).talk(&mut incoming).await;
        let (this, status) = ended;
        if let Some(status) = status {
            tracing::warn!(environment_id = %this.environment, error = status.message(), "session ended");
            // The agent may be gone already, or not reading; then nobody needs to be told.
            let _ = this.out.try_send(Err(status));
        }
        tracing::info!(environment_id = %this.environment, session = this.number, "agent disconnected");
    }

    async fn talk<I: Stream<Item = Result<SessionRequest, Status>> + Unpin>(self: Arc<Self>, incoming: &mut I) -> (Arc<Self>, Option<Status>) {
        let now = Instant::now();
        let mut talk = Talk {
            allowance: Allowance::full(now),
            in_flight: BTreeSet::new(),
            // Whatever waited for this session.
            more: true,
            leaving: false,
            looked_at: now,
            epoch_seen_at: now,
        };
        let mut sending = Sending::new();
        loop {
            let ready_at = talk.allowance.ready_at();
            let room = !talk.leaving && talk.in_flight.len() < COMMANDS_IN_FLIGHT_MAX;
            let reading = sending.is_empty() && ready_at <= Instant::now();
            // What asks the records is boxed: an idle session, of which there are thousands, has no room for it.
            // Reading and delivering do not wait for each other: behind a slow queue commands still go out.
            let worked = tokio::select! {
                message = incoming.next(), if reading => match message {
                    Some(Ok(SessionRequest { message: Some(session_request::Message::Report(report)) })) => Box::pin(self.report(&mut talk, report, &mut sending)).await,
                    Some(Ok(_)) => Err(self.refuse(Refusal::Protocol, Status::invalid_argument("only reports may follow the hello"))),
                    Some(Err(status)) if status.code() == tonic::Code::OutOfRange => Err(self.refuse(Refusal::Report, status)),
                    None | Some(Err(_)) => return (self, None),
                },
                Some(sent) = sending.join_next() => sent.unwrap_or_else(|_| Err(Status::internal("a report was not sent to its end"))),
                () = tokio::time::sleep_until(ready_at), if sending.is_empty() && !reading => Ok(()),
                () = std::future::ready(()), if room && talk.more => Box::pin(self.deliver(&mut talk)).await,
                () = self.signals.called.notified(), if room => Box::pin(self.deliver(&mut talk)).await,
                () = tokio::time::sleep_until(talk.looked_at + LOOK) => Box::pin(self.look(&mut talk)).await,
                () = self.signals.leave.notified(), if !talk.leaving => {
                    talk.leaving = true;
                    let within_ms = u64::try_from(self.sessions.leave_within().as_millis()).unwrap_or(0);
                    self.send(session_response::Message::GoAway(GoAway { within_ms })).await
                }
            };
            if let Err(status) = worked {
                return (self, Some(status));
            }
        }
    }

    fn refuse(&self, why: Refusal, status: Status) -> Status {
        self.metrics.refused(why);
        status
    }

    /// Leaves a report in the queue, then acknowledges it. Statistics go to the archive, a minute's at once.
    ///
    /// One that cannot be read is acknowledged and dropped: it would come first in every session to come.
    async fn report(self: &Arc<Self>, talk: &mut Talk, message: kiven_proto::v1::Report, sending: &mut Sending) -> Result<(), Status> {
        let (bytes, sequence) = (message.body.len(), message.sequence);
        talk.allowance.charge(bytes, Instant::now());
        if talk.allowance.ready_at() > Instant::now() {
            self.metrics.throttled();
        }
        let read = if bytes > REPORT_BYTES_MAX { None } else { serde_json::from_slice::<Report>(&message.body).ok() };
        let Some(report) = read else {
            self.metrics.refused(Refusal::Report);
            tracing::warn!(environment_id = %self.environment, bytes, "a report that is too large or cannot be read was dropped");
            return self.acknowledge(sequence).await;
        };
        if report.environment_id != self.environment || report.session != self.number || report.sequence != sequence {
            return Err(self.refuse(Refusal::Protocol, Status::permission_denied("the report is not this session's")));
        }
        if talk.epoch_seen_at.elapsed() >= EPOCH_FRESH {
            self.check_epoch(talk).await?;
        }
        if let ReportBody::Answered { command_id, .. } = &report.body {
            talk.in_flight.remove(command_id);
            // The operation's next command may follow soon.
            self.sessions.busy();
        }
        if let ReportBody::Statistics(_) = &report.body {
            // They are said to have come when they are here: an agent keeps nothing for the sake of a figure.
            self.packs.add(&report);
            return self.acknowledge(sequence).await;
        }
        let this = Arc::clone(self);
        sending.spawn(async move {
            this.queue.send(&report).await.map_err(unavailable)?;
            this.metrics.report(bytes);
            kiven_failpoint::pass("relay", "reported", "report");
            this.acknowledge(sequence).await
        });
        Ok(())
    }

    async fn acknowledge(&self, sequence: u64) -> Result<(), Status> {
        self.send(session_response::Message::Acknowledgement(Acknowledgement { sequence })).await
    }

    /// What a session does by itself now and then.
    async fn look(&self, talk: &mut Talk) -> Result<(), Status> {
        talk.looked_at = Instant::now();
        self.check_epoch(talk).await?;
        talk.more = true;
        Ok(())
    }

    /// Ends the session when another relay has the agent now, or its certificate was revoked.
    async fn check_epoch(&self, talk: &mut Talk) -> Result<(), Status> {
        let epoch = {
            let _place = place(&self.places).await?;
            self.store.session_epoch(&self.environment).await.map_err(unavailable)?
        };
        if epoch != self.epoch {
            return Err(self.lost());
        }
        talk.epoch_seen_at = Instant::now();
        Ok(())
    }

    fn lost(&self) -> Status {
        self.refuse(Refusal::Epoch, Status::aborted("this session is over: there is a later one, or its certificate was revoked"))
    }

    /// Hands over what is due, as far as there are places in flight.
    async fn deliver(&self, talk: &mut Talk) -> Result<(), Status> {
        let since = self.signals.take_since();
        talk.more = false;
        let due = {
            let _place = place(&self.places).await?;
            self.store.commands_due(&self.environment, self.number).await.map_err(unavailable)?
        };
        for id in due {
            if talk.in_flight.len() >= COMMANDS_IN_FLIGHT_MAX {
                talk.more = true;
                break;
            }
            // A command's id is `{operation id}/{step key}`: the kill matrix names steps.
            kiven_failpoint::pass("relay", "due", id.split('/').nth(1).unwrap_or(&id));
            let taken = {
                let _place = place(&self.places).await?;
                self.store.command_take(&id, self.number, self.epoch).await
            };
            let command = match taken {
                Ok(Some(command)) => command,
                Ok(None) => continue,
                Err(PortError::Conflict(_)) => return Err(self.lost()),
                Err(error) => return Err(unavailable(error)),
            };
            // It could be taken, so the epoch is the newest.
            talk.epoch_seen_at = Instant::now();
            let body = serde_json::to_vec(&command).map_err(|error| Status::internal(error.to_string()))?;
            self.send(session_response::Message::Command(Command { id: id.clone(), body, epoch: self.epoch })).await?;
            self.metrics.command(since.elapsed());
            self.sessions.busy();
            tracing::info!(environment_id = %self.environment, command_id = id, kind = command.body.name(), "command handed over");
            talk.in_flight.insert(id);
        }
        Ok(())
    }

    async fn send(&self, message: session_response::Message) -> Result<(), Status> {
        let message = Box::new(SessionResponse { message: Some(message) });
        match tokio::time::timeout(SEND_MAX, self.out.send(Ok(message))).await {
            Ok(sent) => sent.map_err(|_| Status::cancelled("the agent is gone")),
            Err(_) => Err(self.refuse(Refusal::Slow, Status::deadline_exceeded("the agent does not read"))),
        }
    }
}

/// A place for one call of the records. It is not kept while an agent is waited for.
pub(crate) async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Status> {
    places.acquire().await.map_err(|_| Status::unavailable("the records were closed"))
}

fn unavailable(error: PortError) -> Status {
    Status::unavailable(error.to_string())
}
