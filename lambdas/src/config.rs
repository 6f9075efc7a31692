//! Configuration of every function: environment variables, all missing ones named together.
//!
//! | variable | what it is | used by |
//! |---|---|---|
//! | `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | the function's own identity, set by Lambda | all |
//! | `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_*` | endpoints instead of AWS's | tests, the local stack |
//! | `KIVEN_TABLE`, `KIVEN_PAYLOAD_BUCKET` | the store | all |
//! | `KIVEN_DUE_SHARDS` | shards of the due index, 64 by default | all |
//! | `KIVEN_DOORBELL_URL` | the doorbell's queue | all but enrol |
//! | `KIVEN_PRINCIPAL_ARN` | who Kiven is in customers' accounts | api; worker and enrol with the next |
//! | `KIVEN_ASSUME_PRINCIPAL` | `true`: become the principal first; else the function is it | api, worker, enrol |
//! | `KIVEN_RELAY_ADDRESS` | host and port of the relay | api, enrol with a key in KMS |
//! | `KIVEN_AGENT_API_URL` | where agents enrol | api |
//! | `KIVEN_LEASE_SECONDS` | how long a drive's lease is, 90 by default | worker |
//! | `KIVEN_CA_KEY_ID` | the agents' authority: its key in KMS | enrol |
//! | `KIVEN_CA_CERTIFICATE_PATH`, `KIVEN_CA_KEY_PATH` | the same from files | enrol, the local stack |
//! | `KIVEN_METRICS_NAMESPACE` | where metrics go, `Kiven` by default | all |
//! | `KIVEN_OTLP_ENDPOINT` | where traces go by OTLP over HTTP; nowhere by default | all |
use crate::telemetry::NAMESPACE;
use anyhow::{Context, bail};
use kiven_aws::store::{DUE_SHARDS, StoreConfig};
use kiven_aws::{Credentials, Endpoints};
use kiven_model::api::Backend;
use std::path::PathBuf;
use std::time::Duration;

/// How long a drive may run effects before another may take over.
const LEASE_SECONDS: u64 = 90;

/// The functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The HTTP API.
    Api,
    /// Drives operations.
    Worker,
    /// Rings again for what is due.
    Sweep,
    /// Records what agents said.
    Reports,
    /// Certificates.
    Enrol,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Api, Self::Worker, Self::Sweep, Self::Reports, Self::Enrol];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Sweep => "sweep",
            Self::Reports => "reports",
            Self::Enrol => "enrol",
        }
    }

    /// What it cannot start without, beside what all need.
    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Api => &["KIVEN_DOORBELL_URL", "KIVEN_PRINCIPAL_ARN", "KIVEN_RELAY_ADDRESS", "KIVEN_AGENT_API_URL"],
            Self::Worker | Self::Sweep | Self::Reports => &["KIVEN_DOORBELL_URL"],
            Self::Enrol => &[],
        }
    }
}

/// What all functions need.
const NEEDED: [&str; 5] = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "KIVEN_TABLE", "KIVEN_PAYLOAD_BUCKET"];

/// Where the authority's key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityConfig {
    /// In KMS, by id or ARN; relays get certificates for this host.
    Kms {
        /// The key.
        key_id: String,
        /// The name by which agents reach relays.
        relay_host: String,
    },
    /// In files, PEM.
    Files {
        /// The authority's certificate.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// A function's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which function this is.
    pub function: Function,
    /// SDK clients.
    pub aws: kiven_aws::Config,
    /// Table and bucket.
    pub store: StoreConfig,
    /// The doorbell's queue; empty where the function does not ring.
    pub doorbell_url: String,
    /// What environments are told.
    pub backend: Backend,
    /// The role to become before customers' roles are assumed.
    pub assume: Option<String>,
    /// How long a drive's lease is.
    pub lease: Duration,
    /// The agents' authority.
    pub authority: Option<AuthorityConfig>,
    /// Where metrics go.
    pub namespace: String,
    /// Where traces go.
    pub otlp_endpoint: Option<String>,
}

