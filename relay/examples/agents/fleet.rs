//! The agents: each with its own certificate and connection, answering at once, coming back with the pauses of the real one.
use crate::authority::Authority;
use crate::records::{Records, now};
use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use kiven_model::EnvironmentId;
use kiven_model::command::{CommandOutcome, CommandOutput};
use kiven_model::report::{Report, ReportBody};
use kiven_proto::v1::agent_relay_service_client::AgentRelayServiceClient;
use kiven_proto::v1::{Hello, SessionRequest, session_request, session_response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Pauses between attempts as in `agent/src/session.rs`: doubled, with up to half of it as jitter.
const PAUSE_MS_LEAST: u64 = 200;
const PAUSE_MS_MOST: u64 = 16_000;
/// How often the fleet is counted.
const LOOK: Duration = Duration::from_millis(20);

/// All agents.
pub(crate) struct Fleet {
    /// One for each.
    pub(crate) environments: Vec<EnvironmentId>,
    tls: Vec<Arc<ClientConfig>>,
    port: u16,
    connected: AtomicUsize,
    received: Mutex<Vec<(String, Instant)>>,
}

impl Fleet {
    /// Certificates for all.
    pub(crate) fn new(authority: &Authority, agents: usize, port: u16) -> anyhow::Result<Self> {
        let (mut environments, mut tls) = (Vec::new(), Vec::new());
        let mut roots = RootCertStore::empty();
        roots.add(authority.root())?;
        let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
        for number in 0..agents {
            let mut seed = [0u8; 16];
            seed[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            let environment = EnvironmentId::from_random(seed);
            let (certificate, key) = authority.agent(&environment)?;
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&rustls::version::TLS13])?;
            let mut config = config.with_root_certificates(Arc::clone(&roots)).with_client_auth_cert(vec![certificate], key)?;
            config.alpn_protocols = vec![b"h2".to_vec()];
            environments.push(environment);
            tls.push(Arc::new(config));
        }
        Ok(Self { environments, tls, port, connected: AtomicUsize::new(0), received: Mutex::default() })
    }

    /// All of them start at once.
    pub(crate) fn start(self: &Arc<Self>) {
        for number in 0..self.environments.len() {
            let fleet = Arc::clone(self);
            tokio::spawn(async move { fleet.live(number).await });
        }
    }

    async fn live(&self, number: usize) {
        let mut pause = PAUSE_MS_LEAST;
        loop {
            if let Ok(true) = self.session(number).await {
                self.connected.fetch_sub(1, Ordering::SeqCst);
                pause = PAUSE_MS_LEAST;
            }
            let mut bytes = [0u8; 8];
            let jitter = if getrandom::fill(&mut bytes).is_ok() { u64::from_le_bytes(bytes) % (pause / 2) } else { pause / 2 };
            tokio::time::sleep(Duration::from_millis(pause + jitter)).await;
            pause = (pause * 2).min(PAUSE_MS_MOST);
        }
    }

    /// One session; true when it began.
    async fn session(&self, number: usize) -> anyhow::Result<bool> {
        let (environment, tls) = (self.environments.get(number).context("no such agent")?, self.tls.get(number).context("no such agent")?);
        let (connector, port) = (TlsConnector::from(Arc::clone(tls)), self.port);
        let dial = tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(dial).await?;
        let (out, outgoing) = mpsc::channel(8);
        let session = u64::try_from(now().as_millisecond())?;
        let hello = Hello { environment_id: environment.to_string(), session, agent_version: "bench".to_owned() };
        out.send(SessionRequest { message: Some(session_request::Message::Hello(hello)) }).await?;
        let mut incoming = AgentRelayServiceClient::new(channel).session(ReceiverStream::new(outgoing)).await?.into_inner();
        let (mut sequence, mut begun) = (0, false);
        loop {
            match incoming.message().await.ok().flatten().and_then(|message| message.message) {
                Some(session_response::Message::Welcome(_)) => {
                    begun = true;
                    self.connected.fetch_add(1, Ordering::SeqCst);
                }
                Some(session_response::Message::Command(command)) => {
                    self.received.lock().unwrap_or_else(PoisonError::into_inner).push((command.id.clone(), Instant::now()));
                    sequence += 1;
                    let body = ReportBody::Answered { command_id: command.id, outcome: CommandOutcome::Done(CommandOutput::Nothing) };
                    let report = Report { environment_id: environment.clone(), session, sequence, at: now(), body };
                    let report = kiven_proto::v1::Report { sequence, body: serde_json::to_vec(&report)? };
                    if out.send(SessionRequest { message: Some(session_request::Message::Report(report)) }).await.is_err() {
                        return Ok(begun);
                    }
                }
                Some(session_response::Message::Acknowledgement(_) | session_response::Message::GoAway(_)) => {}
                None => return Ok(begun),
            }
        }
    }

    /// Waits until so many are connected.
    pub(crate) async fn await_connected(&self, wanted: usize, most: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + most;
        while self.connected.load(Ordering::SeqCst) != wanted {
            if Instant::now() >= deadline {
                bail!("{} of {wanted} agents are connected", self.connected.load(Ordering::SeqCst));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// From when each command was recorded until its agent had it.
    pub(crate) fn latencies(&self, records: &Records) -> Vec<Duration> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter_map(|(id, at)| Some(at.saturating_duration_since(records.recorded_at(id)?))).collect()
    }
}
