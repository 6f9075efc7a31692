//! PgBouncer.
use super::{API, metadata, node_selector, tolerations};
use crate::Generation;
use kiven_model::database::{PoolMode, Power};
use kiven_model::sizing::{POOLER, sizing};
use serde_json::{Value, json};

/// Seconds a pooler's pod is given for connected clients; the default of 30 would be most of a pause.
const GRACE_SECONDS: u32 = 5;

pub(super) fn pooler(generation: &Generation, power: Power) -> Vec<Value> {
    let Some(sizing) = sizing(&generation.spec) else { return Vec::new() };
    let names = generation.names();
    // Commands never delete a pooler, so one that is not wanted, or not wanted any more, has no pods.
    let instances = match power {
        Power::On if generation.spec.pooler.enabled => u32::from(generation.spec.instances.min(2)),
        Power::On | Power::Off => 0,
    };
    let memory = format!("{}Mi", POOLER.memory_mib);
    let container = json!({
        "name": "pgbouncer",
        "resources": {
            "requests": { "cpu": format!("{}m", POOLER.cpu_request_millis), "memory": memory },
            "limits": { "cpu": format!("{}m", POOLER.cpu_limit_millis), "memory": memory },
        },
    });
    vec![json!({
        "apiVersion": API,
        "kind": "Pooler",
        "metadata": metadata(generation, &names.pooler),
        "spec": {
            "cluster": { "name": names.cluster },
            "instances": instances,
            "type": "rw",
            "pgbouncer": {
                "poolMode": match sizing.pooler.mode { PoolMode::Transaction => "transaction", PoolMode::Session => "session" },
                "parameters": {
                    "default_pool_size": sizing.pooler.default_pool_size.to_string(),
                    "max_client_conn": sizing.pooler.max_client_connections.to_string(),
                },
            },
            "template": {
                "metadata": { "labels": super::labels(generation) },
                "spec": {
                    "containers": [container],
                    "nodeSelector": node_selector(generation),
                    "tolerations": tolerations(),
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                },
            },
        },
    })]
}
