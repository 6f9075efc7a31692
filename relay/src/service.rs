//! The gRPC service: who an agent is, and its one session.
use crate::session::Session;
use kiven_model::EnvironmentId;
use kiven_ports::{Agents, ReportQueue};
use kiven_proto::v1::agent_relay_service_server::AgentRelayService;
use kiven_proto::v1::{SessionRequest, SessionResponse, session_request};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to one agent; beyond it the session waits.
const OUTGOING_MAX: usize = 64;
/// The newest session of each environment, as its number and the task that runs it.
type Newest = HashMap<EnvironmentId, (u64, tokio::task::AbortHandle)>;

/// The relay's service over a store and a queue.
pub(crate) struct Relay<S, Q> {
    store: Arc<S>,
    reports: Arc<Q>,
    newest: Sessions,
}

/// Every session that runs.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<Newest>>);

impl Sessions {
    /// Ends all of them: their agents connect again, to another relay.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|(_, task)| task.abort());
    }
}

impl<S, Q> Relay<S, Q> {
    pub(crate) fn new(store: S, reports: Q) -> Self {
        Self { store: Arc::new(store), reports: Arc::new(reports), newest: Sessions::default() }
    }

    /// Its sessions, for whoever stops it.
    pub(crate) fn sessions(&self) -> Sessions {
        self.newest.clone()
    }

    /// A later session of an environment ends the one before; an earlier one is refused.
    fn take_over(&self, environment: &EnvironmentId, session: u64, task: tokio::task::AbortHandle) -> Result<(), Status> {
        let mut newest = self.newest.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(environment).is_some_and(|(known, _)| *known > session) {
            task.abort();
            return Err(Status::aborted("a newer session of this agent is connected"));
        }
        if let Some((_, before)) = newest.insert(environment.clone(), (session, task)) {
            before.abort();
        }
        Ok(())
    }
}

/// The environment that the client's certificate names in its common name.
fn identity(request: &Request<Streaming<SessionRequest>>) -> Result<EnvironmentId, Status> {
    let refused = || Status::unauthenticated("the certificate names no environment");
    let certificates = request.peer_certs().ok_or_else(refused)?;
    let leaf = certificates.first().ok_or_else(refused)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| refused())?;
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).ok_or_else(refused)?;
    EnvironmentId::parse(name).map_err(|_| refused())
}

#[tonic::async_trait]
impl<S: Agents + 'static, Q: ReportQueue + 'static> AgentRelayService for Relay<S, Q> {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Result<Response<Self::SessionStream>, Status> {
        let environment = identity(&request)?;
        let mut incoming = request.into_inner();
        let Some(SessionRequest { message: Some(session_request::Message::Hello(hello)) }) = incoming.message().await? else {
            return Err(Status::invalid_argument("a session begins with a hello"));
        };
        if hello.environment_id != environment.as_str() {
            return Err(Status::permission_denied("the certificate is another environment's"));
        }
        let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
        let number = hello.session;
        let session = Session { store: Arc::clone(&self.store), reports: Arc::clone(&self.reports), environment: environment.clone(), hello, out };
        let task = tokio::spawn(session.run(incoming)).abort_handle();
        self.take_over(&environment, number, task)?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
