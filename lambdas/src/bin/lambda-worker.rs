//! The function `worker`: each ring drives one operation, or lets the schedules of some databases decide.
use kiven_lambdas::drive::answer_ring;
use kiven_lambdas::records::{Batch, Failures, Ring};
use kiven_lambdas::{Config, World, start_logs};
use kiven_operations::tick_all;
use lambda_runtime::{LambdaEvent, service_fn};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    start_logs();
    let config = Config::from_env()?;
    let (world, lease) = (Arc::new(World::new(&config)), config.lease);
    let work = service_fn(move |event: LambdaEvent<Batch>| {
        let world = Arc::clone(&world);
        async move {
            let mut failures = Failures::default();
            for message in &event.payload.records {
                match Ring::parse(&message.body) {
                    Some(Ring::Operation(id)) => {
                        if let Err(error) = answer_ring(&world, &id, lease).await {
                            tracing::warn!(%error, operation_id = %id, "the ring comes again");
                            failures.add(message);
                        }
                    }
                    Some(Ring::Schedules(databases)) => tick_all(&*world, &databases).await,
                    None => tracing::warn!(message_id = message.message_id, "a ring for nothing"),
                }
            }
            Ok::<_, lambda_runtime::Error>(failures)
        }
    });
    lambda_runtime::run(work).await.map_err(|error| anyhow::anyhow!(error))
}
