//! Single-use tokens with which agents enrol, for environments that say so.
use crate::App;
use crate::answer::Answer;
use crate::auth::{Caller, key_digest};
use crate::extract::{Path, Query};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::SignedDuration;
use kiven_model::enrolment::{AgentEnrolment, AgentToken, AgentTokenView, FIRST_TOKEN_MINUTES, agent_token_text, is_digest};
use kiven_model::{Code, Problem};
use kiven_ports::{Clock, PortError, Ports, Random, Records, Write};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Which token.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The `id` of the answer that made it.
    #[cfg_attr(feature = "openapi", schemars(regex(pattern = r"^[0-9a-f]{64}$")))]
    #[serde(deserialize_with = "digest")]
    token_id: String,
}

fn digest<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_digest(&text) { Ok(text) } else { Err(D::Error::custom("not the id of a token")) }
}

/// `POST /v1/environments/{id}/agent-tokens`
pub(crate) async fn create<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<AgentTokenView>)> {
    let environment = app.environment(&caller, &id).await?;
    match environment.spec.agent_enrolment {
        AgentEnrolment::Token => {}
        AgentEnrolment::Issuer => {
            let problem = Problem::new(Code::WRONG_STATE, format!("the agent of `{}` enrols by its cluster's issuer", environment.spec.name));
            return Err(problem.hint("It needs no token. An environment whose agent does has `agent_enrolment = \"token\"`.").into());
        }
    }
    let token = agent_token_text([app.ports.random().bits(), app.ports.random().bits()]);
    let now = app.ports.clock().now();
    let record = AgentToken {
        sha256: key_digest(&token),
        environment_id: environment.id,
        created_by: caller.actor,
        created_at: now,
        expires_at: now + SignedDuration::from_mins(FIRST_TOKEN_MINUTES),
    };
    app.ports.records().records_commit(vec![Write::AgentToken(Box::new(record.clone()))]).await?;
    tracing::info!(environment_id = %record.environment_id, token_id = record.sha256, actor = record.created_by, "agent token made");
    Ok((StatusCode::CREATED, Json(AgentTokenView { id: record.sha256, token, expires_at: record.expires_at })))
}

/// `DELETE /v1/environments/{id}/agent-tokens`
pub(crate) async fn revoke<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(which): Query<Which>,
) -> Answer<StatusCode> {
    let environment = app.environment(&caller, &id).await?;
    let gone = Write::AgentTokenGone { environment: environment.id.clone(), sha256: which.token_id.clone() };
    match app.ports.records().records_commit(vec![gone]).await {
        Ok(()) => tracing::info!(environment_id = %environment.id, token_id = which.token_id, actor = caller.actor, "agent token revoked"),
        Err(PortError::Conflict(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(StatusCode::NO_CONTENT)
}
