//! The function `api`: the HTTP application under Lambda.
use kiven_lambdas::{Config, World, start_logs};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    start_logs();
    let config = Config::from_env()?;
    let router = kiven_api::router(Arc::new(World::new(&config)), config.backend);
    lambda_http::run(router).await.map_err(|error| anyhow::anyhow!(error))
}
