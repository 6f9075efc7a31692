//! Kiven as the agent sees it: an enrolment that takes any token, and a relay that notes when it has heard what.
use anyhow::ensure;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing::post};
use jiff::{SignedDuration, Timestamp};
use kiven_model::enrolment::{EnrolRequest, EnrolResponse};
use kiven_model::event::Happening;
use kiven_model::report::{Report, ReportBody};
use kiven_model::{DatabaseId, EnvironmentId};
use kiven_proto::v1::agent_relay_service_server::{AgentRelayService, AgentRelayServiceServer};
use kiven_proto::v1::{Acknowledgement, SessionRequest, SessionResponse, Welcome, session_request, session_response};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to the agent.
const OUTGOING_MAX: usize = 64;

/// Signs everything that is measured.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "measured");
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate and key, PEM.
    pub(crate) fn server(&self, names: Vec<String>) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok((CertificateParams::new(names)?.signed_by(&key, &self.0)?.pem(), key.serialize_pem()))
    }
}

/// What has been heard.
#[derive(Default)]
struct Heard {
    observed: BTreeSet<String>,
    statistics: usize,
    statistics_bytes: usize,
    missing: usize,
    archiving: BTreeMap<DatabaseId, (bool, Instant)>,
}

/// Enrolment and relay.
pub(crate) struct Kiven {
    pub(crate) environment: EnvironmentId,
    pub(crate) relay: SocketAddr,
    pub(crate) api: SocketAddr,
    heard: Arc<watch::Sender<Heard>>,
}

impl Kiven {
    pub(crate) async fn start(authority: Authority) -> anyhow::Result<Self> {
        let (certificate, key) = authority.server(vec!["localhost".to_owned()])?;
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)).client_ca_root(Certificate::from_pem(authority.pem()));
        let heard = Arc::new(watch::Sender::new(Heard::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let relay = listener.local_addr()?;
        let server = Server::builder().tls_config(tls)?.add_service(AgentRelayServiceServer::new(Stream(Arc::clone(&heard))));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let router = Router::new().route("/v1/agents/enrol", post(enrol)).with_state(Arc::new(authority));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let api = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { environment: EnvironmentId::from_random([7; 16]), relay, api, heard })
    }

    async fn wait<T>(&self, what: &str, within: Duration, mut look: impl FnMut(&Heard) -> Option<T>) -> anyhow::Result<T> {
        let (mut listening, mut found) = (self.heard.subscribe(), None);
        let heard = listening.wait_for(|heard| {
            found = look(heard);
            found.is_some()
        });
        let in_time = tokio::time::timeout(within, heard).await.is_ok();
        ensure!(in_time, "the agent did not say within {} s: {what}", within.as_secs());
        found.ok_or_else(|| anyhow::anyhow!("the agent has not said: {what}"))
    }

    /// Waits until so many databases have been seen.
    pub(crate) async fn await_observed(&self, count: usize, within: Duration) -> anyhow::Result<()> {
        self.wait("every database", within, |heard| (heard.observed.len() >= count).then_some(())).await
    }

    /// Waits until so many statistics have come.
    pub(crate) async fn await_statistics(&self, count: usize, within: Duration) -> anyhow::Result<()> {
        self.wait("statistics of every instance", within, |heard| (heard.statistics >= count).then_some(())).await
    }

    /// When it was heard that WAL is, or is not, archived.
    pub(crate) async fn await_event(&self, database: &DatabaseId, archives: bool, within: Duration) -> anyhow::Result<Instant> {
        let look = |heard: &Heard| heard.archiving.get(database).filter(|(known, _)| *known == archives).map(|(_, at)| *at);
        self.wait("an event", within, look).await
    }

    /// How many statistics have come, and their bytes.
    pub(crate) fn statistics(&self) -> (usize, usize) {
        let heard = self.heard.borrow();
        (heard.statistics, heard.statistics_bytes)
    }

    /// How many parts of statistics were missing.
    pub(crate) fn missing(&self) -> usize {
        self.heard.borrow().missing
    }
}

async fn enrol(State(authority): State<Arc<Authority>>, Json(asked): Json<EnrolRequest>) -> Result<Json<EnrolResponse>, StatusCode> {
    let expires_at = Timestamp::now() + SignedDuration::from_hours(1);
    let mut request = CertificateSigningRequestParams::from_pem(&asked.certificate_request).map_err(|_| StatusCode::BAD_REQUEST)?;
    request.params.not_after = std::time::SystemTime::from(expires_at).into();
    let certificate = request.signed_by(&authority.0).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(EnrolResponse { certificate: certificate.pem(), authority: authority.pem(), expires_at }))
}

struct Stream(Arc<watch::Sender<Heard>>);

#[tonic::async_trait]
impl AgentRelayService for Stream {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Result<Response<Self::SessionStream>, Status> {
        let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
        let (heard, mut incoming) = (Arc::clone(&self.0), request.into_inner());
        let epoch = u64::try_from(Timestamp::now().as_second()).unwrap_or(1);
        let say = async move |message| out.send(Ok(SessionResponse { message: Some(message) })).await.is_ok();
        tokio::spawn(async move {
            if !say(session_response::Message::Welcome(Welcome { epoch })).await {
                return;
            }
            while let Ok(Some(SessionRequest { message: Some(message) })) = incoming.message().await {
                let session_request::Message::Report(report) = message else { continue };
                note(&heard, &report.body);
                if !say(session_response::Message::Acknowledgement(Acknowledgement { sequence: report.sequence })).await {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

fn note(heard: &watch::Sender<Heard>, body: &[u8]) {
    let at = Instant::now();
    let Ok(report) = serde_json::from_slice::<Report>(body) else { return };
    heard.send_modify(|heard| match report.body {
        ReportBody::Observed(seen) => drop(heard.observed.insert(seen.cluster)),
        ReportBody::Statistics(said) => {
            heard.statistics += 1;
            heard.statistics_bytes += body.len();
            heard.missing += said.missing.len();
        }
        ReportBody::Event(event) => match event.what {
            Happening::ArchiveFailing => drop(heard.archiving.insert(event.database_id, (false, at))),
            Happening::ArchiveWorking => drop(heard.archiving.insert(event.database_id, (true, at))),
            _ => {}
        },
        ReportBody::Facts(_) | ReportBody::Answered { .. } | ReportBody::Logged(_) | ReportBody::Sealed(_) | ReportBody::Dropped { .. } => {}
    });
}
