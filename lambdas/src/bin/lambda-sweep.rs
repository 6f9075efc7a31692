//! The function `sweep`: every minute, rings again for everything that is due.
use kiven_lambdas::{Config, World, start_logs};
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
    start_logs();
    let world = Arc::new(World::new(&Config::from_env()?));
    let sweep = service_fn(move |_: LambdaEvent<Value>| {
        let world = Arc::clone(&world);
        async move {
            let due = world.records().operations_due(world.clock().now(), RINGS_MAX).await?;
            for operation in &due {
                kiven_failpoint::pass("sweep", "due", "operation");
                world.doorbell().doorbell_ring(operation, Duration::ZERO).await?;
            }
            let scheduled = ring_schedules(&*world).await?;
            Ok::<_, lambda_runtime::Error>(serde_json::json!({ "rung": due.len(), "scheduled": scheduled }))
        }
    });
    lambda_runtime::run(sweep).await.map_err(|error| anyhow::anyhow!(error))
}
