//! Configuration of every function: environment variables, all missing ones named together.
//!
//! | variable | what it is | used by |
//! |---|---|---|
//! | `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | the function's own identity, set by Lambda | all |
//! | `AWS_ENDPOINT_URL_*` | endpoints instead of AWS's | tests, the local stack |
//! | `KIVEN_TABLE`, `KIVEN_PAYLOAD_BUCKET` | the store | all |
//! | `KIVEN_DUE_SHARDS` | shards of the due index, 64 by default | all |
//! | `KIVEN_DOORBELL_URL` | the doorbell's queue | all |
//! | `KIVEN_PRINCIPAL_ARN`, `KIVEN_RELAY_ADDRESS`, `KIVEN_AGENT_API_URL` | what environments are told | api |
//! | `KIVEN_LEASE_SECONDS` | how long a drive's lease is, 90 by default | worker |
//! | `KIVEN_CA_CERTIFICATE_PATH`, `KIVEN_CA_KEY_PATH` | the agents' authority | enrol |
use anyhow::bail;
use kiven_aws::store::{DUE_SHARDS, StoreConfig};
use kiven_aws::{Credentials, Endpoints};
use kiven_model::api::Backend;
use std::path::PathBuf;
use std::time::Duration;

/// How long a drive may run effects before another may take over.
const LEASE_SECONDS: u64 = 90;

/// A function's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// SDK clients.
    pub aws: kiven_aws::Config,
    /// Table and bucket.
    pub store: StoreConfig,
    /// The doorbell's queue.
    pub doorbell_url: String,
    /// What environments are told.
    pub backend: Backend,
    /// How long a drive's lease is.
    pub lease: Duration,
    /// The agents' authority: certificate and key, PEM.
    pub authority: Option<(PathBuf, PathBuf)>,
}

impl Config {
    /// Parses the environment.
    ///
    /// # Errors
    /// Names every missing variable.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let needed = [
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "KIVEN_TABLE",
            "KIVEN_PAYLOAD_BUCKET",
            "KIVEN_DOORBELL_URL",
            "KIVEN_PRINCIPAL_ARN",
            "KIVEN_RELAY_ADDRESS",
            "KIVEN_AGENT_API_URL",
        ];
        let missing: Vec<&str> = needed.into_iter().filter(|name| lookup(name).is_none_or(|value| value.is_empty())).collect();
        if !missing.is_empty() {
            bail!("missing environment variables: {}", missing.join(", "));
        }
        let value = |name: &str| lookup(name).unwrap_or_default();
        let number = |name: &str, default: u64| lookup(name).map_or(Ok(default), |text| text.parse());
        let credentials = Credentials::Static {
            access_key_id: value("AWS_ACCESS_KEY_ID"),
            secret_access_key: value("AWS_SECRET_ACCESS_KEY"),
            session_token: lookup("AWS_SESSION_TOKEN"),
        };
        let authority = lookup("KIVEN_CA_CERTIFICATE_PATH").zip(lookup("KIVEN_CA_KEY_PATH"));
        Ok(Self {
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
            lease: Duration::from_secs(number("KIVEN_LEASE_SECONDS", LEASE_SECONDS)?),
            authority: authority.map(|(certificate, key)| (certificate.into(), key.into())),
        })
    }

    /// Parses the process's own environment.
    ///
    /// # Errors
    /// Names every missing variable.
    pub fn from_env() -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Self::parse(|name| std::env::var(name).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_variables_are_named_together() {
        let error = Config::parse(|name| (name == "AWS_REGION").then(|| "eu-west-1".to_owned())).unwrap_err().to_string();
        assert!(error.contains("KIVEN_TABLE") && error.contains("KIVEN_DOORBELL_URL") && !error.contains("AWS_REGION"));
    }
}
