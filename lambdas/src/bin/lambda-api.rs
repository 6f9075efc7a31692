//! The function `api`: the HTTP application under Lambda.
use axum::middleware::from_fn_with_state;
use kiven_lambdas::{Config, Function, Observer, World, requests, stop};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(Function::Api)?;
    let world = Arc::new(World::new(&config));
    let observer = Observer::start(&config, world.sdk().meter());
    stop::graceful(&observer).await;
    let router = kiven_api::router(world, config.backend).layer(from_fn_with_state(observer, requests::tell));
    lambda_http::run(router).await.map_err(|error| anyhow::anyhow!(error))
}
