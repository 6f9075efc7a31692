//! Enrolment: a projected ServiceAccount token and a certificate request, for a short-lived certificate.
use crate::config::Config;
use anyhow::{Context, bail};
use jiff::Timestamp;
use kiven_model::api::{EnrolRequest, EnrolResponse};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::time::Duration;

/// The longest that enrolment may take.
const ENROL_SECONDS_MAX: u64 = 10;

/// What the agent shows to the relay. The key never leaves the process.
pub(crate) struct Identity {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) key: String,
    /// What the relay is verified with, PEM.
    pub(crate) authority: String,
    /// When to ask for the next: two thirds of its life gone.
    pub(crate) renew_at: Timestamp,
    /// From when it is worthless.
    pub(crate) expires_at: Timestamp,
}

/// Asks for a certificate with a fresh key.
pub(crate) async fn enrol(config: &Config) -> anyhow::Result<Identity> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, config.environment_id.as_str());
    let certificate_request = params.serialize_request(&key)?.pem()?;
    let token =
        tokio::fs::read_to_string(&config.token_path).await.with_context(|| format!("cannot read the token at {}", config.token_path.display()))?;
    let request = EnrolRequest { environment_id: config.environment_id.clone(), service_account_token: token.trim().to_owned(), certificate_request };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(ENROL_SECONDS_MAX)).build()?;
    let response = client.post(format!("{}/v1/agents/enrol", config.api_url)).json(&request).send().await.context("the API cannot be reached")?;
    if !response.status().is_success() {
        let status = response.status();
        let problem: Option<kiven_model::Problem> = response.json().await.ok();
        bail!("enrolment was refused ({status}): {}", problem.map_or_else(|| "no reason given".to_owned(), |p| p.to_string()));
    }
    let answer: EnrolResponse = response.json().await.context("the answer to the enrolment cannot be read")?;
    let now = crate::now();
    let life = answer.expires_at.duration_since(now);
    Ok(Identity {
        certificate: answer.certificate,
        key: key.serialize_pem(),
        authority: answer.authority,
        renew_at: now + life * 2 / 3,
        expires_at: answer.expires_at,
    })
}
