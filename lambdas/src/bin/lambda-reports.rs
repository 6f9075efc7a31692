//! The function `reports`: what agents said, recorded.
use kiven_lambdas::records::{Batch, Failures};
use kiven_lambdas::{Config, World, reports, start_logs};
use kiven_model::report::Report;
use lambda_runtime::{LambdaEvent, service_fn};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    start_logs();
    let world = Arc::new(World::new(&Config::from_env()?));
    let work = service_fn(move |event: LambdaEvent<Batch>| {
        let world = Arc::clone(&world);
        async move {
            let mut failures = Failures::default();
            for message in &event.payload.records {
                let Ok(report) = serde_json::from_str::<Report>(&message.body) else {
                    tracing::warn!(message_id = message.message_id, "a report that cannot be read");
                    continue;
                };
                kiven_failpoint::pass("reports", "received", "report");
                if let Err(error) = reports::record(&*world, &report).await {
                    tracing::warn!(%error, environment_id = %report.environment_id, "the report comes again");
                    failures.add(message);
                }
                kiven_failpoint::pass("reports", "recorded", "report");
            }
            Ok::<_, lambda_runtime::Error>(failures)
        }
    });
    lambda_runtime::run(work).await.map_err(|error| anyhow::anyhow!(error))
}
