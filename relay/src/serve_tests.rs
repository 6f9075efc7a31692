//! The relay's way in and out, with real connections: who is let in, who is told to go, and that it ends.
use crate::identity::Identity;
use crate::limits::CONNECTIONS_OF_ONE_MAX;
use crate::listen;
use crate::metrics::Metrics;
use crate::packs::Packs;
use crate::serve::{Bounds, until};
use crate::service::Relay;
use crate::session::SendQueue;
use crate::sessions::Sessions;
use jiff::Timestamp;
use kiven_model::EnvironmentId;
use kiven_model::report::Report;
use kiven_ports::{PortError, ReportQueue};
use kiven_proto::v1::session_response::Message;
use kiven_proto::v1::{Hello, SessionRequest, SessionResponse, session_request};
use kiven_sim::{Odds, World};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

/// Longest wait for what is to come: long enough for a machine that does much else.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Time that nothing in a test waits for.
const LONG: Duration = Duration::from_secs(3_600);
const LOOK: Duration = Duration::from_millis(10);
/// A relay that closes nothing by itself.
const PATIENT: Bounds = Bounds { without_session: LONG, stop: LONG, keepalive: LONG, silent: LONG };

/// A queue that takes every report.
struct Taking;

impl ReportQueue for Taking {
    async fn report_send(&self, _: &Report) -> Result<(), PortError> {
        Ok(())
    }
}

/// A relay that listens, and the authority of its agents.
struct Scene {
    address: SocketAddr,
    authority: CertifiedIssuer<'static, KeyPair>,
    key: KeyPair,
    sessions: Sessions,
    metrics: Arc<Metrics>,
    stop: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Scene {
    fn start(bounds: Bounds) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "agents");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let (authority, key) = (CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(), KeyPair::generate().unwrap());
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap().pem();
        let shown = Identity { certificate, key: key.serialize_pem(), authority: authority.pem(), good_for: None };
        let (sessions, metrics, stop) = (Sessions::default(), Arc::new(Metrics::default()), Arc::new(Notify::new()));
        let relay = Relay {
            id: "tested".to_owned(),
            store: Arc::new(World::new(1, Odds::none())),
            places: Arc::new(Semaphore::new(4)),
            queue: Arc::new(SendQueue::new(Taking)),
            packs: Arc::new(Packs::new("tested".to_owned(), || Timestamp::UNIX_EPOCH, Arc::clone(&metrics))),
            sessions: sessions.clone(),
            metrics: Arc::clone(&metrics),
        };
        let listener = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = listen::connections(listener, listen::tls(&shown).unwrap(), Arc::clone(&metrics));
        let told = Arc::clone(&stop);
        let serving = tokio::spawn(until(relay, incoming, bounds, async move { told.notified().await }));
        Self { address, authority, key, sessions, metrics, stop, serving }
    }

    /// A connection under a certificate of this name.
    async fn connect(&self, name: &str) -> TlsStream<TcpStream> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&self.key, &self.authority).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let mut config = config.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    /// An agent with its session.
    async fn agent(&self, environment: &EnvironmentId, session: u64) -> Agent {
        let mut stream = Some(hyper_util::rt::TokioIo::new(self.connect(environment.as_str()).await));
        let dial = tower::service_fn(move |_| std::future::ready(stream.take().ok_or_else(|| std::io::Error::other("one connection"))));
        let channel = tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector(dial).await.unwrap();
        let (out, outgoing) = mpsc::channel(8);
        let hello = Hello { environment_id: environment.to_string(), session, agent_version: "1".to_owned() };
        out.send(SessionRequest { message: Some(session_request::Message::Hello(hello)) }).await.unwrap();
        let mut client = kiven_proto::v1::agent_relay_service_client::AgentRelayServiceClient::new(channel);
        let incoming = client.session(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        let mut agent = Agent { _client: client, out, incoming };
        assert!(matches!(agent.next().await, Some(Message::Welcome(_))));
        agent
    }

    /// Waits until a line is in the metrics.
    async fn counted(&self, line: &str) {
        let found = async {
            while !self.metrics.text().lines().any(|found| found == line) {
                sleep(LOOK).await;
            }
        };
        timeout(WAIT_MAX, found).await.unwrap_or_else(|_| panic!("not counted: {line}\n{}", self.metrics.text()));
    }

    /// Stops it; how long that took.
    async fn stopped(self) -> Duration {
        let began = Instant::now();
        self.stop.notify_one();
        timeout(WAIT_MAX, self.serving).await.expect("it ends").unwrap();
        began.elapsed()
    }
}

struct Agent {
    _client: kiven_proto::v1::agent_relay_service_client::AgentRelayServiceClient<tonic::transport::Channel>,
    out: mpsc::Sender<SessionRequest>,
    incoming: tonic::Streaming<SessionResponse>,
}

impl Agent {
    /// What comes next; nothing at the stream's end, however it ends.
    async fn next(&mut self) -> Option<Message> {
        let next = timeout(WAIT_MAX, self.incoming.message()).await.expect("something comes, or the end");
        next.ok().flatten().and_then(|message| message.message)
    }
}

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Whether the other side speaks HTTP/2 over a connection, or has closed it.
async fn served(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut bytes = [0; 1_024];
    // It may be closed before that is said.
    let _ = stream.write_all(PREFACE).await;
    matches!(stream.read(&mut bytes).await, Ok(read) if read > 0)
}

