//! The outbound stream to the relay: hello, reports out, commands in, until it breaks; then again, with jitter.
use crate::commands::Commands;
use crate::config::Config;
use crate::enrol::{Identity, enrol};
use crate::guardrails::judge_wire;
use crate::outbox::Outbox;
use crate::proxy::tunnel;
use crate::runbook::Runbook;
use crate::runner::{CarryOut, Runner};
use crate::watch::World;
use anyhow::Context;
use jiff::Timestamp;
use kiven_model::command::CommandOutcome;
use kiven_model::report::{REPORT_BYTES_MAX, Report, ReportBody};
use kiven_model::{EnvironmentId, Problem};
use kiven_proto::v1::agent_relay_service_client::AgentRelayServiceClient;
use kiven_proto::v1::{Hello, SessionRequest, SessionResponse, session_request, session_response};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

/// Everything is said again this often, changed or not.
const SUMMARY: Duration = Duration::from_secs(30);
/// How often it is looked at whether the runbook is still right.
const RUNBOOK_LOOK: Duration = Duration::from_secs(10);
/// Pauses between attempts: doubled from the least to the most, with up to half of it as jitter.
const PAUSE_MS_LEAST: u64 = 200;
const PAUSE_MS_MOST: u64 = 16_000;
/// The least pause between two attempts to renew a certificate.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// How often the wall clock is looked at: certificates expire by it, and timers stand still while a machine sleeps.
const WALL_CLOCK_LOOK: Duration = Duration::from_secs(1);
/// The NLB in front of the relay drops connections that are silent for 350 s.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Longest time in which a relay that stops may spread its agents.
const LEAVE_MS_MOST: u64 = 15_000;
/// The metadata of a refusal that names the newest session the records know.
const SESSION_KEY: &str = "kiven-session";
/// Messages on their way to the relay.
const OUTGOING_MAX: usize = 64;

/// How a session ended that did not fail.
pub(crate) enum Ended {
    /// The certificate is to be renewed.
    Old,
    /// The relay stops; another one is there.
    Sent,
}

/// What outlives sessions.
struct Known {
    identity: Option<Identity>,
    /// The least number of the next session: a clock may go back, sessions may not.
    session_least: u64,
}

/// Keeps a session for as long as the process lives.
pub(crate) async fn run_for_ever(config: Config, runner: Arc<Runner<Commands>>, outbox: Arc<Outbox>, world: Arc<World>) {
    tokio::spawn(keep_runbook(Runbook::new(&config), Arc::clone(&world)));
    let mut known = Known { identity: None, session_least: 0 };
    let mut pause = PAUSE_MS_LEAST;
    loop {
        let started = tokio::time::Instant::now();
        match attempt(&config, &mut known, &runner, &outbox, &world).await {
            // Relays come and go one after the other: the next one is there already.
            Ok(Ended::Sent) => {
                pause = PAUSE_MS_LEAST;
                continue;
            }
            Ok(Ended::Old) => {}
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "session ended");
                if let Some(status) = error.downcast_ref::<Status>() {
                    known.learn(status);
                }
            }
        }
        if started.elapsed() > SUMMARY {
            pause = PAUSE_MS_LEAST;
        }
        tokio::time::sleep(Duration::from_millis(pause + jitter(pause / 2))).await;
        pause = (pause * 2).min(PAUSE_MS_MOST);
    }
}

impl Known {
    /// What a refusal of the relay says about the next attempt.
    fn learn(&mut self, status: &Status) {
        if status.code() == Code::Unauthenticated {
            // Revoked: only a new certificate can be good, and only `enrol` knows whether there is one.
            self.identity = None;
        }
        let newest = status.metadata().get(SESSION_KEY).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
        if let Some(newest) = newest {
            self.session_least = newest.saturating_add(1);
        }
    }
}

fn jitter(most: u64) -> u64 {
    let mut bytes = [0u8; 8];
    // Without randomness the pause is the longest: safe, if less polite.
    if getrandom::fill(&mut bytes).is_err() { most } else { u64::from_le_bytes(bytes) % most.max(1) }
}

