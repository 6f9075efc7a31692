//! HTTP/2 over the agents' connections, and the way out when the relay stops.
//!
//! tonic's own server would do it, with a task of five kibibytes for each connection, most of it room for what HTTP/1 and an upgrade
//! would need.
use crate::connections::{Connections, Seat};
use crate::limits;
use crate::metrics::{Ending, Metrics, Refusal};
use crate::service::{Relay, shown};
use crate::sessions;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kiven_ports::{Agents, ReportQueue};
use kiven_proto::v1::agent_relay_service_server::AgentRelayServiceServer;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tower::Service;

/// How often a connection is asked whether it lives; below the 350 s after which the NLB drops a silent one.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long it may take to say so.
const SILENT_MAX: Duration = Duration::from_secs(20);
/// How long a connection may be without a session: before its first one, and after its last.
const WITHOUT_SESSION_MAX: Duration = Duration::from_secs(10);
/// How long an agent has to close a connection once it is told to.
const CLOSED_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether all have left.
const LOOK: Duration = Duration::from_millis(50);
/// How long sessions may take to end beyond the time in which agents leave by themselves.
const STOP_MAX: Duration = Duration::from_secs(10);
/// What an agent may have on its way to a session that does not read, in bytes; every session may hold so much.
const STREAM_WINDOW_BYTES: u32 = 16 * 1024;
/// The least that HTTP/2 allows for a connection.
const CONNECTION_WINDOW_BYTES: u32 = 65_535;
/// One is used; another one may be on its way while that ends.
const STREAMS_MAX: u32 = 2;
/// Largest headers, in bytes.
const HEADERS_BYTES_MAX: u32 = 4 * 1024;

/// How long agents are waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// A connection without a session is closed after this.
    pub(crate) without_session: Duration,
    /// A relay that stops ends after this, whether all have left or not.
    pub(crate) stop: Duration,
    /// A connection is asked so often whether it lives.
    pub(crate) keepalive: Duration,
    /// One that does not answer for so long is dropped.
    pub(crate) silent: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { without_session: WITHOUT_SESSION_MAX, stop: sessions::LEAVE_MAX + STOP_MAX, keepalive: KEEPALIVE, silent: SILENT_MAX }
    }
}

/// Serves until it is told to stop and every agent has left, or has had time for it.
pub(crate) async fn until<S: Agents + 'static, Q: ReportQueue + 'static>(
    relay: Relay<S, Q>,
    mut incoming: mpsc::Receiver<TlsStream<TcpStream>>,
    bounds: Bounds,
    told: impl Future<Output = ()>,
) {
    let (sessions, metrics, open) = (relay.sessions.clone(), Arc::clone(&relay.metrics), Connections::default());
    let service = AgentRelayServiceServer::new(relay).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let http = http(bounds);
    let serving = async {
        while let Some(stream) = incoming.recv().await {
            let Some(agent) = stream.get_ref().1.peer_certificates().and_then(|all| all.first()).and_then(|leaf| shown(leaf)) else {
                metrics.refused(Refusal::Identity);
                tracing::debug!("a certificate that names no environment");
                continue;
            };
            let Some(place) = open.admit(agent.environment()) else {
                metrics.refused(Refusal::Connection);
                tracing::debug!(environment_id = %agent.environment(), "a connection too many");
                continue;
            };
            let (service, seat) = (service.clone(), Seat::default());
            let of_connection = seat.clone();
            let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(agent.clone());
                request.extensions_mut().insert(of_connection.clone());
                service.clone().call(request)
            });
            // In a box: as a part of the task it would have its place there twice.
            let connection = Box::pin(http.serve_connection(TokioIo::new(stream), answer));
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                drive(connection, http2::Connection::graceful_shutdown, seat, bounds.without_session, &metrics).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = serving => {}
        () = told => {}
    }
    // Nobody else is let in. An agent that leaves closes its connection.
    drop(incoming);
    let within = sessions.drain();
    tracing::info!(within_ms = within.as_millis(), "agents are told to leave");
    let left = async {
        while !sessions.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if timeout(bounds.stop, left).await.is_err() {
        tracing::warn!("not every agent has left");
    }
}

/// Serves a connection to its end, and counts an end that its agent did not choose.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<Box<C>>,
    close: impl FnOnce(Pin<&mut C>),
    seat: Seat,
    without_session: Duration,
    metrics: &Metrics,
) {
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = seat.empty_for(without_session) => {
            metrics.ended(Ending::Idle);
            tracing::debug!("a connection without a session is closed");
            close(connection.as_mut());
            // One that does not close is dropped.
            timeout(CLOSED_MAX, connection.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        let how = if error.is_timeout() { Ending::Silent } else { Ending::Broken };
        metrics.ended(how);
        tracing::debug!(error = &error as &dyn std::error::Error, ?how, "a connection ended");
    }
}

fn http(bounds: Bounds) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(bounds.keepalive)
        .keep_alive_timeout(bounds.silent)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX);
    http
}
