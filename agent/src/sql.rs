//! The agent's way into a database: its own role, over TLS, verifying the database's own authority.
use crate::objects::{api, cnpg, resource};
use kiven_model::DatabaseId;
use kiven_model::names::{AGENT_ROLE, DATABASE_NAMESPACE, DatabaseName, role_secret};
use kube::{Client, ResourceExt};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// PostgreSQL's own port, where a pod names none.
const PORT: u16 = 5432;
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Why PostgreSQL could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    #[error("the API server did not answer")]
    Kube(#[from] kube::Error),
    #[error("PostgreSQL did not answer")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("{0}")]
    Missing(&'static str),
    #[error("the server's authority cannot be used")]
    Tls,
}

/// Connects to the primary's pod under the agent's own role, verifying the database's own authority.
pub(crate) async fn connect(client: &Client, database: &DatabaseId, cluster: &str) -> Result<tokio_postgres::Client, SqlError> {
    Ok(open(client, database, cluster).await?.0)
}

/// Whether a new connection to the primary is shown this certificate, PEM.
pub(crate) async fn shows(client: &Client, database: &DatabaseId, cluster: &str, certificate: &str) -> Result<bool, SqlError> {
    let expected = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| SqlError::Tls)?;
    let (_, shown) = open(client, database, cluster).await?;
    Ok(shown.as_ref() == Some(&expected))
}

/// Verifies as usual, and remembers the certificate that it was shown.
#[derive(Debug)]
struct Remembers {
    inner: Arc<WebPkiServerVerifier>,
    seen: Arc<Mutex<Option<CertificateDer<'static>>>>,
}

impl ServerCertVerifier for Remembers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        Ok(verified)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

type Opened = (tokio_postgres::Client, Option<CertificateDer<'static>>);

/// What opens a database, by name: nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// The name in the server's certificate.
    host: String,
    /// The Secret with the authority that signed it.
    authority: String,
    /// The Secret with the password of the agent's own role.
    password: String,
}

impl Entrance {
    /// From the Cluster.
    pub(crate) fn of(cluster: &Value, database: &DatabaseId) -> Result<Self, SqlError> {
        let certificates = &cluster["spec"]["certificates"];
        let authority = certificates["serverCASecret"].as_str().ok_or(SqlError::Missing("the Cluster names no authority"))?;
        let host = certificates["serverAltDNSNames"][0].as_str().ok_or(SqlError::Missing("the Cluster has no name"))?;
        let name =
            host.strip_suffix("-rw").and_then(|name| DatabaseName::parse(name).ok()).ok_or(SqlError::Missing("the Cluster's name is not Kiven's"))?;
        Ok(Self { host: host.to_owned(), authority: authority.to_owned(), password: role_secret(&name, database, AGENT_ROLE) })
    }
}

/// Where one instance answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    address: IpAddr,
    port: u16,
}

impl Place {
    /// From the instance's pod; `None` while it has no address.
    pub(crate) fn of(pod: &Value) -> Option<Self> {
        let address = pod["status"]["podIP"].as_str()?.parse().ok()?;
        let ports = pod["spec"]["containers"].as_array().into_iter().flatten().filter_map(|c| c["ports"].as_array()).flatten();
        let port = ports.filter(|port| port["name"] == "postgresql").find_map(|port| port["containerPort"].as_u64());
        Some(Self { address, port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT) })
    }
}

/// Opens a connection to one instance; `ask` says to which of its databases, and how.
pub(crate) async fn enter(
    client: &Client,
    entrance: &Entrance,
    place: Place,
    ask: impl FnOnce(&mut tokio_postgres::Config),
) -> Result<Opened, SqlError> {
    let certificate = crate::secrets::read(client, &entrance.authority, "ca.crt").await?;
    let password = crate::secrets::read(client, &entrance.password, "password").await?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| SqlError::Tls)?).map_err(|_| SqlError::Tls)?;
    let inner = WebPkiServerVerifier::builder(Arc::new(roots)).build().map_err(|_| SqlError::Tls)?;
    let seen = Arc::new(Mutex::new(None));
    let verifier = Arc::new(Remembers { inner, seen: Arc::clone(&seen) });
    let mut tls = rustls::ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // One connection, of which there may be sixty: room for the tickets of hundreds of servers is not needed.
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = tokio_postgres::Config::new();
    config.host(&entrance.host).hostaddr(place.address).port(place.port).user(AGENT_ROLE).password(password).dbname("postgres");
    config.ssl_mode(tokio_postgres::config::SslMode::Require).connect_timeout(CONNECT_MAX).application_name("kiven-agent");
    ask(&mut config);
    let (sql, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to PostgreSQL ended");
        }
    });
    let shown = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok((sql, shown))
}

async fn open(client: &Client, database: &DatabaseId, cluster: &str) -> Result<Opened, SqlError> {
    let object = cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters").get(cluster).await?;
    let entrance = Entrance::of(&object.data, database)?;
    enter(client, &entrance, primary(client, cluster).await?, |_| {}).await
}

/// Where the primary answers.
async fn primary(client: &Client, cluster: &str) -> Result<Place, SqlError> {
    let pods = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    let selector = format!("cnpg.io/cluster={cluster},cnpg.io/instanceRole=primary");
    let pod = crate::objects::labelled(&pods, &selector).await?.into_iter().next().ok_or(SqlError::Missing("there is no primary"))?;
    tracing::debug!(pod = pod.name_any(), "asking the primary");
    Place::of(&pod.data).ok_or(SqlError::Missing("the primary has no address"))
}
