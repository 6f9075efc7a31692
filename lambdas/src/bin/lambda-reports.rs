//! The function `reports`: what agents said, recorded.
use kiven_lambdas::records::{Batch, Failures};
use kiven_lambdas::reports::{Heard, away, record};
use kiven_lambdas::{Config, Function, Observer, World};
use kiven_model::report::Report;
use kiven_ports::{Clock, PortError, Ports};
use lambda_runtime::{LambdaEvent, service_fn};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(Function::Reports)?;
    let world = Arc::new(World::new(&config));
    let observer = Observer::start(&config, world.sdk().meter());
    let work = service_fn(move |event: LambdaEvent<Batch>| {
        let (world, observer) = (Arc::clone(&world), observer.clone());
        async move {
            observer.begin();
            let (mut failures, mut heard) = (Failures::default(), Heard::default());
            for message in &event.payload.records {
                let Ok(report) = serde_json::from_str::<Report>(&message.body) else {
                    tracing::warn!(message_id = message.message_id, "a report that cannot be read");
                    continue;
                };
                kiven_failpoint::pass("reports", "received", "report");
                heard.hear(&report, world.clock().now());
                if let Err(error) = one(&world, &report, &mut heard).await {
                    tracing::warn!(%error, environment_id = %report.environment_id, "the report comes again");
                    heard.fail();
                    failures.add(message);
                }
                kiven_failpoint::pass("reports", "recorded", "report");
            }
            observer.end(heard.event(world.clock().now())).await;
            Ok::<_, lambda_runtime::Error>(failures)
        }
    });
    lambda_runtime::run(work).await.map_err(|error| anyhow::anyhow!(error))
}

async fn one(world: &World, report: &Report, heard: &mut Heard) -> Result<(), PortError> {
    let away = away(world, report).await?;
    record(world, report).await?;
    heard.came_back(away);
    Ok(())
}
