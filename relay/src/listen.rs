//! The way in: TCP, then mutual TLS 1.3, as many handshakes at once as the processor is worth, each in bounded time.
use crate::identity::Identity;
use crate::metrics::{Metrics, Refusal};
use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Handshakes at once; beyond it connections wait in the kernel.
const HANDSHAKES_MAX: usize = 64;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long nothing is accepted after the kernel had no place for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps waiting: all agents come back at once when a relay has ended.
const BACKLOG: u32 = 4_096;

/// What is shown to agents and demanded of them.
///
/// Tickets are never sent: an agent that comes back shows its certificate again, so that a revocation is seen; and 10,000
/// whole handshakes are a few seconds of one processor.
pub(crate) fn tls(shown: &Identity) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(shown.authority.as_bytes()) {
        roots.add(certificate.context("the agents' authority cannot be read")?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().context("there is no authority")?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(shown.certificate.as_bytes()).collect::<Result<_, _>>().context("the relay's certificate cannot be read")?;
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).context("the relay's key cannot be read")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Listens.
pub(crate) fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connections that have shown a certificate of the authority's. It ends with its receiver.
pub(crate) fn connections(listener: TcpListener, tls: TlsAcceptor, metrics: Arc<Metrics>) -> mpsc::Receiver<TlsStream<TcpStream>> {
    let (out, connections) = mpsc::channel(HANDSHAKES_MAX);
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = out.closed() => return,
                accepted = accept(&listener, &places) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let (tls, out, metrics) = (tls.clone(), out.clone(), Arc::clone(&metrics));
            tokio::spawn(async move {
                let _place = place;
                match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                    // Nobody takes it once the relay stops.
                    Ok(Ok(stream)) => drop(out.send(stream).await),
                    Ok(Err(error)) => {
                        metrics.refused(Refusal::Handshake);
                        tracing::debug!(%error, "a handshake failed");
                    }
                    Err(_) => metrics.refused(Refusal::Handshake),
                }
            });
        }
    });
    connections
}

/// The next connection and its place among the handshakes.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection has no TCP_NODELAY");
            }
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "no connection can be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
