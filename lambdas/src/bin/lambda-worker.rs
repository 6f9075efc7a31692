//! The function `worker`: each ring drives one operation.
use kiven_lambdas::drive::answer_ring;
use kiven_lambdas::records::{Batch, Failures};
use kiven_lambdas::{Config, World, start_logs};
use kiven_model::OperationId;
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
                let Ok(id) = OperationId::parse(&message.body) else {
                    tracing::warn!(message_id = message.message_id, "a ring for no operation");
                    continue;
                };
                if let Err(error) = answer_ring(&world, &id, lease).await {
                    tracing::warn!(%error, operation_id = %id, "the ring comes again");
                    failures.add(message);
                }
            }
            Ok::<_, lambda_runtime::Error>(failures)
        }
    });
    lambda_runtime::run(work).await.map_err(|error| anyhow::anyhow!(error))
}
