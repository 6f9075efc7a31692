//! The function `reports`: what agents said, recorded.
use kiven_lambdas::records::Batch;
use kiven_lambdas::reports::record_all;
use kiven_lambdas::{Config, Function, Observer, World, stop};
use kiven_ports::{Clock, Ports};
use lambda_runtime::{LambdaEvent, service_fn};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(Function::Reports)?;
    let world = Arc::new(World::new(&config));
    let observer = Observer::start(&config, world.sdk().meter());
    stop::graceful(&observer).await;
    let work = service_fn(move |event: LambdaEvent<Batch>| {
        let (world, observer) = (Arc::clone(&world), observer.clone());
        async move {
            observer.begin();
            let (failures, heard) = record_all(&*world, &event.payload).await;
            observer.end(heard.event(world.clock().now())).await;
            Ok::<_, lambda_runtime::Error>(failures)
        }
    });
    lambda_runtime::run(work).await.map_err(|error| anyhow::anyhow!(error))
}