/// One session: a certificate if there is none or it is old, a connection, and talk.
async fn attempt(
    config: &Config,
    known: &mut Known,
    runner: &Arc<Runner<Commands>>,
    outbox: &Arc<Outbox>,
    world: &Arc<World>,
) -> anyhow::Result<Ended> {
    let identity = &mut known.identity;
    if identity.as_ref().is_none_or(|identity| identity.renew_at <= crate::now()) {
        match enrol(config, world.client()).await {
            Ok(fresh) => *identity = Some(fresh),
            // What is still good is used on; the next attempt to renew is a session's length away.
            Err(error) if identity.as_ref().is_some_and(|known| known.expires_at > crate::now()) => {
                tracing::warn!(error = format!("{error:#}"), "the certificate could not be renewed yet");
            }
            Err(error) => return Err(error),
        }
    }
    let Some(shown) = identity.as_ref() else { return Ok(Ended::Old) };
    // One that could not be renewed is used for a while before the next attempt.
    let renew_at = shown.renew_at.max(crate::now() + RENEWAL_PAUSE);
    let channel = connect(config, shown).await.inspect_err(|_| tracing::debug!("the relay cannot be reached"))?;
    let session = u64::try_from(crate::now().as_millisecond()).unwrap_or(0).max(known.session_least);
    let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
    let hello = Hello { environment_id: config.environment_id.to_string(), session, agent_version: env!("CARGO_PKG_VERSION").to_owned() };
    out.send(SessionRequest { message: Some(session_request::Message::Hello(hello)) }).await?;
    let mut client = AgentRelayServiceClient::new(channel);
    let incoming = client.session(ReceiverStream::new(outgoing)).await.context("the relay refused the session")?.into_inner();
    tracing::info!(session, "connected to the relay");
    let talk = Talk { environment: &config.environment_id, session, renew_at, runner, outbox };
    let summary = || {
        let (world, outbox) = (Arc::clone(world), Arc::clone(outbox));
        async move { summarise(world, outbox).await }
    };
    talk.run(incoming, out, summary).await
}

/// One session's talk.
pub(crate) struct Talk<'a, C: CarryOut> {
    pub(crate) environment: &'a EnvironmentId,
    pub(crate) session: u64,
    pub(crate) renew_at: Timestamp,
    pub(crate) runner: &'a Arc<Runner<C>>,
    pub(crate) outbox: &'a Arc<Outbox>,
}

