//! The function `enrol`: the only one that may sign with the agents' authority.
use anyhow::Context;
use axum::Router;
use axum::routing::post;
use futures_util::future::BoxFuture;
use kiven_lambdas::enrol::{Enrolment, enrol, relay_request};
use kiven_lambdas::{Config, Function, Observer, World, stop};
use kiven_model::relay::RelayEnrolRequest;
use lambda_http::Service;
use lambda_http::request::LambdaRequest;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(Function::Enrol)?;
    let world = Arc::new(World::new(&config));
    let observer = Observer::start(&config, world.sdk().meter());
    stop::graceful(&observer).await;
    let authority = config.authority.context("the authority is not configured")?;
    let enrolment = Arc::new(Enrolment::new(world, authority, observer));
    let router = Router::new().route("/v1/agents/enrol", post(enrol)).with_state(Arc::clone(&enrolment));
    let work = service_fn(move |event: LambdaEvent<Value>| match relay_request(&event.payload) {
        Ok(Some(request)) => relay(Arc::clone(&enrolment), request),
        Ok(None) => agent(router.clone(), event),
        Err(error) => Box::pin(async move { Err(error.into()) }),
    });
    lambda_runtime::run(work).await.map_err(|error| anyhow::anyhow!(error))
}

type Answer = BoxFuture<'static, Result<Value, lambda_runtime::Error>>;

fn relay(enrolment: Arc<Enrolment>, request: RelayEnrolRequest) -> Answer {
    Box::pin(async move {
        let answer = enrolment.relay(&request).await.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        Ok(serde_json::to_value(answer)?)
    })
}

fn agent(router: Router, event: LambdaEvent<Value>) -> Answer {
    let answer = serde_json::from_value::<LambdaRequest>(event.payload)
        .map(|request| lambda_http::Adapter::from(router).call(LambdaEvent::new(request, event.context)));
    Box::pin(async move { Ok(serde_json::to_value(answer?.await?)?) })
}
