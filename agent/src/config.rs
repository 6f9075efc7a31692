//! The agent's configuration: environment variables, all missing ones named together.
use crate::proxy::Proxy;
use anyhow::{Context, bail};
use kiven_model::EnvironmentId;
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::statistics::STATISTICS_SECONDS;
use kiven_seal::TrustedKey;
use std::path::PathBuf;
use std::time::Duration;

/// Longest pause between two looks at an instance's statistics.
const STATISTICS_SECONDS_MAX: u64 = 3_600;

/// What the chart sets.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// `KIVEN_ENVIRONMENT_ID`.
    pub(crate) environment_id: EnvironmentId,
    /// `KIVEN_RELAY_ADDRESS`: `host:port`; the relay's certificate must carry the host.
    pub(crate) relay_address: String,
    /// `KIVEN_API_URL`: where to enrol.
    pub(crate) api_url: String,
    /// `KIVEN_TOKEN_PATH`: the projected ServiceAccount token with audience `kiven`.
    pub(crate) token_path: PathBuf,
    /// `KIVEN_AGENT_TOKEN_PATH`: where the first single-use token is; set where the environment's agent enrols with tokens.
    pub(crate) agent_token_path: Option<PathBuf>,
    /// `HTTPS_PROXY`, `NO_PROXY`, `KIVEN_PROXY_USERNAME`, `KIVEN_PROXY_PASSWORD`: the way to the relay and the API.
    pub(crate) proxy: Option<Proxy>,
    /// `KIVEN_CA_PATH`: authorities, PEM, that are trusted for the relay and the API beside the public ones.
    pub(crate) ca_path: Option<PathBuf>,
    /// `KIVEN_EKS_CLUSTER`, for the runbook only; a variable of the shell stands there when it is not set.
    pub(crate) eks_cluster_name: String,
    /// `KIVEN_AWS_REGION`, likewise.
    pub(crate) aws_region: String,
    /// `KIVEN_OPERATOR_NAMESPACE`: where the operator runs; the agent's own namespace when it is not set.
    pub(crate) operator_namespace: String,
    /// `KIVEN_PLUGIN_TLS`: whether the backup plugin's certificates are the agent's to renew. Set where the installer made them.
    pub(crate) plugin_tls: bool,
    /// `KIVEN_TRUSTED_READERS`: the customer's keys, with commas between; where there are any, logs are sealed only to keys that one
    /// of them has signed.
    pub(crate) trusted_readers: Vec<TrustedKey>,
    /// `KIVEN_STATISTICS_SECONDS`: how often each instance is asked for its statistics; never with 0.
    pub(crate) statistics_every: Option<Duration>,
}

impl Config {
    pub(crate) fn parse(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let names = ["KIVEN_ENVIRONMENT_ID", "KIVEN_RELAY_ADDRESS", "KIVEN_API_URL", "KIVEN_TOKEN_PATH"];
        let missing: Vec<&str> = names.into_iter().filter(|name| lookup(name).is_none_or(|value| value.is_empty())).collect();
        if !missing.is_empty() {
            bail!("missing environment variables: {}. The chart sets them from the environment's `agent_values`.", missing.join(", "));
        }
        let value = |name: &str| lookup(name).unwrap_or_default();
        Ok(Self {
            environment_id: EnvironmentId::parse(&value(names[0]))?,
            relay_address: value(names[1]),
            api_url: value(names[2]).trim_end_matches('/').to_owned(),
            token_path: PathBuf::from(value(names[3])),
            agent_token_path: lookup("KIVEN_AGENT_TOKEN_PATH").filter(|value| !value.is_empty()).map(PathBuf::from),
            ca_path: lookup("KIVEN_CA_PATH").filter(|value| !value.is_empty()).map(PathBuf::from),
            proxy: Proxy::parse(&lookup)?,
            eks_cluster_name: lookup("KIVEN_EKS_CLUSTER").filter(|value| !value.is_empty()).unwrap_or_else(|| "$CLUSTER".to_owned()),
            aws_region: lookup("KIVEN_AWS_REGION").filter(|value| !value.is_empty()).unwrap_or_else(|| "$REGION".to_owned()),
            operator_namespace: lookup("KIVEN_OPERATOR_NAMESPACE").filter(|value| !value.is_empty()).unwrap_or_else(|| SYSTEM_NAMESPACE.to_owned()),
            plugin_tls: value("KIVEN_PLUGIN_TLS") == "true",
            trusted_readers: trusted_readers(&value("KIVEN_TRUSTED_READERS"))?,
            statistics_every: statistics_every(&value("KIVEN_STATISTICS_SECONDS"))?,
        })
    }

    /// The authorities of the customer's own, PEM; read anew each time, since they are replaced while the agent runs.
    pub(crate) async fn private_authorities(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.ca_path else { return Ok(None) };
        let read = tokio::fs::read_to_string(path).await;
        Ok(Some(read.with_context(|| format!("cannot read the authorities at {}", path.display()))?))
    }

    /// The proxy, for hosts that are reached through it.
    pub(crate) fn proxy_for(&self, host: &str) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| proxy.is_for(host))
    }

    /// The name that the relay's certificate must carry.
    pub(crate) fn relay_host(&self) -> &str {
        self.relay_address.rsplit_once(':').map_or(self.relay_address.as_str(), |(host, _)| host)
    }
}

/// One that cannot be read ends the agent: to leave it out could mean to trust everybody.
fn trusted_readers(text: &str) -> anyhow::Result<Vec<TrustedKey>> {
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    keys.map(TrustedKey::parse).collect::<Result<_, _>>().context("KIVEN_TRUSTED_READERS, from the chart's trustedReaders")
}

fn statistics_every(value: &str) -> anyhow::Result<Option<Duration>> {
    let seconds = match value {
        "" => STATISTICS_SECONDS,
        value => value.parse().context("KIVEN_STATISTICS_SECONDS is not a number of seconds")?,
    };
    if seconds > STATISTICS_SECONDS_MAX {
        bail!("KIVEN_STATISTICS_SECONDS is more than {STATISTICS_SECONDS_MAX}");
    }
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_reader_that_cannot_be_read_is_not_left_out() {
        assert!(trusted_readers("").unwrap().is_empty());
        let key = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        assert_eq!(trusted_readers(&format!("{key}, {key}")).unwrap().len(), 2);
        assert!(trusted_readers(&format!("{key},MCow")).is_err());
    }

    #[test]
    fn all_missing_variables_are_named_together() {
        let error = Config::parse(|name| (name == "KIVEN_API_URL").then(|| "http://x".to_owned())).unwrap_err().to_string();
        for (value, expected) in [("", Some(30)), ("5", Some(5)), ("0", None)] {
            assert_eq!(statistics_every(value).unwrap(), expected.map(Duration::from_secs), "{value}");
        }
        assert!(statistics_every("often").is_err() && statistics_every("9999").is_err());
        assert!(error.contains("KIVEN_ENVIRONMENT_ID") && error.contains("KIVEN_TOKEN_PATH") && !error.contains("KIVEN_API_URL,"));
    }
}