/// Waits until the other side has closed a connection.
async fn closed(stream: &mut TlsStream<TcpStream>) {
    let mut bytes = [0; 1_024];
    let end = async { while matches!(stream.read(&mut bytes).await, Ok(read) if read > 0) {} };
    timeout(WAIT_MAX, end).await.expect("the relay closes it");
}

fn environment(seed: u8) -> EnvironmentId {
    EnvironmentId::from_random([seed; 16])
}

#[tokio::test]
async fn who_is_told_to_go_goes_and_then_the_relay_ends() {
    let scene = Scene::start(PATIENT);
    let mut agents = [scene.agent(&environment(1), 1).await, scene.agent(&environment(2), 1).await];
    scene.stop.notify_one();
    for agent in &mut agents {
        assert!(matches!(agent.next().await, Some(Message::GoAway(_))));
    }
    assert!(!scene.serving.is_finished() && !scene.sessions.is_empty(), "it waits for who was told");
    drop(agents);
    timeout(WAIT_MAX, scene.serving).await.expect("all have left").unwrap();
    let deaf = async { while TcpStream::connect(scene.address).await.is_ok() {} };
    timeout(WAIT_MAX, deaf).await.expect("nobody is let in");
}

#[tokio::test]
async fn a_deaf_agent_is_not_waited_for_for_ever() {
    let stop = Duration::from_millis(300);
    let scene = Scene::start(Bounds { stop, ..PATIENT });
    let deaf = scene.agent(&environment(1), 1).await;
    assert!(scene.stopped().await >= stop, "it had its time");
    drop(deaf);
}

#[tokio::test]
async fn a_certificate_that_names_no_environment_gets_nothing() {
    let scene = Scene::start(PATIENT);
    closed(&mut scene.connect("relay.example.com").await).await;
    scene.counted("kiven_relay_refusals_total{reason=\"identity\"} 1").await;
    scene.stopped().await;
}

#[tokio::test]
async fn an_environment_has_so_many_connections_and_others_are_not_kept_out() {
    let scene = Scene::start(PATIENT);
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS_OF_ONE_MAX {
        kept.push(scene.connect(environment(1).as_str()).await);
    }
    closed(&mut scene.connect(environment(1).as_str()).await).await;
    scene.counted("kiven_relay_refusals_total{reason=\"connection\"} 1").await;
    scene.agent(&environment(2), 1).await;
    // The place of one that goes is another's.
    drop(kept.pop());
    let again = async { while !served(&mut scene.connect(environment(1).as_str()).await).await {} };
    timeout(WAIT_MAX, again).await.expect("a place is free");
    scene.stopped().await;
}

#[tokio::test]
async fn a_connection_without_a_session_is_closed_and_one_with_a_session_is_not() {
    let scene = Scene::start(Bounds { without_session: Duration::from_secs(2), ..PATIENT });
    let mut agent = scene.agent(&environment(1), 1).await;
    closed(&mut scene.connect(environment(2).as_str()).await).await;
    scene.counted("kiven_relay_connections_ended_total{reason=\"idle\"} 1").await;
    let mut idle = scene.connect(environment(3).as_str()).await;
    assert!(served(&mut idle).await);
    closed(&mut idle).await;
    scene.counted("kiven_relay_connections_ended_total{reason=\"idle\"} 2").await;
    assert!(!scene.sessions.is_empty(), "the session is longer than that already");
    // Its session ends, its connection stays open, and is idle from then on.
    let message = Some(session_request::Message::Hello(Hello::default()));
    agent.out.send(SessionRequest { message }).await.unwrap();
    assert!(agent.next().await.is_none());
    scene.counted("kiven_relay_connections_ended_total{reason=\"idle\"} 3").await;
    scene.stopped().await;
}

#[tokio::test]
async fn a_connection_that_does_not_answer_is_dropped() {
    let scene = Scene::start(Bounds { keepalive: Duration::from_millis(100), silent: Duration::from_secs(2), ..PATIENT });
    let mut agent = scene.agent(&environment(1), 1).await;
    let mut silent = scene.connect(environment(2).as_str()).await;
    assert!(served(&mut silent).await);
    closed(&mut silent).await;
    scene.counted("kiven_relay_connections_ended_total{reason=\"silent\"} 1").await;
    assert!(timeout(LOOK, agent.next()).await.is_err() && !scene.sessions.is_empty(), "one that answers stays");
    drop(agent);
    scene.stopped().await;
}

#[tokio::test]
async fn what_is_not_http_is_counted() {
    let scene = Scene::start(PATIENT);
    let mut odd = scene.connect(environment(1).as_str()).await;
    odd.write_all(&[b'x'; 64]).await.unwrap();
    closed(&mut odd).await;
    scene.counted("kiven_relay_connections_ended_total{reason=\"broken\"} 1").await;
    scene.stopped().await;
}
