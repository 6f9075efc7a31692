//! The process: how it was started, the handshake with the client, and the server.
mod host;
mod listen;

use crate::core::Core;
use crate::service::{ControllerService, ProviderService};
use crate::{Provider, tls};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

pub(crate) use listen::{Connection, Listener};

/// What Terraform puts into TF_PLUGIN_MAGIC_COOKIE so that a plugin knows who started it.
const MAGIC_COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";
/// Connections between accept and the server; Terraform opens one.
const CONNECTIONS_WAITING_MAX: usize = 4;
/// Where a plugin listens if the client says nothing, on systems without Unix sockets.
const PORTS: (u16, u16) = (10_000, 25_000);
/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the provider could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Started by hand.
    #[error("This program is a Terraform provider: Terraform or OpenTofu starts it. To debug it, start it with -debug.")]
    StartedByHand,
    /// The host speaks no protocol 6.
    #[error("This provider speaks plugin protocol 6, which Terraform 1.0 and later offer; the host offers {0}.")]
    Protocol(String),
    /// No private socket.
    #[error("the provider's socket could not be made")]
    Socket(#[source] std::io::Error),
    /// No mutual TLS.
    #[error("mutual TLS could not be set up")]
    Tls(#[source] tls::TlsError),
    /// The server ended with an error.
    #[error("the gRPC server failed")]
    Server(#[source] tonic::transport::Error),
}

/// How the process was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// With `-debug`: keeps running and prints what to put into TF_REATTACH_PROVIDERS.
    pub debug: bool,
    /// The one certificate that may connect, in PEM.
    client_certificate: Option<String>,
    /// The provider's address, `registry.terraform.io/kiven/kiven`.
    address: String,
    /// The ports that the client lets a plugin listen on, where there are no Unix sockets.
    ports: (u16, u16),
}

impl Start {
    /// Reads arguments and environment.
    ///
    /// # Errors
    /// When a person and not Terraform started the process, or the host speaks no protocol 6.
    pub fn parse(address: &str, arguments: impl IntoIterator<Item = String>, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ServeError> {
        let debug = arguments.into_iter().any(|argument| argument == "-debug" || argument == "--debug");
        if debug {
            return Ok(Self { debug, client_certificate: None, address: address.to_owned(), ports: PORTS });
        }
        if lookup("TF_PLUGIN_MAGIC_COOKIE").as_deref() != Some(MAGIC_COOKIE) {
            return Err(ServeError::StartedByHand);
        }
        if let Some(offered) = lookup("PLUGIN_PROTOCOL_VERSIONS").filter(|all| !all.split(',').any(|one| one.trim() == "6")) {
            return Err(ServeError::Protocol(offered));
        }
        let client_certificate = lookup("PLUGIN_CLIENT_CERT").filter(|pem| !pem.is_empty());
        let port = |name: &str, otherwise: u16| lookup(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
        let ports = (port("PLUGIN_MIN_PORT", PORTS.0), port("PLUGIN_MAX_PORT", PORTS.1));
        Ok(Self { debug, client_certificate, address: address.to_owned(), ports })
    }
}

/// Serves a provider until Terraform ends it.
///
/// # Errors
/// When socket, TLS or server fail.
pub async fn serve(provider: Arc<dyn Provider>, start: Start) -> Result<(), ServeError> {
    crate::panics::install();
    let listener = Listener::bind(start.ports).await.map_err(ServeError::Socket)?;
    let (acceptor, certificate) = match &start.client_certificate {
        Some(pem) => {
            let (config, own) = tls::server(pem).map_err(ServeError::Tls)?;
            (Some(TlsAcceptor::from(config)), own)
        }
        None => (None, Vec::new()),
    };
    let core = Arc::new(Core::new(provider));
    announce(&start, &listener, &certificate).map_err(ServeError::Socket)?;
    tokio::spawn(host::mind_signals(start.debug, core.stop.clone(), core.done.clone()));
    if !start.debug {
        tokio::spawn(host::mind_parent(core.stop.clone(), core.done.clone()));
    }
    run(core, listener, acceptor).await
}

/// The whole of a provider's `main`: reads arguments and environment, sends the log of these crates to Terraform, and
/// serves until Terraform ends it.
pub fn run_provider(address: &str, provider: impl Provider, logged: &[&'static str]) -> std::process::ExitCode {
    match run_main(address, Arc::new(provider), logged) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("{error}{source}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run_main(address: &str, provider: Arc<dyn Provider>, logged: &[&'static str]) -> Result<(), ServeError> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment of a provider's process")]
    let lookup = |name: &str| std::env::var(name).ok();
    let start = Start::parse(address, std::env::args().skip(1), lookup)?;
    crate::install_log(logged, lookup);
    // One thread is enough for what only waits, and starts fastest.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Socket)?;
    runtime.block_on(serve(provider, start))
}

/// The server on an open socket, until Shutdown.
pub(crate) async fn run(core: Arc<Core>, listener: Listener, acceptor: Option<TlsAcceptor>) -> Result<(), ServeError> {
    let (sender, receiver) = tokio::sync::mpsc::channel(CONNECTIONS_WAITING_MAX);
    let accepting = tokio::spawn(accept(listener, acceptor, sender));
    let done = core.done.clone();
    let served = tonic::transport::Server::builder()
        .add_service(ProviderService(core.clone()))
        .add_service(ControllerService(core))
        .serve_with_incoming_shutdown(tokio_stream::wrappers::ReceiverStream::new(receiver), done.cancelled_owned())
        .await;
    accepting.abort();
    served.map_err(ServeError::Server)
}

async fn accept(mut listener: Listener, acceptor: Option<TlsAcceptor>, sender: tokio::sync::mpsc::Sender<Result<Connection, std::io::Error>>) {
    while let Ok(plain) = listener.accept().await {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        // One slow or foreign peer must not keep the next one waiting.
        tokio::spawn(async move {
            let connection = match acceptor {
                None => plain,
                Some(acceptor) => match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(plain)).await {
                    Ok(Ok(stream)) => Connection::new(stream),
                    Ok(Err(error)) => return tracing::warn!(%error, "connection refused"),
                    Err(_) => return tracing::warn!("connection refused: no TLS handshake in time"),
                },
            };
            // A closed channel means the server has ended.
            drop(sender.send(Ok(connection)).await);
        });
    }
}

fn announce(start: &Start, listener: &Listener, certificate: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if start.debug {
        let attach = serde_json::json!({ &start.address: {
            "Protocol": "grpc", "ProtocolVersion": 6, "Pid": std::process::id(), "Test": true,
            "Addr": { "Network": listener.network(), "String": listener.address() },
        }});
        writeln!(out, "Start Terraform with:\n  TF_REATTACH_PROVIDERS='{attach}'")?;
    } else {
        writeln!(out, "1|6|{}|{}|grpc|{}", listener.network(), listener.address(), STANDARD_NO_PAD.encode(certificate))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Start, ServeError> {
        let lookup = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Start::parse("registry.terraform.io/a/b", arguments.iter().map(|a| (*a).to_owned()), lookup)
    }

    #[test]
    fn a_person_is_told_what_this_is() {
        assert!(parse(&[], &[]).unwrap_err().to_string().contains("-debug"));
        assert!(parse(&["-debug"], &[]).unwrap().debug);
        let cookie = ("TF_PLUGIN_MAGIC_COOKIE", MAGIC_COOKIE);
        assert!(parse(&[], &[cookie]).is_ok());
        assert!(parse(&[], &[cookie, ("PLUGIN_PROTOCOL_VERSIONS", "5,6")]).is_ok());
        assert!(matches!(parse(&[], &[cookie, ("PLUGIN_PROTOCOL_VERSIONS", "5")]), Err(ServeError::Protocol(_))));
    }
}
