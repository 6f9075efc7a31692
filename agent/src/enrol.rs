//! Enrolment: a certificate request and a proof, for a short-lived certificate. The proof is a projected ServiceAccount token, or a
//! single-use token where Kiven cannot ask the cluster's issuer.
use crate::agent_token::{self, AskError, InSecret};
use crate::config::Config;
use anyhow::Context;
use jiff::Timestamp;
use kiven_model::enrolment::{EnrolRequest, EnrolResponse};
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
pub(crate) async fn enrol(config: &Config, client: &kube::Client) -> anyhow::Result<Identity> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, config.environment_id.as_str());
    let certificate_request = params.serialize_request(&key)?.pem()?;
    let request = |service_account_token, agent_token| EnrolRequest {
        environment_id: config.environment_id.clone(),
        service_account_token,
        agent_token,
        certificate_request: certificate_request.clone(),
    };
    let answer = match &config.agent_token_path {
        None => {
            let read = tokio::fs::read_to_string(&config.token_path).await;
            let token = read.with_context(|| format!("cannot read the token at {}", config.token_path.display()))?;
            ask(config, &request(Some(token.trim().to_owned()), None)).await?
        }
        Some(path) => {
            // Once spent it may be taken away.
            let first = tokio::fs::read_to_string(path).await.unwrap_or_default();
            agent_token::enrol(&InSecret(client), first.trim(), async |used| ask(config, &request(None, Some(used))).await).await?
        }
    };
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

async fn ask(config: &Config, request: &EnrolRequest) -> Result<EnrolResponse, AskError> {
    let client = way_to_the_api(config).await.context("no way to ask the API")?;
    let response = client.post(format!("{}/v1/agents/enrol", config.api_url)).json(request).send().await.context("the API cannot be reached")?;
    let status = response.status();
    if status.is_success() {
        return Ok(response.json().await.context("the answer to the enrolment cannot be read")?);
    }
    let problem: Option<kiven_model::Problem> = response.json().await.ok();
    let why = problem.map_or_else(|| "no reason given".to_owned(), |problem| problem.to_string());
    if status == reqwest::StatusCode::FORBIDDEN {
        return Err(AskError::Refused { status: status.as_u16(), why });
    }
    Err(anyhow::anyhow!("enrolment did not happen ({status}): {why}").into())
}

/// A client that goes through the proxy where there is one for the API, and trusts the customer's authorities too.
async fn way_to_the_api(config: &Config) -> anyhow::Result<reqwest::Client> {
    let mut client = reqwest::Client::builder().timeout(Duration::from_secs(ENROL_SECONDS_MAX)).no_proxy();
    let url = reqwest::Url::parse(&config.api_url)?;
    if let Some(proxy) = url.host_str().and_then(|host| config.proxy_for(host)) {
        client = client.proxy(proxy.for_https()?);
    }
    if let Some(authorities) = config.private_authorities().await? {
        client = client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(authorities.as_bytes())?);
    }
    Ok(client.build()?)
}
