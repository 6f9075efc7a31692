//! Checkpoint, WAL switch, and the wait until the archive has it: what makes a pause safe.
use crate::objects::{api, cnpg, resource};
use kiven_model::command::{CommandOutcome, CommandOutput};
use kiven_model::names::{AGENT_ROLE, DATABASE_NAMESPACE, DatabaseName, role_secret};
use kiven_model::{Code, DatabaseId, Problem};
use kube::{Client, ResourceExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the archive may take before the command is to be asked again.
const ARCHIVE_SECONDS_MAX: u64 = 20;
/// How often PostgreSQL is asked meanwhile.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    #[error("the API server did not answer")]
    Kube(#[from] kube::Error),
    #[error("PostgreSQL did not answer")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("{0}")]
    Missing(&'static str),
    #[error("the server's authority cannot be used")]
    Tls,
}

/// Runs the command.
pub(crate) async fn archive_wal(client: &Client, database: &DatabaseId, cluster: &str) -> CommandOutcome {
    match try_archive(client, database, cluster).await {
        Ok(Some(wal)) => CommandOutcome::Done(CommandOutput::Archived { wal }),
        Ok(None) => {
            let problem = Problem::new(Code::ARCHIVE_UNCONFIRMED, "the last WAL has not arrived in the archive yet");
            CommandOutcome::Retry(problem.hint("Look at the condition ContinuousArchiving of the Cluster."))
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, format!("the WAL could not be switched: {error}")).detail(cause))
        }
    }
}

async fn try_archive(client: &Client, database: &DatabaseId, cluster: &str) -> Result<Option<String>, ArchiveError> {
    let sql = connect(client, database, cluster).await?;
    sql.batch_execute("CHECKPOINT").await?;
    let row = sql.query_one("SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal())", &[]).await?;
    let wal: String = row.get(0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(ARCHIVE_SECONDS_MAX);
    while tokio::time::Instant::now() < deadline {
        let row = sql.query_one("SELECT coalesce(last_archived_wal, '') FROM pg_catalog.pg_stat_archiver", &[]).await?;
        let archived: String = row.get(0);
        // Segment names of one time line sort as they were written; longer names are backup labels of the same segment.
        if archived.get(..24).unwrap_or_default() >= wal.as_str() {
            return Ok(Some(wal));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// Connects to the primary's pod under the agent's own role, verifying the database's own authority.
async fn connect(client: &Client, database: &DatabaseId, cluster: &str) -> Result<tokio_postgres::Client, ArchiveError> {
    let object = cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters").get(cluster).await?;
    let spec = &object.data["spec"];
    let authority = spec["certificates"]["serverCASecret"].as_str().ok_or(ArchiveError::Missing("the Cluster names no authority"))?;
    let host = spec["certificates"]["serverAltDNSNames"][0].as_str().ok_or(ArchiveError::Missing("the Cluster has no name"))?;
    let name =
        host.strip_suffix("-rw").and_then(|name| DatabaseName::parse(name).ok()).ok_or(ArchiveError::Missing("the Cluster's name is not Kiven's"))?;
    let (address, port) = primary(client, cluster).await?;
    let certificate = crate::secrets::read(client, authority, "ca.crt").await?;
    let password = crate::secrets::read(client, &role_secret(&name, database, AGENT_ROLE), "password").await?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| ArchiveError::Tls)?).map_err(|_| ArchiveError::Tls)?;
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut config = tokio_postgres::Config::new();
    config.host(host).hostaddr(address).port(port).user(AGENT_ROLE).password(password).dbname("postgres");
    config.ssl_mode(tokio_postgres::config::SslMode::Require).connect_timeout(Duration::from_secs(5)).application_name("kiven-agent");
    let (sql, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to PostgreSQL ended");
        }
    });
    Ok(sql)
}

/// The primary pod's address and PostgreSQL port.
async fn primary(client: &Client, cluster: &str) -> Result<(std::net::IpAddr, u16), ArchiveError> {
    let pods = api(client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    let selector = format!("cnpg.io/cluster={cluster},cnpg.io/instanceRole=primary");
    let pod = crate::objects::labelled(&pods, &selector).await?.into_iter().next().ok_or(ArchiveError::Missing("there is no primary"))?;
    tracing::debug!(pod = pod.name_any(), "asking the primary");
    let address = pod.data["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok()).ok_or(ArchiveError::Missing("the primary has no address"))?;
    let ports = pod.data["spec"]["containers"].as_array().into_iter().flatten().filter_map(|c| c["ports"].as_array()).flatten();
    let port = ports.filter(|port| port["name"] == "postgresql").find_map(|port| port["containerPort"].as_u64());
    Ok((address, port.and_then(|port| u16::try_from(port).ok()).unwrap_or(5432)))
}
