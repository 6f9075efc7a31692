//! Kiven's own Services: the addresses that stay while generations change behind them.
use super::metadata;
use crate::Generation;
use kiven_model::names::{DATABASE_NAMESPACE, POSTGRES_PORT};
use serde_json::{Value, json};

pub(super) fn names(generation: &Generation) -> Vec<String> {
    let name = &generation.spec.name;
    let mut names = vec![name.read_write_service(), name.read_only_service()];
    if generation.spec.pooler.enabled {
        names.push(name.pooler_service());
    }
    names
}

/// Every name by which a client may verify the server.
pub(super) fn dns_names(generation: &Generation) -> Vec<String> {
    let forms = |service: String| {
        let namespaced = format!("{service}.{DATABASE_NAMESPACE}");
        [service, namespaced.clone(), format!("{namespaced}.svc"), format!("{namespaced}.svc.cluster.local")]
    };
    let name = &generation.spec.name;
    [name.read_write_service(), name.read_only_service(), name.pooler_service()].into_iter().flat_map(forms).collect()
}

pub(super) fn addresses(generation: &Generation) -> Vec<Value> {
    let names = generation.names();
    let name = &generation.spec.name;
    let instance = |role: &str| json!({ "cnpg.io/cluster": names.cluster, "cnpg.io/instanceRole": role });
    let mut services = vec![
        service(generation, &name.read_write_service(), &instance("primary")),
        service(generation, &name.read_only_service(), &instance("replica")),
    ];
    if generation.spec.pooler.enabled {
        services.push(service(generation, &name.pooler_service(), &json!({ "cnpg.io/poolerName": names.pooler })));
    }
    services
}

fn service(generation: &Generation, name: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(generation, name),
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{ "name": "postgres", "port": POSTGRES_PORT, "targetPort": POSTGRES_PORT, "protocol": "TCP" }],
        },
    })
}
