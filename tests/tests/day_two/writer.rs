//! A writer that never stops: one row after the other, each acknowledged one remembered, a new connection whenever one is lost.
use anyhow::{Context, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long one write or one connection may take before it counts as lost.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The pause between two tries while nobody answers.
const PAUSE: Duration = Duration::from_millis(5);

/// Where and as whom to write.
#[derive(Clone)]
pub struct Target {
    pub config: tokio_postgres::Config,
    /// The authority to verify; none over a socket.
    pub authority: Option<String>,
}

impl Target {
    /// A connection string of the API, with the password and authority that the stack keeps for people; at another port if one is named.
    pub fn of_stack(uri: &str, port: Option<u16>, state: &Path, name: &str) -> anyhow::Result<Self> {
        // What only libpq knows is left out; the name is verified all the same.
        let (address, options) = uri.split_once('?').unwrap_or((uri, ""));
        let hostaddr = options.split('&').find_map(|option| option.strip_prefix("hostaddr=")).unwrap_or("127.0.0.1");
        let mut config: tokio_postgres::Config = address.parse()?;
        if let Some(port) = port {
            let published = config.get_ports().first().context("the connection string has no port")?;
            config = address.replace(&format!(":{published}/"), &format!(":{port}/")).parse()?;
            ensure!(config.get_ports() == [port], "the connection string has no port that could be replaced");
        }
        config.hostaddr(hostaddr.parse()?).ssl_mode(tokio_postgres::config::SslMode::Require).connect_timeout(ANSWER_MAX);
        let passwords = std::fs::read_to_string(state.join("pgpass"))?;
        let user = config.get_user().unwrap_or_default().to_owned();
        let line = passwords.lines().find(|line| line.split(':').nth(3) == Some(user.as_str()));
        config.password(line.and_then(|line| line.splitn(5, ':').nth(4)).unwrap_or_default());
        let authority = std::fs::read_to_string(state.join("ca").join(format!("{name}.crt")))?;
        Ok(Self { config, authority: Some(authority) })
    }

    pub async fn connect(&self) -> anyhow::Result<tokio_postgres::Client> {
        let client = match &self.authority {
            Some(pem) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
                let (client, connection) =
                    self.config.connect(MakeRustlsConnect::new(tls.with_root_certificates(roots).with_no_client_auth())).await?;
                tokio::spawn(connection);
                client
            }
            None => {
                let (client, connection) = self.config.connect(tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                client
            }
        };
        Ok(client)
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The longest time between two acknowledged writes since it was last asked, in microseconds.
    gap: AtomicI64,
    written: AtomicI64,
}

/// A running writer.
pub struct Writer {
    table: &'static str,
    shared: Arc<Shared>,
    task: JoinHandle<Vec<i64>>,
}

impl Writer {
    /// Makes a table and begins.
    pub async fn start(target: Target, table: &'static str) -> anyhow::Result<Self> {
        target.connect().await?.batch_execute(&format!("CREATE TABLE {table} (n bigint PRIMARY KEY)")).await?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(write(target, table, Arc::clone(&shared)));
        Ok(Self { table, shared, task })
    }

    /// Waits until writes are acknowledged, and forgets the gap so far.
    pub async fn settle(&self) -> bool {
        let from = self.shared.written.load(Ordering::Relaxed);
        let writes = kiven_tests::within(Duration::from_secs(20), async || self.shared.written.load(Ordering::Relaxed) > from + 20).await;
        self.shared.gap.store(0, Ordering::Relaxed);
        writes
    }

    /// The longest time without an acknowledged write since [`Writer::settle`].
    pub async fn gap(&self) -> Duration {
        let from = self.shared.written.load(Ordering::Relaxed);
        kiven_tests::within(Duration::from_secs(20), async || self.shared.written.load(Ordering::Relaxed) > from + 20).await;
        Duration::from_micros(u64::try_from(self.shared.gap.load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// Ends it; answers its table and what was acknowledged.
    pub async fn stop(self) -> anyhow::Result<(&'static str, Vec<i64>)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        Ok((self.table, self.task.await?))
    }
}

async fn write(target: Target, table: &str, shared: Arc<Shared>) -> Vec<i64> {
    let (mut acknowledged, mut n, mut last) = (Vec::new(), 0, Instant::now());
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(client) = target.connect().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while !shared.stop.load(Ordering::Relaxed) {
            n += 1;
            // Without a prepared statement, which a pooler of before 1.21 does not know of.
            let insert = format!("INSERT INTO {table} VALUES ({n})");
            if !matches!(tokio::time::timeout(ANSWER_MAX, client.batch_execute(&insert)).await, Ok(Ok(()))) {
                break;
            }
            acknowledged.push(n);
            let gap = i64::try_from(last.elapsed().as_micros()).unwrap_or(i64::MAX);
            last = Instant::now();
            shared.gap.fetch_max(gap, Ordering::Relaxed);
            shared.written.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
    acknowledged
}
