//! The relay's configuration: environment variables, all missing ones named together.
use anyhow::bail;
use kiven_aws::store::{DUE_SHARDS, StoreConfig};
use kiven_aws::{Credentials, Endpoints};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What the container is started with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// `KIVEN_RELAY_LISTEN`: address and port.
    pub(crate) listen: SocketAddr,
    /// `KIVEN_RELAY_CERTIFICATE_PATH`, PEM.
    pub(crate) certificate: PathBuf,
    /// `KIVEN_RELAY_KEY_PATH`, PEM.
    pub(crate) key: PathBuf,
    /// `KIVEN_CA_CERTIFICATE_PATH`: the authority of agents' certificates, PEM.
    pub(crate) authority: PathBuf,
    /// `KIVEN_REPORTS_URL`: the queue of reports.
    pub(crate) reports_url: String,
    /// `KIVEN_TABLE` and `KIVEN_PAYLOAD_BUCKET`.
    pub(crate) store: StoreConfig,
    /// SDK clients.
    pub(crate) aws: kiven_aws::Config,
}

impl Config {
    pub(crate) fn parse(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let needed = [
            "KIVEN_RELAY_LISTEN",
            "KIVEN_RELAY_CERTIFICATE_PATH",
            "KIVEN_RELAY_KEY_PATH",
            "KIVEN_CA_CERTIFICATE_PATH",
            "KIVEN_REPORTS_URL",
            "KIVEN_TABLE",
            "KIVEN_PAYLOAD_BUCKET",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ];
        let missing: Vec<&str> = needed.into_iter().filter(|name| lookup(name).is_none_or(|value| value.is_empty())).collect();
        if !missing.is_empty() {
            bail!("missing environment variables: {}", missing.join(", "));
        }
        let value = |name: &str| lookup(name).unwrap_or_default();
        let credentials = Credentials::Static {
            access_key_id: value("AWS_ACCESS_KEY_ID"),
            secret_access_key: value("AWS_SECRET_ACCESS_KEY"),
            session_token: lookup("AWS_SESSION_TOKEN"),
        };
        Ok(Self {
            listen: value("KIVEN_RELAY_LISTEN").parse()?,
            certificate: value("KIVEN_RELAY_CERTIFICATE_PATH").into(),
            key: value("KIVEN_RELAY_KEY_PATH").into(),
            authority: value("KIVEN_CA_CERTIFICATE_PATH").into(),
            reports_url: value("KIVEN_REPORTS_URL"),
            store: StoreConfig { table: value("KIVEN_TABLE"), bucket: value("KIVEN_PAYLOAD_BUCKET"), due_shards: DUE_SHARDS },
            aws: kiven_aws::Config { region: value("AWS_REGION"), credentials, endpoints: Endpoints::parse(&lookup) },
        })
    }
}
