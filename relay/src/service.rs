//! The gRPC service: who an agent is, and whether this relay may have its session.
use crate::connections::Seat;
use crate::limits::OUTGOING_MAX;
use crate::metrics::{Metrics, Refusal};
use crate::packs::Packs;
use crate::session::{SendQueue, Session, place};
use crate::sessions::{Sessions, Signals};
use jiff::Timestamp;
use kiven_model::EnvironmentId;
use kiven_model::enrolment::CERTIFICATE_BACKDATED;
use kiven_ports::agents::{Claimed, SessionClaim};
use kiven_ports::{Agents, ReportQueue};
use kiven_proto::v1::agent_relay_service_server::AgentRelayService;
use kiven_proto::v1::{Hello, SessionRequest, SessionResponse, Welcome, session_request, session_response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::adapters::Map;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long an agent has to say hello.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// The metadata of a refusal that names the newest session: the agent's clock may have gone back, and it begins after it.
const SESSION_KEY: &str = "kiven-session";

/// The relay's service over a store and a queue.
pub(crate) struct Relay<S, Q> {
    pub(crate) id: String,
    pub(crate) store: Arc<S>,
    /// Places for calls of the records.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) queue: Arc<SendQueue<Q>>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Arc<Metrics>,
}

/// What goes to an agent. A session has room for 32 of them, used or not: in a box they are small.
pub(crate) type Outgoing = Result<Box<SessionResponse>, Status>;

/// What an agent's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    environment: EnvironmentId,
    certified_at: Timestamp,
}

/// The environment that the certificate names in its common name, and when it was signed.
pub(crate) fn shown(certificate: &[u8]) -> Option<Shown> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    let good_from = Timestamp::from_second(parsed.validity().not_before.timestamp()).ok()?;
    Some(Shown { environment: EnvironmentId::parse(name).ok()?, certified_at: good_from.saturating_add(CERTIFICATE_BACKDATED).ok()? })
}

impl Shown {
    /// Whose it is.
    pub(crate) fn environment(&self) -> &EnvironmentId {
        &self.environment
    }
}

impl<S: Agents + 'static, Q: ReportQueue + 'static> Relay<S, Q> {
    fn refuse(&self, why: Refusal, status: Status) -> Status {
        self.metrics.refused(why);
        status
    }

    /// Makes this relay the one that has the session.
    async fn claim(&self, shown: &Shown, hello: &Hello) -> Result<u64, Status> {
        let claim = SessionClaim {
            environment_id: shown.environment.clone(),
            session: hello.session,
            relay: self.id.clone(),
            certified_at: shown.certified_at,
        };
        let _place = place(&self.places).await?;
        match self.store.session_claim(&claim).await.map_err(|error| Status::unavailable(error.to_string()))? {
            Claimed::Owned { epoch } => Ok(epoch),
            Claimed::Revoked => Err(self.refuse(Refusal::Revoked, Status::unauthenticated("the certificate was revoked"))),
            Claimed::Superseded { session } => {
                let mut status = Status::aborted("a session as late as this one was there before");
                status.metadata_mut().insert(SESSION_KEY, session.into());
                Err(self.refuse(Refusal::Superseded, status))
            }
        }
    }

    /// A session from its hello on; what is answered goes out through the receiver.
    pub(crate) async fn open<I>(&self, shown: Shown, seat: &Seat, hello: Hello, incoming: I) -> Result<mpsc::Receiver<Outgoing>, Status>
    where
        I: tokio_stream::Stream<Item = Result<SessionRequest, Status>> + Send + Unpin + 'static,
    {
        if hello.environment_id != shown.environment.as_str() {
            return Err(self.refuse(Refusal::Identity, Status::permission_denied("the certificate is another environment's")));
        }
        // A relay that stops waits for it from here on, and its connection is not idle: the records may be slow.
        let beginning = self.sessions.admit(&shown.environment, &self.metrics)?;
        let seat = seat.take();
        let epoch = self.claim(&shown, &hello).await?;
        let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
        let welcome = SessionResponse { message: Some(session_response::Message::Welcome(Welcome { epoch })) };
        out.send(Ok(Box::new(welcome))).await.map_err(|_| Status::cancelled("the agent is gone"))?;
        let signals = Arc::new(Signals::default());
        let session = Session {
            store: Arc::clone(&self.store),
            places: Arc::clone(&self.places),
            queue: Arc::clone(&self.queue),
            packs: Arc::clone(&self.packs),
            sessions: self.sessions.clone(),
            metrics: Arc::clone(&self.metrics),
            signals: Arc::clone(&signals),
            environment: shown.environment.clone(),
            number: hello.session,
            epoch,
            out,
            _seat: seat,
        };
        tracing::info!(environment_id = %shown.environment, session = hello.session, epoch, version = hello.agent_version, "agent connected");
        let task = tokio::spawn(session.run(incoming)).abort_handle();
        self.sessions.begin(&shown.environment, epoch, task, signals);
        drop(beginning);
        Ok(outgoing)
    }
}

#[tonic::async_trait]
impl<S: Agents + 'static, Q: ReportQueue + 'static> AgentRelayService for Relay<S, Q> {
    type SessionStream = Map<ReceiverStream<Outgoing>, fn(Outgoing) -> Result<SessionResponse, Status>>;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Result<Response<Self::SessionStream>, Status> {
        let Some(shown) = request.extensions().get::<Shown>().cloned() else {
            return Err(self.refuse(Refusal::Identity, Status::unauthenticated("the certificate names no environment")));
        };
        let seat = request.extensions().get::<Seat>().cloned().unwrap_or_default();
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO_MAX, incoming.message()).await.unwrap_or(Ok(None))?;
        let Some(SessionRequest { message: Some(session_request::Message::Hello(hello)) }) = first else {
            return Err(self.refuse(Refusal::Protocol, Status::invalid_argument("a session begins with a hello")));
        };
        let outgoing = ReceiverStream::new(self.open(shown, &seat, hello, incoming).await?);
        Ok(Response::new(outgoing.map(|message| message.map(|message| *message))))
    }
}

#[cfg(test)]
impl Shown {
    /// As a certificate of then would say.
    pub(crate) fn of(environment: &EnvironmentId, certified_at: Timestamp) -> Self {
        Self { environment: environment.clone(), certified_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

    #[test]
    fn a_certificate_says_whose_it_is_and_when_it_was_signed() {
        let environment = EnvironmentId::from_random([7; 16]);
        let signed_at = Timestamp::from_second(1_800_000_000).unwrap();
        let certificate = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_before = std::time::SystemTime::from(signed_at - CERTIFICATE_BACKDATED).into();
            params.self_signed(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap().der().to_vec()
        };
        assert_eq!(shown(&certificate(environment.as_str())), Some(Shown::of(&environment, signed_at)));
        assert_eq!(shown(&certificate("relay.example.com")), None);
        assert_eq!(shown(b"not a certificate"), None);
    }
}
