//! The outbound stream to the relay: hello, reports out, commands in, until it breaks; then again, with jitter.
use crate::commands::Commands;
use crate::config::Config;
use crate::enrol::{Identity, enrol};
use crate::outbox::Outbox;
use crate::proxy::tunnel;
use crate::runbook::Runbook;
use crate::runner::Runner;
use crate::watch::World;
use anyhow::Context;
use kiven_model::command::Command;
use kiven_model::report::{Report, ReportBody};
use kiven_proto::v1::agent_relay_service_client::AgentRelayServiceClient;
use kiven_proto::v1::{Hello, SessionRequest, session_request, session_response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

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
/// Messages on their way to the relay.
const OUTGOING_MAX: usize = 64;

/// Keeps a session for as long as the process lives.
pub(crate) async fn run_for_ever(config: Config, runner: Arc<Runner<Commands>>, outbox: Arc<Outbox>, world: Arc<World>) {
    tokio::spawn(keep_runbook(Runbook::new(&config), Arc::clone(&world)));
    let mut identity: Option<Identity> = None;
    let mut pause = PAUSE_MS_LEAST;
    loop {
        let started = tokio::time::Instant::now();
        if let Err(error) = attempt(&config, &mut identity, &runner, &outbox, &world).await {
            tracing::warn!(error = format!("{error:#}"), "session ended");
        }
        if started.elapsed() > SUMMARY {
            pause = PAUSE_MS_LEAST;
        }
        tokio::time::sleep(Duration::from_millis(pause + jitter(pause / 2))).await;
        pause = (pause * 2).min(PAUSE_MS_MOST);
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
    identity: &mut Option<Identity>,
    runner: &Arc<Runner<Commands>>,
    outbox: &Arc<Outbox>,
    world: &Arc<World>,
) -> anyhow::Result<()> {
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
    let Some(known) = identity.as_ref() else { return Ok(()) };
    // One that could not be renewed is used for a while before the next attempt.
    let renew_at = known.renew_at.max(crate::now() + RENEWAL_PAUSE);
    let channel = connect(config, known).await.inspect_err(|_| tracing::debug!("the relay cannot be reached"))?;
    let session = u64::try_from(crate::now().as_millisecond()).unwrap_or(0);
    let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
    let hello = Hello { environment_id: config.environment_id.to_string(), session, agent_version: env!("CARGO_PKG_VERSION").to_owned() };
    out.send(SessionRequest { message: Some(session_request::Message::Hello(hello)) }).await?;
    let mut client = AgentRelayServiceClient::new(channel);
    let mut incoming = client.session(ReceiverStream::new(outgoing)).await.context("the relay refused the session")?.into_inner();
    tracing::info!(session, "connected to the relay");
    outbox.begin();
    let mut summary = tokio::time::interval(SUMMARY);
    let mut wall_clock = tokio::time::interval(WALL_CLOCK_LOOK);
    let mut summarising: Option<JoinHandle<()>> = None;
    // Reading and writing never wait for each other, nor for Kubernetes: a relay that is slow to take reports still gets its
    // commands read, and one whose commands have to wait still gets its reports.
    loop {
        let (room, waiting) = (runner.has_room(), outbox.has_waiting());
        tokio::select! {
            message = incoming.message(), if room => match message?.and_then(|m| m.message) {
                Some(session_response::Message::Command(command)) => receive(&command, runner),
                Some(session_response::Message::Acknowledgement(acknowledgement)) => outbox.acknowledge(acknowledgement.sequence),
                None => anyhow::bail!("the relay ended the session"),
            },
            () = runner.room(), if !room => {}
            permit = out.reserve(), if waiting => {
                let permit = permit.context("the relay ended the session")?;
                if let Some(message) = next_report(config, session, outbox)? {
                    permit.send(message);
                }
            }
            () = outbox.ready.notified(), if !waiting => {}
            _ = summary.tick() => {
                if summarising.as_ref().is_none_or(JoinHandle::is_finished) {
                    summarising = Some(tokio::spawn(summarise(Arc::clone(world), Arc::clone(outbox))));
                }
            }
            _ = wall_clock.tick() => if crate::now() >= renew_at {
                return Ok(()); // comes back at once with a new certificate
            },
        }
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

/// The next report as it goes over the wire.
fn next_report(config: &Config, session: u64, outbox: &Outbox) -> anyhow::Result<Option<SessionRequest>> {
    let Some((sequence, body)) = outbox.take() else { return Ok(None) };
    let report = Report { environment_id: config.environment_id.clone(), session, sequence, at: crate::now(), body };
    let message = kiven_proto::v1::Report { sequence, body: serde_json::to_vec(&report)? };
    Ok(Some(SessionRequest { message: Some(session_request::Message::Report(message)) }))
}

/// Leaves a command to be carried out beside the session.
fn receive(message: &kiven_proto::v1::Command, runner: &Arc<Runner<Commands>>) {
    match serde_json::from_slice::<Command>(&message.body) {
        Ok(command) => runner.receive(command),
        Err(_) => tracing::warn!(command_id = message.id, "a command that cannot be read was ignored"),
    }
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
