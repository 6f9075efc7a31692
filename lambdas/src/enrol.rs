//! Enrolment: a ServiceAccount token checked against its EKS cluster's issuer, for a short-lived certificate.
use crate::agent_tokens::spend;
use crate::authority::Authority;
use crate::config::AuthorityConfig;
use crate::telemetry::{Event, Unit};
use crate::{Observer, World};
use anyhow::Context;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use kiven_model::api::{EnrolRequest, EnrolResponse};
use kiven_model::enrolment::AgentEnrolment;
use kiven_model::environment::Environment;
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::relay::RelayEnrolRequest;
use kiven_model::{Code, OperationId, Problem};
use kiven_operations::access_of;
use kiven_ports::{Clock, CustomerAccount, PortError, Ports, Random, Records};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The one ServiceAccount that may enrol.
const SERVICE_ACCOUNT: &str = "kiven-agent";
/// The audience its token must be for.
const AUDIENCE: &str = "kiven";
/// How long an issuer may take to answer.
const ISSUER_SECONDS_MAX: u64 = 5;

/// What enrolment works with.
pub struct Enrolment {
    /// The ports.
    pub world: Arc<World>,
    /// Where the authority's key is.
    pub config: AuthorityConfig,
    /// What it tells.
    pub observer: Observer,
    /// Opened by the first who needs it.
    authority: OnceCell<Authority>,
}

impl Enrolment {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(world: Arc<World>, config: AuthorityConfig, observer: Observer) -> Self {
        Self { world, config, observer, authority: OnceCell::new() }
    }

    async fn authority(&self) -> Result<&Authority, Problem> {
        let open = async || Authority::open(&self.config, self.world.sdk(), self.world.clock().now(), self.world.random().bits()).await;
        let opened = self.authority.get_or_try_init(open).await;
        opened.map_err(|error| Problem::new(Code::UNAVAILABLE, "the authority cannot be reached").detail(format!("{error:#}")))
    }

    /// Answers a relay; who may ask is AWS's to check, as nobody else may invoke this function with such an event.
    ///
    /// # Errors
    /// When its request cannot be read, or the authority cannot sign.
    pub async fn relay(&self, request: &RelayEnrolRequest) -> Result<EnrolResponse, Problem> {
        self.observer.begin();
        let (now, serial) = (self.world.clock().now(), self.world.random().bits());
        let answer = match self.authority().await {
            Ok(authority) => authority.sign_relay(&request.relay_certificate_request, now, serial).await,
            Err(problem) => Err(problem),
        };
        self.tell("relay", None, answer.as_ref().err()).await;
        answer
    }

    async fn tell(&self, whose: &str, environment: Option<&str>, problem: Option<&Problem>) {
        let outcome = match problem {
            None => "enrolled",
            Some(problem) if problem.code == Code::UNAVAILABLE => "unavailable",
            Some(_) => "refused",
        };
        let mut event = Event::new("enrolment", self.world.clock().now()).field("whose", whose).field("Outcome", outcome);
        if let Some(environment) = environment {
            event = event.field("environment_id", environment);
        }
        if let Some(problem) = problem {
            event = event.field("problem", problem.to_string()).field("detail", problem.detail.clone());
        }
        self.observer.end(event.metric(&["Outcome"], "Enrolments", Unit::Count, 1.0)).await;
    }
}

pub(crate) fn refused(why: &str) -> Problem {
    let hint = "The agent's chart projects the right token: audience `kiven`, ServiceAccount `kiven-agent` in `kiven-system`.";
    Problem::new(Code::ENROLMENT_REFUSED, format!("enrolment refused: {why}")).hint(hint)
}

/// `POST /v1/agents/enrol`
pub async fn enrol(State(enrolment): State<Arc<Enrolment>>, Json(request): Json<EnrolRequest>) -> Response {
    enrolment.observer.begin();
    let answer = attempt(&enrolment, &request).await;
    enrolment.tell("agent", Some(request.environment_id.as_str()), answer.as_ref().err()).await;
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => {
            let status = if problem.code == Code::UNAVAILABLE { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN };
            (status, Json(problem)).into_response()
        }
    }
}

async fn attempt(enrolment: &Enrolment, request: &EnrolRequest) -> Result<EnrolResponse, Problem> {
    let ports = &*enrolment.world;
    let environment = ports.records().environment_get(&request.environment_id).await.map_err(unavailable)?;
    let environment = environment.ok_or_else(|| refused("there is no such environment"))?;
    match (environment.spec.agent_enrolment, &request.service_account_token, &request.agent_token) {
        (AgentEnrolment::Issuer, Some(token), None) => {
            verify(token, &issuer_of(ports, &environment).await?).await?;
            signed(enrolment, request).await
        }
        (AgentEnrolment::Token, None, Some(used)) => {
            // What cannot be signed spends no token.
            let signed = signed(enrolment, request).await?;
            spend(ports, &environment.id, used).await?;
            Ok(signed)
        }
        (AgentEnrolment::Issuer, _, _) => Err(refused("this environment's agent proves itself with its ServiceAccount's token")),
        (AgentEnrolment::Token, _, _) => Err(refused("this environment's agent proves itself with a single-use token")),
    }
}

async fn signed(enrolment: &Enrolment, request: &EnrolRequest) -> Result<EnrolResponse, Problem> {
    let ports = &*enrolment.world;
    let (now, serial) = (ports.clock().now(), ports.random().bits());
    enrolment.authority().await?.sign_agent(&request.environment_id, &request.certificate_request, now, serial).await
}

/// What may invoke the function: a request through the API, or a relay, whose event no request can look like.
///
/// # Errors
/// When the event is neither.
pub fn relay_request(event: &serde_json::Value) -> anyhow::Result<Option<RelayEnrolRequest>> {
    if event.get("requestContext").is_some() {
        return Ok(None);
    }
    serde_json::from_value(event.clone()).map(Some).context("the event is neither a request nor a relay's")
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
