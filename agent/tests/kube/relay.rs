//! Kiven as far as an agent sees it: the enrolment, which asks the API server about the token, and the relay's stream over mutual TLS.
use crate::cluster::{Admin, WAIT_MAX};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing::post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::{SignedDuration, Timestamp};
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::enrolment::{EnrolRequest, EnrolResponse};
use kiven_model::event::DatabaseEvent;
use kiven_model::report::{AgentFacts, Observation, Report, ReportBody};
use kiven_model::{Code, EnvironmentId, Problem};
use kiven_proto::v1::agent_relay_service_server::{AgentRelayService, AgentRelayServiceServer};
use kiven_proto::v1::{Acknowledgement, SessionRequest, SessionResponse, session_request, session_response};
use kube::api::PostParams;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to the agent.
const OUTGOING_MAX: usize = 64;

/// What has been asked and said.
#[derive(Default)]
pub(crate) struct Talk {
    asked: BTreeMap<String, Command>,
    pub(crate) answers: BTreeMap<String, CommandOutcome>,
    pub(crate) observed: BTreeMap<String, Observation>,
    pub(crate) facts: Option<AgentFacts>,
    pub(crate) events: Vec<DatabaseEvent>,
    pub(crate) sessions: u32,
    pub(crate) enrolments: u32,
}

/// The relay and the enrolment of one environment.
pub(crate) struct Kiven {
    pub(crate) environment: EnvironmentId,
    pub(crate) relay: SocketAddr,
    pub(crate) api: SocketAddr,
    talk: Arc<watch::Sender<Talk>>,
}

struct Enrolment {
    admin: Admin,
    environment: EnvironmentId,
    authority: Authority,
    /// The SHA-256 of the single-use token that holds now.
    token: std::sync::Mutex<String>,
    talk: Arc<watch::Sender<Talk>>,
}

impl Kiven {
    /// Starts both on loopback ports. `first_token` is the single-use token that an agent may begin with.
    pub(crate) async fn start(admin: &Admin, first_token: &str) -> Self {
        Self::start_behind(admin, first_token, None).await
    }

    /// The same behind an authority of the customer's own, which has issued what relay and API show.
    pub(crate) async fn start_behind(admin: &Admin, first_token: &str, corporate: Option<&Authority>) -> Self {
        let authority = authority("kiven");
        let (shown, key) = certificate(corporate.unwrap_or(&authority));
        let environment = EnvironmentId::from_random([7; 16]);
        let talk = Arc::new(watch::Sender::new(Talk::default()));
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(&shown, &key)).client_ca_root(Certificate::from_pem(authority.pem()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = listener.local_addr().unwrap();
        let service = AgentRelayServiceServer::new(Stream { talk: Arc::clone(&talk) });
        let server = Server::builder().tls_config(tls).unwrap().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let enrolment = Enrolment {
            admin: admin.clone(),
            environment: environment.clone(),
            authority,
            token: std::sync::Mutex::new(digest(first_token)),
            talk: Arc::clone(&talk),
        };
        let router = Router::new().route("/v1/agents/enrol", post(enrol)).with_state(Arc::new(enrolment));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap();
        match corporate {
            None => drop(tokio::spawn(async move { axum::serve(listener, router).await })),
            Some(_) => drop(tokio::spawn(serve_tls(listener, router, shown, key))),
        }
        Self { environment, relay, api, talk }
    }

    /// Waits until what has been said fulfils something.
    pub(crate) async fn heard<T>(&self, what: &str, look: impl FnMut(&Talk) -> Option<T>) -> T {
        let found = self.hears_within(WAIT_MAX, look).await;
        found.unwrap_or_else(|| panic!("the agent did not say within {} s: {what}", WAIT_MAX.as_secs()))
    }

    /// The same, for as long; nothing where it was not said.
    pub(crate) async fn hears_within<T>(&self, most: Duration, mut look: impl FnMut(&Talk) -> Option<T>) -> Option<T> {
        let mut listening = self.talk.subscribe();
        let mut found = None;
        let heard = listening.wait_for(|talk| {
            found = look(talk);
            found.is_some()
        });
        // What was not said in time was not said.
        let _ = tokio::time::timeout(most, heard).await;
        found
    }

    /// Events that have been told so far.
    pub(crate) fn count_events(&self) -> usize {
        self.talk.borrow().events.len()
    }

    /// Hands a command over; its answer.
    pub(crate) async fn ask(&self, command: &Command) -> CommandOutcome {
        self.talk.send_modify(|talk| {
            talk.answers.remove(&command.id);
            talk.asked.insert(command.id.clone(), command.clone());
        });
        self.heard(command.body.name(), |talk| talk.answers.get(&command.id).cloned()).await
    }
}

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority of this name.
pub(crate) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this machine and its key, PEM.
fn certificate(authority: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let shown = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    (shown.pem(), key.serialize_pem())
}

/// The API over TLS.
async fn serve_tls(listener: TcpListener, router: Router, certificate: String, key: String) {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            // Who does not like the certificate has gone already.
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}

fn digest(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn enrol(State(state): State<Arc<Enrolment>>, Json(asked): Json<EnrolRequest>) -> Result<Json<EnrolResponse>, (StatusCode, Json<Problem>)> {
    let refused = |why: &str| (StatusCode::FORBIDDEN, Json(Problem::new(Code::AGENT_REFUSED, why)));
    if asked.environment_id != state.environment {
        return Err(refused("another environment"));
    }
    match (&asked.service_account_token, &asked.agent_token) {
        (Some(token), None) if state.is_agents(token).await => {}
        (None, Some(used)) => {
            let mut holds = state.token.lock().unwrap();
            if *holds != digest(&used.token) {
                return Err(refused("a token that does not hold"));
            }
            holds.clone_from(&used.next_sha256);
        }
        _ => return Err(refused("no proof")),
    }
    let mut request = CertificateSigningRequestParams::from_pem(&asked.certificate_request).map_err(|_| refused("no certificate request"))?;
    let expires_at = Timestamp::now() + SignedDuration::from_hours(1);
    request.params.not_after = std::time::SystemTime::from(expires_at).into();
    let certificate = request.signed_by(&state.authority).map_err(|_| refused("no certificate"))?;
    state.talk.send_modify(|talk| talk.enrolments += 1);
    Ok(Json(EnrolResponse { certificate: certificate.pem(), authority: state.authority.pem(), expires_at }))
}

impl Enrolment {
    /// Whether the API server says that a token is the agent's and for Kiven.
    async fn is_agents(&self, token: &str) -> bool {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
            "spec": { "token": token, "audiences": ["kiven"] },
        });
        let reviews = self.admin.all("authentication.k8s.io/v1", "TokenReview");
        let review = reviews.create(&PostParams::default(), &serde_json::from_value(review).unwrap()).await.unwrap();
        review.data["status"]["user"]["username"] == "system:serviceaccount:kiven-system:kiven-agent"
    }
}

