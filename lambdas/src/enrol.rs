//! Enrolment: a ServiceAccount token checked against its EKS cluster's issuer, for a short-lived certificate.
use crate::agent_tokens::spend;
use anyhow::Context;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use kiven_model::api::{EnrolRequest, EnrolResponse};
use kiven_model::enrolment::AgentEnrolment;
use kiven_model::environment::Environment;
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::{Code, OperationId, Problem};
use kiven_operations::access_of;
use kiven_ports::{Clock, CustomerAccount, PortError, Ports, Random, Records};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The one ServiceAccount that may enrol.
const SERVICE_ACCOUNT: &str = "kiven-agent";
/// The audience its token must be for.
const AUDIENCE: &str = "kiven";
/// How long a certificate is good, in hours. A stolen one is soon worthless; agents renew at two thirds.
const CERTIFICATE_HOURS: i64 = 24;
/// How long an issuer may take to answer.
const ISSUER_SECONDS_MAX: u64 = 5;

/// What enrolment works with.
pub struct Enrolment<P> {
    /// The ports.
    pub ports: Arc<P>,
    /// The agents' authority.
    pub authority: Authority,
}

/// The authority that signs agents' certificates.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads certificate and key, PEM.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be.
    pub fn read(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let certificate = read(certificate)?;
        let key = KeyPair::from_pem(&read(key)?).context("the authority's key is not a key")?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).context("the authority's certificate is not one")?;
        Ok(Self { certificate, issuer })
    }

    /// Signs a certificate for the request's public key and nothing else of it.
    fn sign(&self, request: &EnrolRequest, now: Timestamp) -> Result<EnrolResponse, Problem> {
        let refuse = |_| refused("the certificate request cannot be read");
        let csr = CertificateSigningRequestParams::from_pem(&request.certificate_request).map_err(refuse)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(refuse)?;
        params.distinguished_name.push(DnType::CommonName, request.environment_id.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let expires_at = now + SignedDuration::from_hours(CERTIFICATE_HOURS);
        params.not_before = std::time::SystemTime::from(now - SignedDuration::from_mins(5)).into();
        params.not_after = std::time::SystemTime::from(expires_at).into();
        let signed = params.signed_by(&csr.public_key, &self.issuer).map_err(refuse)?;
        Ok(EnrolResponse { certificate: signed.pem(), authority: self.certificate.clone(), expires_at })
    }
}

pub(crate) fn refused(why: &str) -> Problem {
    let hint = "The agent's chart projects the right token: audience `kiven`, ServiceAccount `kiven-agent` in `kiven-system`.";
    Problem::new(Code::ENROLMENT_REFUSED, format!("enrolment refused: {why}")).hint(hint)
}

/// `POST /v1/agents/enrol`
pub async fn enrol<P: Ports>(State(enrolment): State<Arc<Enrolment<P>>>, Json(request): Json<EnrolRequest>) -> Response {
    match attempt(&enrolment, &request).await {
        Ok(answer) => {
            tracing::info!(environment_id = %request.environment_id, "agent enrolled");
            Json(answer).into_response()
        }
        Err(problem) => {
            tracing::warn!(environment_id = %request.environment_id, %problem, "agent not enrolled");
            let status = if problem.code == Code::UNAVAILABLE { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN };
            (status, Json(problem)).into_response()
        }
    }
}

async fn attempt<P: Ports>(enrolment: &Enrolment<P>, request: &EnrolRequest) -> Result<EnrolResponse, Problem> {
    let ports = &*enrolment.ports;
    let environment = ports.records().environment_get(&request.environment_id).await.map_err(unavailable)?;
    let environment = environment.ok_or_else(|| refused("there is no such environment"))?;
    let sign = || enrolment.authority.sign(request, ports.clock().now());
    match (environment.spec.agent_enrolment, &request.service_account_token, &request.agent_token) {
        (AgentEnrolment::Issuer, Some(token), None) => {
            verify(token, &issuer_of(ports, &environment).await?).await?;
            sign()
        }
        (AgentEnrolment::Token, None, Some(used)) => {
            // What cannot be signed spends no token.
            let signed = sign()?;
            spend(ports, &environment.id, used).await?;
            Ok(signed)
        }
        (AgentEnrolment::Issuer, _, _) => Err(refused("this environment's agent proves itself with its ServiceAccount's token")),
        (AgentEnrolment::Token, _, _) => Err(refused("this environment's agent proves itself with a single-use token")),
    }
}

pub(crate) fn unavailable(error: PortError) -> Problem {
    match error {
        PortError::Refused(problem) => problem,
        error => Problem::new(Code::UNAVAILABLE, "enrolment cannot be checked right now").detail(error.to_string()),
    }
}

/// The issuer that EKS itself names, never the one in the token.
async fn issuer_of<P: Ports>(ports: &P, environment: &Environment) -> Result<String, Problem> {
    if let Some(connected) = &environment.connected {
        return Ok(connected.oidc_issuer.clone());
    }
    let nobody = OperationId::from_random(ports.random().bits());
    let access = access_of(environment, &nobody).ok_or_else(|| refused("the environment has no connection yet"))?;
    Ok(ports.account().cluster_get(&access, &environment.spec.eks_cluster_name).await.map_err(unavailable)?.oidc_issuer)
}

#[derive(Debug, Deserialize)]
struct Discovery {
    jwks_uri: String,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
}

/// Verifies signature, issuer, audience, expiry and subject.
async fn verify(token: &str, issuer: &str) -> Result<(), Problem> {
    let keys = keys_of(issuer)
        .await
        .map_err(|error| Problem::new(Code::UNAVAILABLE, "the cluster's issuer cannot be asked").detail(format!("{error:#}")))?;
    let header = decode_header(token).map_err(|_| refused("the token cannot be read"))?;
    let key = header.kid.as_deref().and_then(|id| keys.find(id)).ok_or_else(|| refused("the token's key is not the cluster's"))?;
    let key = DecodingKey::from_jwk(key).map_err(|_| refused("the token's key cannot be used"))?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let claims = decode::<Claims>(token, &key, &validation).map_err(|error| refused(&format!("the token is not valid: {error}")))?.claims;
    if claims.sub != format!("system:serviceaccount:{SYSTEM_NAMESPACE}:{SERVICE_ACCOUNT}") {
        return Err(refused("the token is another ServiceAccount's"));
    }
    Ok(())
}

async fn keys_of(issuer: &str) -> anyhow::Result<JwkSet> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(ISSUER_SECONDS_MAX)).build()?;
    let base = issuer.trim_end_matches('/');
    let discovery: Discovery = client.get(format!("{base}/.well-known/openid-configuration")).send().await?.error_for_status()?.json().await?;
    Ok(client.get(discovery.jwks_uri).send().await?.error_for_status()?.json().await?)
}
