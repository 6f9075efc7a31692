//! The function `worker`: each ring drives one operation, or lets the schedules of some databases decide.
use jiff::Timestamp;
use kiven_lambdas::drive::time_left;
use kiven_lambdas::records::{Batch, Failures, Ring};
use kiven_lambdas::telemetry::{Event, Unit};
use kiven_lambdas::worker::answer;
use kiven_lambdas::{Config, Function, Observer, World, stop};
use kiven_operations::tick_all;
use kiven_ports::{Clock, Ports};
use lambda_runtime::{LambdaEvent, service_fn};
use std::sync::Arc;
use tracing::Instrument;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(Function::Worker)?;
    let (world, lease) = (Arc::new(World::new(&config)), config.lease);
    let observer = Observer::start(&config, world.sdk().meter());
    stop::graceful(&observer).await;
    let work = service_fn(move |event: LambdaEvent<Batch>| {
        let (world, observer) = (Arc::clone(&world), observer.clone());
        async move {
            let deadline = i64::try_from(event.context.deadline).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
            let mut failures = Failures::default();
            for message in &event.payload.records {
                observer.begin();
                let now = world.clock().now();
                let told = match Ring::parse(&message.body) {
                    Some(Ring::Operation(id)) => {
                        let span = tracing::info_span!("ring", operation_id = %id);
                        let time = time_left(deadline.unwrap_or(now), now);
                        // Boxed: the compiler follows types within each other only so deep.
                        let (answered, event) = Box::pin(answer(&world, &id, lease, time)).instrument(span).await;
                        if answered.is_err() {
                            failures.add(message);
                        }
                        event
                    }
                    Some(Ring::Schedules(databases)) => {
                        Box::pin(tick_all(&*world, &databases)).await;
                        Event::new("tick", now).metric(&[], "SchedulesDecided", Unit::Count, databases.len() as f64)
                    }
                    None => Event::new("nothing", now).field("message_id", message.message_id.as_str()),
                };
                observer.end(told).await;
            }
            Ok::<_, lambda_runtime::Error>(failures)
        }
    });
    lambda_runtime::run(work).await.map_err(|error| anyhow::anyhow!(error))
}
