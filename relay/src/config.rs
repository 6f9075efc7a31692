//! The relay's configuration: environment variables, all missing ones named together.
//!
//! | variable | what it is |
//! |---|---|
//! | `AWS_REGION` | the region |
//! | `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` | where the task's role has its credentials, set by ECS |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | instead of it, elsewhere |
//! | `KIVEN_RELAY_LISTEN` | address and port |
//! | `KIVEN_RELAY_HEALTH_LISTEN` | where `/healthz`, `/readyz` and `/metrics` are answered; nowhere by default |
//! | `KIVEN_DUE_SHARDS` | shards of the due index, 64 by default; as the functions have it |
//! | `KIVEN_TABLE`, `KIVEN_PAYLOAD_BUCKET`, `KIVEN_REPORTS_URL` | the store, the queue of reports |
//! | `KIVEN_METRICS_BUCKET` | the archive of statistics |
//! | `KIVEN_ENROL_FUNCTION` | the function that gives the relay its certificate |
//! | `KIVEN_RELAY_CERTIFICATE_PATH`, `KIVEN_RELAY_KEY_PATH`, `KIVEN_CA_CERTIFICATE_PATH` | instead of it, PEM files |
use anyhow::bail;
use kiven_aws::store::{DUE_SHARDS, StoreConfig};
use kiven_aws::{Credentials, Endpoints};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the relay's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IdentityConfig {
    /// From the function `enrol`, for a key that only this process has.
    Enrol(String),
    /// From files, PEM: certificate, key, the agents' authority.
    Files([PathBuf; 3]),
}

/// What the container is started with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// Address and port of health and metrics, if there are any.
    pub(crate) health_listen: Option<SocketAddr>,
    /// The relay's certificate.
    pub(crate) identity: IdentityConfig,
    /// The queue of reports.
    pub(crate) reports_url: String,
    /// The bucket of statistics.
    pub(crate) metrics_bucket: String,
    /// Table and bucket.
    pub(crate) store: StoreConfig,
    /// SDK clients.
    pub(crate) aws: kiven_aws::Config,
}

const NEEDED: [&str; 6] = ["KIVEN_RELAY_LISTEN", "KIVEN_REPORTS_URL", "KIVEN_TABLE", "KIVEN_PAYLOAD_BUCKET", "KIVEN_METRICS_BUCKET", "AWS_REGION"];
const FILES: [&str; 3] = ["KIVEN_RELAY_CERTIFICATE_PATH", "KIVEN_RELAY_KEY_PATH", "KIVEN_CA_CERTIFICATE_PATH"];
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

impl Config {
    pub(crate) fn parse(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let (role, function) = (set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), set("KIVEN_ENROL_FUNCTION"));
        let mut needed = NEEDED.to_vec();
        if role.is_none() {
            needed.extend(KEYS);
        }
        if function.is_none() {
            let some = FILES.iter().any(|name| set(name).is_some());
            needed.extend(if some { &FILES[..] } else { &["KIVEN_ENROL_FUNCTION"] });
        }
        let missing: Vec<&str> = needed.into_iter().filter(|name| set(name).is_none()).collect();
        if !missing.is_empty() {
            bail!("missing environment variables: {}", missing.join(", "));
        }
        let value = |name: &str| set(name).unwrap_or_default();
        let credentials = match role {
            Some(uri) => Credentials::container(&uri)?,
            None => Credentials::Static {
                access_key_id: value("AWS_ACCESS_KEY_ID"),
                secret_access_key: value("AWS_SECRET_ACCESS_KEY"),
                session_token: set("AWS_SESSION_TOKEN"),
            },
        };
        Ok(Self {
            listen: value("KIVEN_RELAY_LISTEN").parse()?,
            health_listen: set("KIVEN_RELAY_HEALTH_LISTEN").map(|address| address.parse()).transpose()?,
            identity: function.map_or_else(|| IdentityConfig::Files(FILES.map(|name| value(name).into())), IdentityConfig::Enrol),
            reports_url: value("KIVEN_REPORTS_URL"),
            metrics_bucket: value("KIVEN_METRICS_BUCKET"),
            store: StoreConfig {
                table: value("KIVEN_TABLE"),
                bucket: value("KIVEN_PAYLOAD_BUCKET"),
                due_shards: set("KIVEN_DUE_SHARDS").map_or(Ok(DUE_SHARDS), |n| n.parse())?,
            },
            aws: kiven_aws::Config { region: value("AWS_REGION"), credentials, endpoints: Endpoints::parse(&lookup) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[(&str, &str)]) -> Result<Config, String> {
        let all = NEEDED.map(|name| (name, if name == "KIVEN_RELAY_LISTEN" { "127.0.0.1:8443" } else { "x" }));
        let found = |name: &str| all.iter().chain(more).find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::parse(found).map_err(|error| error.to_string())
    }

    #[test]
    fn a_task_needs_its_role_and_the_function_that_gives_its_certificate() {
        let config = parse(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1"), ("KIVEN_ENROL_FUNCTION", "kiven-enrol")]).unwrap();
        assert_eq!(config.identity, IdentityConfig::Enrol("kiven-enrol".to_owned()));
        assert!(matches!(config.aws.credentials, Credentials::Provider(_)));
    }

    #[test]
    fn all_missing_variables_are_named_together() {
        let missing = "missing environment variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, KIVEN_ENROL_FUNCTION";
        assert_eq!(parse(&[]).unwrap_err(), missing);
        let half = parse(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/r"), ("KIVEN_RELAY_KEY_PATH", "/k")]).unwrap_err();
        assert_eq!(half, "missing environment variables: KIVEN_RELAY_CERTIFICATE_PATH, KIVEN_CA_CERTIFICATE_PATH");
    }
}
