//! One agent's session: commands from the records to the agent, reports from the agent to the queue.
use kiven_model::EnvironmentId;
use kiven_model::report::{Report, ReportBody};
use kiven_ports::{Agents, ReportQueue};
use kiven_proto::v1::{Acknowledgement, Command, Hello, SessionRequest, SessionResponse, session_request, session_response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};

/// How often the records are asked for commands while nothing happens.
const IDLE_PACE: Duration = Duration::from_secs(1);
/// How often for a while after a command or a report.
const BUSY_PACE: Duration = Duration::from_millis(50);
/// How long that while is.
const BUSY_FOR: Duration = Duration::from_secs(30);
/// Largest report, in bytes.
const REPORT_BYTES_MAX: usize = 192 * 1024;

/// What a session works with.
pub(crate) struct Session<S, Q> {
    pub(crate) store: Arc<S>,
    pub(crate) reports: Arc<Q>,
    pub(crate) environment: EnvironmentId,
    pub(crate) hello: Hello,
    pub(crate) out: mpsc::Sender<Result<SessionResponse, Status>>,
}

impl<S: Agents, Q: ReportQueue> Session<S, Q> {
    /// Runs until the agent leaves or something fails; the agent comes back by itself.
    pub(crate) async fn run(self, mut incoming: Streaming<SessionRequest>) {
        let mut busy_until = Instant::now() + BUSY_FOR;
        let mut looked = Instant::now();
        tracing::info!(environment_id = %self.environment, session = self.hello.session, version = self.hello.agent_version, "agent connected");
        loop {
            let pace = if Instant::now() < busy_until { BUSY_PACE } else { IDLE_PACE };
            let worked = tokio::select! {
                message = incoming.message() => match message {
                    Ok(Some(SessionRequest { message: Some(session_request::Message::Report(report)) })) => self.report(report).await,
                    Ok(Some(_)) => Err(Status::invalid_argument("only reports may follow the hello")),
                    Ok(None) | Err(_) => break,
                },
                () = tokio::time::sleep_until(looked + pace) => {
                    looked = Instant::now();
                    self.deliver().await
                }
            };
            match worked {
                Ok(true) => busy_until = Instant::now() + BUSY_FOR,
                Ok(false) => {}
                Err(status) => {
                    tracing::warn!(environment_id = %self.environment, error = status.message(), "session ended");
                    // The agent may be gone already; then nobody needs to be told.
                    let _ = self.out.send(Err(status)).await;
                    break;
                }
            }
        }
        tracing::info!(environment_id = %self.environment, session = self.hello.session, "agent disconnected");
    }

    /// Leaves a report in the queue, then acknowledges it. True for an answer: more commands may follow it soon.
    ///
    /// One that cannot be read is acknowledged and dropped: it would come first in every session to come.
    async fn report(&self, message: kiven_proto::v1::Report) -> Result<bool, Status> {
        let mut answered = false;
        match serde_json::from_slice::<Report>(&message.body) {
            Ok(_) if message.body.len() > REPORT_BYTES_MAX => {
                tracing::warn!(environment_id = %self.environment, bytes = message.body.len(), "a report that is too large was dropped");
            }
            Ok(report) => {
                if report.environment_id != self.environment || report.session != self.hello.session || report.sequence != message.sequence {
                    return Err(Status::permission_denied("the report is not this session's"));
                }
                answered = matches!(report.body, ReportBody::Answered { .. });
                self.reports.report_send(&report).await.map_err(|error| Status::unavailable(error.to_string()))?;
            }
            Err(error) => tracing::warn!(environment_id = %self.environment, %error, "a report that cannot be read was dropped"),
        }
        kiven_failpoint::pass("relay", "reported", "report");
        let acknowledgement = session_response::Message::Acknowledgement(Acknowledgement { sequence: message.sequence });
        self.send(acknowledgement).await.map(|()| answered)
    }

    /// Hands over what is due. True when there was something.
    async fn deliver(&self) -> Result<bool, Status> {
        let failed = |error: kiven_ports::PortError| Status::unavailable(error.to_string());
        let due = self.store.commands_due(&self.environment, self.hello.session).await.map_err(failed)?;
        for command in &due {
            // A command's id is `{operation id}/{step key}`: the kill matrix names steps.
            kiven_failpoint::pass("relay", "due", command.id.split('/').nth(1).unwrap_or(&command.id));
            if self.store.command_delivered(&command.id, self.hello.session).await.map_err(failed)? {
                tracing::info!(environment_id = %self.environment, command_id = command.id, kind = command.body.name(), "command handed over");
                let body = serde_json::to_vec(command).map_err(|error| Status::internal(error.to_string()))?;
                self.send(session_response::Message::Command(Command { id: command.id.clone(), body })).await?;
            }
        }
        Ok(!due.is_empty())
    }

    async fn send(&self, message: session_response::Message) -> Result<(), Status> {
        self.out.send(Ok(SessionResponse { message: Some(message) })).await.map_err(|_| Status::cancelled("the agent is gone"))
    }
}
