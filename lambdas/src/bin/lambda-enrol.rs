//! The function `enrol`: the only one that may sign with the agents' authority.
use anyhow::Context;
use axum::Router;
use axum::routing::post;
use kiven_lambdas::enrol::{Authority, Enrolment, enrol};
use kiven_lambdas::{Config, World, start_logs};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    start_logs();
    let config = Config::from_env()?;
    let (certificate, key) = config.authority.clone().context("missing environment variables: KIVEN_CA_CERTIFICATE_PATH, KIVEN_CA_KEY_PATH")?;
    let enrolment = Arc::new(Enrolment { ports: Arc::new(World::new(&config)), authority: Authority::read(&certificate, &key)? });
    let router = Router::new().route("/v1/agents/enrol", post(enrol::<World>)).with_state(enrolment);
    lambda_http::run(router).await.map_err(|error| anyhow::anyhow!(error))
}