impl<C: CarryOut> Talk<'_, C> {
    /// Talks until the stream ends, the certificate is old, or the relay says go.
    ///
    /// Reading and writing never wait for each other, nor for Kubernetes: a relay that is slow to take reports still gets its
    /// commands read, and one whose commands have to wait still gets its reports.
    pub(crate) async fn run<I, F>(&self, mut incoming: I, out: mpsc::Sender<SessionRequest>, summary: impl Fn() -> F) -> anyhow::Result<Ended>
    where
        I: Stream<Item = Result<SessionResponse, Status>> + Unpin,
        F: Future<Output = ()> + Send + 'static,
    {
        self.outbox.begin();
        let mut beat = tokio::time::interval(SUMMARY);
        let mut wall_clock = tokio::time::interval(WALL_CLOCK_LOOK);
        let mut summarising: Option<JoinHandle<()>> = None;
        let mut leave_at: Option<Instant> = None;
        loop {
            let (room, waiting) = (self.runner.has_room(), self.outbox.has_waiting());
            tokio::select! {
                message = incoming.next(), if room => match message.transpose()?.and_then(|m| m.message) {
                    Some(session_response::Message::Command(command)) => self.receive(&command),
                    Some(session_response::Message::Acknowledgement(acknowledgement)) => self.outbox.acknowledge(acknowledgement.sequence),
                    Some(session_response::Message::Welcome(welcome)) => {
                        anyhow::ensure!(self.runner.epochs().reach(welcome.epoch), "a relay whose epoch {} is over, or out of reach", welcome.epoch);
                    }
                    Some(session_response::Message::GoAway(go)) => {
                        let within = go.within_ms.min(LEAVE_MS_MOST);
                        tracing::info!(within_ms = within, "the relay stops");
                        leave_at.get_or_insert(Instant::now() + Duration::from_millis(jitter(within)));
                    }
                    None => anyhow::bail!("the relay ended the session"),
                },
                () = self.runner.room(), if !room => {}
                permit = out.reserve(), if waiting => {
                    let permit = permit.context("the relay ended the session")?;
                    if let Some(message) = self.next_report()? {
                        permit.send(message);
                    }
                }
                () = self.outbox.ready.notified(), if !waiting => {}
                _ = beat.tick() => {
                    if summarising.as_ref().is_none_or(JoinHandle::is_finished) {
                        summarising = Some(tokio::spawn(summary()));
                    }
                }
                _ = wall_clock.tick() => if crate::now() >= self.renew_at {
                    return Ok(Ended::Old); // comes back at once with a new certificate
                },
                () = at(leave_at), if leave_at.is_some() => return Ok(Ended::Sent),
            }
        }
    }

    /// The next report as it goes over the wire; one that is too large for the relay is dropped and counted.
    fn next_report(&self) -> anyhow::Result<Option<SessionRequest>> {
        let Some((sequence, body)) = self.outbox.take() else { return Ok(None) };
        let mut report = Report { environment_id: self.environment.clone(), session: self.session, sequence, at: crate::now(), body };
        let mut body = serde_json::to_vec(&report)?;
        if body.len() > REPORT_BYTES_MAX {
            tracing::warn!(bytes = body.len(), "a report is too large");
            report.body = shortened(report.body);
            body = serde_json::to_vec(&report)?;
        }
        let message = kiven_proto::v1::Report { sequence, body };
        Ok(Some(SessionRequest { message: Some(session_request::Message::Report(message)) }))
    }

    /// Leaves a command to be carried out beside the session. One that cannot be read or is of an earlier epoch is refused.
    fn receive(&self, message: &kiven_proto::v1::Command) {
        let judged = judge_wire(message, self.runner.epochs().newest());
        match judged {
            Ok(command) => self.runner.receive(command),
            Err(problem) => {
                tracing::warn!(command_id = message.id, problem = %problem, "a command was refused");
                self.runner.refuse(&message.id, problem);
            }
        }
    }
}

/// What is said instead of a report that is too large: that it was dropped, or that the command's answer cannot be told.
fn shortened(body: ReportBody) -> ReportBody {
    match body {
        ReportBody::Answered { command_id, .. } => {
            let problem = Problem::new(kiven_model::Code::AGENT_FAILED, "the answer is too large to be sent");
            ReportBody::Answered { command_id, outcome: CommandOutcome::Refused(problem) }
        }
        ReportBody::Event(_) => ReportBody::Dropped { count: 1, events: 1 },
        ReportBody::Facts(_)
        | ReportBody::Observed(_)
        | ReportBody::Logged(_)
        | ReportBody::Sealed(_)
        | ReportBody::Statistics(_)
        | ReportBody::Dropped { .. } => ReportBody::Dropped { count: 1, events: 0 },
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Keeps the page on life without Kiven, whether the relay answers or not.
async fn keep_runbook(runbook: Runbook, world: Arc<World>) {
    let mut look = tokio::time::interval(RUNBOOK_LOOK);
    loop {
        look.tick().await;
        world.keep(&runbook).await;
    }
}

/// Says everything again. Beside the session, since it asks the API server.
async fn summarise(world: Arc<World>, outbox: Arc<Outbox>) {
    outbox.push(ReportBody::Facts(world.facts().await));
    world.say(&outbox, true);
}

async fn connect(config: &Config, identity: &Identity) -> anyhow::Result<Channel> {
    let own = config.private_authorities().await?;
    let tls = ClientTlsConfig::new()
        .ca_certificates(own.iter().chain([&identity.authority]).map(Certificate::from_pem))
        .identity(tonic::transport::Identity::from_pem(&identity.certificate, &identity.key))
        .domain_name(config.relay_host());
    let endpoint = Endpoint::from_shared(format!("https://{}", config.relay_address))?
        .tls_config(tls)?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let connected = match config.proxy_for(config.relay_host()).cloned() {
        Some(proxy) => endpoint.connect_with_connector(tower::service_fn(move |uri| tunnel(proxy.clone(), uri))).await,
        None => endpoint.connect().await,
    };
    connected.context("the relay cannot be reached")
}
