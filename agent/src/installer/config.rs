//! The installer's configuration: environment variables of the hook's Job. Proxies and authorities are where every client of
//! the process looks for them: `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`.
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest that readiness is waited for.
const WAIT_SECONDS_MAX: u64 = 1800;

/// What the chart sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// `KIVEN_INSTALL_MIRROR`: where manifests are instead of their origin, each under its file name.
    pub(crate) mirror: Option<String>,
    /// `KIVEN_IMAGE_REGISTRY`: where images are instead of ghcr.io, under the same repositories.
    pub(crate) registry: Option<String>,
    /// `KIVEN_IMAGE_PULL_SECRETS`: Secrets of `kiven-system`, separated by commas.
    pub(crate) image_pull_secrets: Vec<String>,
    /// `KIVEN_OPERATOR_NAMESPACE`: the namespace of an operator that is there already and is to be used.
    pub(crate) operator_namespace: Option<String>,
    /// `KIVEN_INSTALL_WAIT_SECONDS`: how long operator and plugin may take to be ready; 0 waits for nothing.
    pub(crate) wait: Duration,
    /// `KIVEN_AGENT_IMAGE`: the image of this very process, for probes.
    pub(crate) agent_image: Option<String>,
    /// `KIVEN_POSTGRESQL_IMAGES`: a JSON object, major to image.
    pub(crate) postgresql_images: BTreeMap<u32, String>,
}

impl Config {
    pub(crate) fn parse(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let value = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mirror = value("KIVEN_INSTALL_MIRROR");
        if mirror.as_ref().is_some_and(|mirror| !mirror.starts_with("https://") && !mirror.starts_with("http://")) {
            bail!("KIVEN_INSTALL_MIRROR is not an address that begins with https:// or http://");
        }
        let seconds: u64 =
            value("KIVEN_INSTALL_WAIT_SECONDS").map_or(Ok(300), |text| text.parse()).context("KIVEN_INSTALL_WAIT_SECONDS is no number")?;
        let images = value("KIVEN_POSTGRESQL_IMAGES").unwrap_or_else(|| "{}".to_owned());
        Ok(Self {
            mirror,
            registry: value("KIVEN_IMAGE_REGISTRY"),
            image_pull_secrets: value("KIVEN_IMAGE_PULL_SECRETS").map_or_else(Vec::new, |names| names.split(',').map(str::to_owned).collect()),
            operator_namespace: value("KIVEN_OPERATOR_NAMESPACE"),
            wait: Duration::from_secs(seconds.min(WAIT_SECONDS_MAX)),
            agent_image: value("KIVEN_AGENT_IMAGE"),
            postgresql_images: serde_json::from_str(&images).context("KIVEN_POSTGRESQL_IMAGES is no JSON object of major and image")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_takes_its_default_and_what_is_wrong_is_named() {
        let config = Config::parse(|_| None).unwrap();
        assert_eq!((config.mirror, config.wait, config.image_pull_secrets), (None, Duration::from_secs(300), Vec::new()));
        let images = Config::parse(|name| (name == "KIVEN_POSTGRESQL_IMAGES").then(|| r#"{"17":"a","18":"b"}"#.to_owned())).unwrap();
        assert_eq!(images.postgresql_images.keys().copied().collect::<Vec<_>>(), [17, 18]);
        for (name, wrong) in [("KIVEN_INSTALL_MIRROR", "file:///x"), ("KIVEN_INSTALL_WAIT_SECONDS", "soon"), ("KIVEN_POSTGRESQL_IMAGES", "17")] {
            let error = Config::parse(|asked| (asked == name).then(|| wrong.to_owned())).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