struct Stream {
    talk: Arc<watch::Sender<Talk>>,
}

#[tonic::async_trait]
impl AgentRelayService for Stream {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Result<Response<Self::SessionStream>, Status> {
        request.peer_certs().ok_or_else(|| Status::unauthenticated("no certificate"))?;
        let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
        self.talk.send_modify(|talk| talk.sessions += 1);
        // Epochs grow over every test: what an agent remembers of them outlives a relay.
        let epoch = u64::try_from(Timestamp::now().as_second()).unwrap();
        let welcome = session_response::Message::Welcome(kiven_proto::v1::Welcome { epoch });
        out.send(Ok(SessionResponse { message: Some(welcome) })).await.unwrap();
        tokio::spawn(converse(Arc::clone(&self.talk), epoch, request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// One session: every command that is asked and not answered goes out once, every report is acknowledged.
async fn converse(
    talk: Arc<watch::Sender<Talk>>,
    epoch: u64,
    mut incoming: Streaming<SessionRequest>,
    out: mpsc::Sender<Result<SessionResponse, Status>>,
) {
    let mut changed = talk.subscribe();
    let mut sent: BTreeSet<String> = BTreeSet::new();
    loop {
        let due: Vec<Command> = {
            let talk = changed.borrow_and_update();
            // A command that was answered may be asked again.
            sent.retain(|id| talk.asked.contains_key(id));
            talk.asked.values().filter(|command| !sent.contains(&command.id)).cloned().collect()
        };
        for command in due {
            let body = serde_json::to_vec(&command).unwrap();
            sent.insert(command.id.clone());
            let message = session_response::Message::Command(kiven_proto::v1::Command { id: command.id, body, epoch });
            if out.send(Ok(SessionResponse { message: Some(message) })).await.is_err() {
                return;
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            message = incoming.message() => match message {
                Ok(Some(SessionRequest { message: Some(session_request::Message::Report(report)) })) => {
                    let heard: Report = serde_json::from_slice(&report.body).unwrap();
                    talk.send_modify(|talk| note(talk, heard.body));
                    let message = session_response::Message::Acknowledgement(Acknowledgement { sequence: report.sequence });
                    if out.send(Ok(SessionResponse { message: Some(message) })).await.is_err() {
                        return;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            },
        }
    }
}

fn note(talk: &mut Talk, body: ReportBody) {
    match body {
        ReportBody::Facts(facts) => talk.facts = Some(facts),
        ReportBody::Observed(observation) => drop(talk.observed.insert(observation.cluster.clone(), observation)),
        ReportBody::Answered { command_id, outcome } => {
            talk.asked.remove(&command_id);
            talk.answers.insert(command_id, outcome);
        }
        ReportBody::Event(event) => talk.events.push(event),
        ReportBody::Logged(_) | ReportBody::Sealed(_) | ReportBody::Statistics(_) | ReportBody::Dropped { .. } => {}
    }
}
