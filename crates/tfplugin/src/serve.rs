//! The process: handshake with Terraform, a private socket, and the server on it.
use crate::core::Core;
use crate::service::{ControllerService, ProviderService};
use crate::{Provider, tls};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// What Terraform puts into TF_PLUGIN_MAGIC_COOKIE so that a plugin knows who started it.
const MAGIC_COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";
/// Connections between accept and the server; Terraform opens one.
const CONNECTIONS_WAITING_MAX: usize = 4;
/// Names tried for the socket's directory before giving up.
const DIRECTORY_ATTEMPTS_MAX: u32 = 100;
/// What a Unix socket's address holds on every supported system, with the terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// How often the provider looks whether the process that started it still lives.
const PARENT_CHECK: Duration = Duration::from_secs(1);
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
}

impl Start {
    /// Reads arguments and environment.
    ///
    /// # Errors
    /// When a person and not Terraform started the process, or the host speaks no protocol 6.
    pub fn parse(address: &str, arguments: impl IntoIterator<Item = String>, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ServeError> {
        let debug = arguments.into_iter().any(|argument| argument == "-debug" || argument == "--debug");
        if debug {
            return Ok(Self { debug, client_certificate: None, address: address.to_owned() });
        }
        if lookup("TF_PLUGIN_MAGIC_COOKIE").as_deref() != Some(MAGIC_COOKIE) {
            return Err(ServeError::StartedByHand);
        }
        if let Some(offered) = lookup("PLUGIN_PROTOCOL_VERSIONS").filter(|all| !all.split(',').any(|one| one.trim() == "6")) {
            return Err(ServeError::Protocol(offered));
        }
        let client_certificate = lookup("PLUGIN_CLIENT_CERT").filter(|pem| !pem.is_empty());
        Ok(Self { debug, client_certificate, address: address.to_owned() })
    }
}

/// A directory that only this user can enter; it goes when the server ends.
pub(crate) struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    pub(crate) fn make() -> Result<Self, ServeError> {
        let temp = std::env::temp_dir();
        let base = if temp.as_os_str().len() + 40 > SOCKET_PATH_BYTES_MAX { PathBuf::from("/tmp") } else { temp };
        let mut last = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        for attempt in 0..DIRECTORY_ATTEMPTS_MAX {
            let path = base.join(format!("tfplugin-{}-{attempt}", std::process::id()));
            // Created with its mode in one call: there is no moment in which others could enter, and what exists is never used.
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(ServeError::Socket(error)),
            }
        }
        Err(ServeError::Socket(last))
    }

    /// Where the socket belongs.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // What cannot be removed is an empty directory in the temporary folder.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Serves a provider until Terraform ends it.
///
/// # Errors
/// When socket, TLS or server fail.
pub async fn serve(provider: Arc<dyn Provider>, start: Start) -> Result<(), ServeError> {
    crate::panics::install();
    let directory = PrivateDirectory::make()?;
    let socket = directory.socket();
    let listener = UnixListener::bind(&socket).map_err(ServeError::Socket)?;
    let (acceptor, certificate) = match &start.client_certificate {
        Some(pem) => {
            let (config, own) = tls::server(pem).map_err(ServeError::Tls)?;
            (Some(TlsAcceptor::from(config)), own)
        }
        None => (None, Vec::new()),
    };
    let core = Arc::new(Core::new(provider));
    announce(&start, &socket, &certificate).map_err(ServeError::Socket)?;
    tokio::spawn(mind_signals(start.debug, core.stop.clone(), core.done.clone()));
    if !start.debug {
        tokio::spawn(mind_parent(core.stop.clone(), core.done.clone()));
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
pub(crate) async fn run(core: Arc<Core>, listener: UnixListener, acceptor: Option<TlsAcceptor>) -> Result<(), ServeError> {
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

async fn accept(listener: UnixListener, acceptor: Option<TlsAcceptor>, sender: tokio::sync::mpsc::Sender<Result<Connection, std::io::Error>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        // One slow or foreign peer must not keep the next one waiting.
        tokio::spawn(async move {
            let connection = match acceptor {
                None => Connection::Plain(stream),
                Some(acceptor) => match tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Connection::Tls(Box::new(stream)),
                    Ok(Err(error)) => return tracing::warn!(%error, "connection refused"),
                    Err(_) => return tracing::warn!("connection refused: no TLS handshake in time"),
                },
            };
            // A closed channel means the server has ended.
            drop(sender.send(Ok(connection)).await);
        });
    }
}

fn announce(start: &Start, socket: &Path, certificate: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if start.debug {
        let attach = serde_json::json!({ &start.address: {
            "Protocol": "grpc", "ProtocolVersion": 6, "Pid": std::process::id(), "Test": true,
            "Addr": { "Network": "unix", "String": socket },
        }});
        writeln!(out, "Start Terraform with:\n  TF_REATTACH_PROVIDERS='{attach}'")?;
    } else {
        writeln!(out, "1|6|unix|{}|grpc|{}", socket.display(), STANDARD_NO_PAD.encode(certificate))?;
    }
    out.flush()
}

/// An interrupt reaches the whole process group. Terraform answers it by StopProvider and waits for the state, so the
/// provider goes on; only a debugged provider, which no Terraform ends, stops by it. A termination ends either in order.
async fn mind_signals(debug: bool, stop: CancellationToken, done: CancellationToken) {
    let kinds = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupts), Ok(mut terminations)) = kinds else {
        return tracing::warn!("signals cannot be listened to");
    };
    loop {
        let ends = tokio::select! {
            _ = interrupts.recv() => debug,
            _ = terminations.recv() => true,
        };
        if ends {
            stop.cancel();
            return done.cancel();
        }
        tracing::trace!("interrupt left to Terraform");
    }
}

/// Ends the provider when Terraform was killed: nobody else would.
async fn mind_parent(stop: CancellationToken, done: CancellationToken) {
    let parent = std::os::unix::process::parent_id();
    let mut ticks = tokio::time::interval(PARENT_CHECK);
    while std::os::unix::process::parent_id() == parent {
        ticks.tick().await;
    }
    stop.cancel();
    done.cancel();
}

/// A connection with or without TLS.
pub(crate) enum Connection {
    Plain(UnixStream),
    Tls(Box<tokio_rustls::server::TlsStream<UnixStream>>),
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, buffer),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
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

    #[test]
    fn only_the_owner_can_enter_the_socket_directory() {
        use std::os::unix::fs::PermissionsExt;
        let (first, second) = (PrivateDirectory::make().unwrap(), PrivateDirectory::make().unwrap());
        assert_ne!(first.0, second.0);
        assert_eq!(std::fs::metadata(&first.0).unwrap().permissions().mode() & 0o777, 0o700);
        let path = first.0.clone();
        drop(first);
        assert!(!path.exists());
    }
}
