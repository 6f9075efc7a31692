//! The function `sweep`: every minute, rings again for everything that is due.
use kiven_lambdas::telemetry::{Event, Unit, milliseconds};
use kiven_lambdas::{Config, Function, Observer, World, stop};
use kiven_operations::ring_schedules;
use kiven_ports::{Clock, Doorbell, Ports, Records};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Most operations that one sweep rings for; the rest are the next one's.
const RINGS_MAX: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(Function::Sweep)?;
    let world = Arc::new(World::new(&config));
    let observer = Observer::start(&config, world.sdk().meter());
    stop::graceful(&observer).await;
    let sweep = service_fn(move |_: LambdaEvent<Value>| {
        let (world, observer) = (Arc::clone(&world), observer.clone());
        async move {
            observer.begin();
            let began = world.clock().now();
            let due = world.records().operations_due(began, RINGS_MAX).await?;
            for operation in &due {
                kiven_failpoint::pass("sweep", "due", "operation");
                world.doorbell().doorbell_ring(operation, Duration::ZERO).await?;
            }
            let scheduled = ring_schedules(&*world).await?;
            let now = world.clock().now();
            let event = Event::new("sweep", now)
                .metric(&[], "OperationsDue", Unit::Count, due.len() as f64)
                .metric(&[], "SchedulesDue", Unit::Count, scheduled as f64)
                .metric(&[], "SweepMilliseconds", Unit::Milliseconds, milliseconds(began, now));
            observer.end(event).await;
            Ok::<_, lambda_runtime::Error>(serde_json::json!({ "rung": due.len(), "scheduled": scheduled }))
        }
    });
    lambda_runtime::run(sweep).await.map_err(|error| anyhow::anyhow!(error))
}
