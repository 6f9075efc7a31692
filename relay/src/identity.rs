//! The relay's certificate: from files, or from the function `enrol` for a key that is made here and never leaves the process.
use crate::config::IdentityConfig;
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use kiven_aws::Sdk;
use kiven_aws::invoke::function_invoke;
use kiven_model::api::EnrolResponse;
use kiven_model::relay::RelayEnrolRequest;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::time::Duration;

/// Relays that began together do not end together: by up to this part of a certificate's life.
const SPREAD_PERCENT: i64 = 10;

/// What the relay shows to agents.
pub(crate) struct Identity {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) key: String,
    /// The authority of agents' certificates, PEM.
    pub(crate) authority: String,
    /// After how long the relay should end, so that the next one gets a new certificate; never for files.
    pub(crate) good_for: Option<Duration>,
}

impl Identity {
    /// Reads the files, or asks for a certificate.
    pub(crate) async fn obtain(config: &IdentityConfig, sdk: &Sdk, now: Timestamp) -> anyhow::Result<Self> {
        match config {
            IdentityConfig::Files(paths) => {
                let mut texts = Vec::new();
                for path in paths {
                    texts.push(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?);
                }
                let [certificate, key, authority] = <[String; 3]>::try_from(texts).map_err(|_| anyhow::anyhow!("three files were read"))?;
                Ok(Self { certificate, key, authority, good_for: None })
            }
            IdentityConfig::Enrol(function) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let request = RelayEnrolRequest { relay_certificate_request: CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()? };
                let answer: EnrolResponse = function_invoke(sdk, function, &request).await.context("the relay has no certificate")?;
                let good_for = good_for(&answer, now);
                Ok(Self { certificate: answer.certificate, key: key.serialize_pem(), authority: answer.authority, good_for: Some(good_for) })
            }
        }
    }
}

/// Two thirds of the certificate's life, less a part that is another one for each certificate.
fn good_for(answer: &EnrolResponse, now: Timestamp) -> Duration {
    let life = answer.expires_at.duration_since(now);
    let spread = answer.certificate.bytes().map(i64::from).sum::<i64>() % (SPREAD_PERCENT + 1);
    let seconds = life.as_secs() * 2 / 3 * (100 - spread) / 100;
    Duration::try_from(SignedDuration::from_secs(seconds.max(0))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_ends_well_before_its_certificate_and_not_with_the_others() {
        let life = |certificate: &str| {
            let answer = EnrolResponse {
                certificate: certificate.to_owned(),
                authority: String::new(),
                expires_at: Timestamp::from_second(30 * 86_400).unwrap(),
            };
            good_for(&answer, Timestamp::UNIX_EPOCH).as_secs()
        };
        let lives: std::collections::BTreeSet<u64> = ["a", "b", "c", "d", "e"].into_iter().map(life).collect();
        assert_eq!(lives.len(), 5);
        assert!(lives.iter().all(|seconds| (18 * 86_400..=20 * 86_400).contains(seconds)), "{lives:?}");
    }
}