impl Config {
    /// Parses the environment.
    ///
    /// # Errors
    /// Names every missing variable.
    pub fn parse(function: Function, lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let assumes = set("KIVEN_ASSUME_PRINCIPAL").as_deref() == Some("true");
        let mut needed = NEEDED.to_vec();
        needed.extend(function.needs());
        if assumes && !needed.contains(&"KIVEN_PRINCIPAL_ARN") {
            needed.push("KIVEN_PRINCIPAL_ARN");
        }
        if function == Function::Enrol {
            match (set("KIVEN_CA_KEY_ID"), set("KIVEN_CA_CERTIFICATE_PATH"), set("KIVEN_CA_KEY_PATH")) {
                (Some(_), _, _) => needed.push("KIVEN_RELAY_ADDRESS"),
                (None, None, None) => needed.push("KIVEN_CA_KEY_ID"),
                (None, _, _) => needed.extend(["KIVEN_CA_CERTIFICATE_PATH", "KIVEN_CA_KEY_PATH"]),
            }
        }
        let missing: Vec<&str> = needed.into_iter().filter(|name| set(name).is_none()).collect();
        if !missing.is_empty() {
            bail!("missing environment variables: {}", missing.join(", "));
        }
        let value = |name: &str| set(name).unwrap_or_default();
        let number =
            |name: &str, default: u64| set(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} is not a number: {text}")));
        let credentials = Credentials::Static {
            access_key_id: value("AWS_ACCESS_KEY_ID"),
            secret_access_key: value("AWS_SECRET_ACCESS_KEY"),
            session_token: set("AWS_SESSION_TOKEN"),
        };
        Ok(Self {
            function,
            aws: kiven_aws::Config { region: value("AWS_REGION"), credentials, endpoints: Endpoints::parse(&lookup) },
            store: StoreConfig {
                table: value("KIVEN_TABLE"),
                bucket: value("KIVEN_PAYLOAD_BUCKET"),
                due_shards: u32::try_from(number("KIVEN_DUE_SHARDS", u64::from(DUE_SHARDS))?)?,
            },
            doorbell_url: value("KIVEN_DOORBELL_URL"),
            backend: Backend {
                principal_arn: value("KIVEN_PRINCIPAL_ARN"),
                relay_address: value("KIVEN_RELAY_ADDRESS"),
                api_url: value("KIVEN_AGENT_API_URL"),
            },
            assume: assumes.then(|| value("KIVEN_PRINCIPAL_ARN")),
            lease: Duration::from_secs(number("KIVEN_LEASE_SECONDS", LEASE_SECONDS)?),
            authority: authority(&set),
            namespace: set("KIVEN_METRICS_NAMESPACE").unwrap_or_else(|| NAMESPACE.to_owned()),
            otlp_endpoint: set("KIVEN_OTLP_ENDPOINT"),
        })
    }

    /// Parses the process's own environment.
    ///
    /// # Errors
    /// Names every missing variable.
    pub fn from_env(function: Function) -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Self::parse(function, |name| std::env::var(name).ok())
    }
}

fn authority(set: &impl Fn(&str) -> Option<String>) -> Option<AuthorityConfig> {
    if let Some(key_id) = set("KIVEN_CA_KEY_ID") {
        let address = set("KIVEN_RELAY_ADDRESS").unwrap_or_default();
        let relay_host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned();
        return Some(AuthorityConfig::Kms { key_id, relay_host });
    }
    let (certificate, key) = set("KIVEN_CA_CERTIFICATE_PATH").zip(set("KIVEN_CA_KEY_PATH"))?;
    Some(AuthorityConfig::Files { certificate: certificate.into(), key: key.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(function: Function, variables: &[(&str, &str)]) -> Result<Config, String> {
        let found = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::parse(function, found).map_err(|error| format!("{error:#}"))
    }

    const IDENTITY: [(&str, &str); 5] = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("KIVEN_TABLE", "kiven"),
        ("KIVEN_PAYLOAD_BUCKET", "payloads"),
    ];

    #[test]
    fn all_missing_variables_are_named_together() {
        let said = |function, variables: &[(&str, &str)]| parse(function, variables).unwrap_err();
        assert_eq!(
            said(Function::Api, &IDENTITY[..3]),
            "missing environment variables: KIVEN_TABLE, KIVEN_PAYLOAD_BUCKET, KIVEN_DOORBELL_URL, KIVEN_PRINCIPAL_ARN, KIVEN_RELAY_ADDRESS, KIVEN_AGENT_API_URL"
        );
        assert_eq!(said(Function::Enrol, &IDENTITY), "missing environment variables: KIVEN_CA_KEY_ID");
        let half = [&IDENTITY[..], &[("KIVEN_CA_KEY_PATH", "/ca.key")]].concat();
        assert_eq!(said(Function::Enrol, &half), "missing environment variables: KIVEN_CA_CERTIFICATE_PATH");
        let assuming = [&IDENTITY[..], &[("KIVEN_ASSUME_PRINCIPAL", "true"), ("KIVEN_DOORBELL_URL", "q")]].concat();
        assert_eq!(said(Function::Worker, &assuming), "missing environment variables: KIVEN_PRINCIPAL_ARN");
        let number = [&IDENTITY[..], &[("KIVEN_DOORBELL_URL", "q"), ("KIVEN_DUE_SHARDS", "many")]].concat();
        assert!(said(Function::Sweep, &number).starts_with("KIVEN_DUE_SHARDS is not a number: many"));
    }

    #[test]
    fn enrol_signs_with_kms_for_the_relays_name() {
        let variables = [("KIVEN_CA_KEY_ID", "key"), ("KIVEN_RELAY_ADDRESS", "relay.example.com:443")];
        let config = parse(Function::Enrol, &[&IDENTITY[..], &variables].concat()).unwrap();
        let relay_host = "relay.example.com".to_owned();
        assert_eq!(config.authority, Some(AuthorityConfig::Kms { key_id: "key".to_owned(), relay_host }));
        assert_eq!((config.assume, config.namespace.as_str(), config.otlp_endpoint), (None, "Kiven", None));
    }
}
