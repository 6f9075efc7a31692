//! PgBouncer.
use super::{API, metadata, node_selector, tolerations};
use crate::Generation;
use kiven_model::database::{PoolMode, Power};
use kiven_model::sizing::{POOLER, sizing};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Seconds a pooler's pod is given for connected clients; the default of 30 would be most of a pause.
const GRACE_SECONDS: u32 = 5;

/// How PgBouncer finds a new primary. By default it tries a server again only after 15 s, waits as long for one that does not
/// answer, and keeps a lost node's idle connections for minutes (<https://www.pgbouncer.org/config.html>). No `tcp_user_timeout`: it
/// would also end connections of clients that read slowly, and of servers that wait for a lock. What they do between nodes is not measured.
const RECONNECTING: [(&str, &str); 5] =
    [("server_login_retry", "1"), ("server_connect_timeout", "5"), ("tcp_keepidle", "10"), ("tcp_keepintvl", "5"), ("tcp_keepcnt", "3")];

pub(super) fn pooler(generation: &Generation, power: Power) -> Vec<Value> {
    let Some(sizing) = sizing(&generation.spec) else { return Vec::new() };
    let names = generation.names();
    // Commands never delete a pooler, so one that is not wanted, or not wanted any more, has no pods.
    let instances = match power {
        Power::On if generation.spec.pooler.enabled => u32::from(generation.spec.instances.min(2)),
        Power::On | Power::Off => 0,
    };
    let memory = format!("{}Mi", POOLER.memory_mib);
    let mut parameters = BTreeMap::from(RECONNECTING.map(|(name, value)| (name, value.to_owned())));
    parameters.insert("default_pool_size", sizing.pooler.default_pool_size.to_string());
    parameters.insert("max_client_conn", sizing.pooler.max_client_connections.to_string());
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
                "parameters": parameters,
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
