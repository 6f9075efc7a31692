//! HTTP/2 over the agents' connections, and the way out when the relay stops.
//!
//! tonic's own server would do it, with a task of five kibibytes for each connection, most of it room for what HTTP/1 and an upgrade
//! would need.
use crate::limits;
use crate::service::{Relay, shown};
use crate::sessions::{self, Sessions};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kiven_ports::{Agents, ReportQueue};
use kiven_proto::v1::agent_relay_service_server::AgentRelayServiceServer;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tower::Service;

/// Below the 350 s after which the NLB drops a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(60);
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

/// Serves until it is told to stop and every agent has left, or has had time for it.
pub(crate) async fn until<S: Agents + 'static, Q: ReportQueue + 'static>(
    relay: Relay<S, Q>,
    mut connections: mpsc::Receiver<TlsStream<TcpStream>>,
    sessions: &Sessions,
    told: impl Future<Output = ()>,
) {
    let service = AgentRelayServiceServer::new(relay).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let http = http();
    let serving = async {
        while let Some(stream) = connections.recv().await {
            let agent = stream.get_ref().1.peer_certificates().and_then(|all| all.first()).and_then(|leaf| shown(leaf));
            let service = service.clone();
            let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
                if let Some(agent) = agent.clone() {
                    request.extensions_mut().insert(agent);
                }
                service.clone().call(request)
            });
            tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
        }
    };
    tokio::select! {
        () = serving => {}
        () = told => {}
    }
    // Nobody else is let in. An agent that leaves closes its connection.
    drop(connections);
    let within = sessions.drain();
    tracing::info!(within_ms = within.as_millis(), "agents are told to leave");
    let left = async {
        while sessions.count() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = tokio::time::timeout(sessions::LEAVE_MAX + STOP_MAX, left).await;
}

fn http() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX);
    http
}
