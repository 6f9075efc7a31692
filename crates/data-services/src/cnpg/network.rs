//! Who may reach a database, and what it may reach.
use super::metadata;
use crate::Generation;
use kiven_model::names::{DATABASE_NAMESPACE, POSTGRES_PORT, SYSTEM_NAMESPACE};
use serde_json::{Value, json};

/// The instance manager's port, for the operator.
const INSTANCE_MANAGER_PORT: u16 = 8000;
/// Where EC2 instances ask for their credentials; no database ever needs it.
const METADATA_ADDRESS: &str = "169.254.169.254/32";

/// The pods of an operator that the customer runs elsewhere, in a namespace that the customer's own rights have labelled.
#[must_use]
pub fn operator_elsewhere() -> Value {
    json!({
        "namespaceSelector": { "matchLabels": { super::OPERATOR_LABEL: "true" } },
        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "cloudnative-pg" } },
    })
}

pub(super) fn policy(generation: &Generation) -> Value {
    let names = generation.names();
    let tcp = |port: u16| json!({ "port": port, "protocol": "TCP" });
    let namespace = |name: &str| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } });
    let mut clients: Vec<Value> = generation.spec.allowed_namespaces.iter().map(|name| namespace(name)).collect();
    clients.push(namespace(DATABASE_NAMESPACE));
    clients.push(namespace(SYSTEM_NAMESPACE));
    let operator = operator_elsewhere();
    clients.push(operator.clone());
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(generation, &names.cluster),
        "spec": {
            "podSelector": { "matchLabels": { super::DATABASE_LABEL: generation.id } },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                { "from": clients, "ports": [tcp(POSTGRES_PORT)] },
                { "from": [namespace(SYSTEM_NAMESPACE), operator], "ports": [tcp(INSTANCE_MANAGER_PORT)] },
            ],
            "egress": [
                { "ports": [tcp(53), { "port": 53, "protocol": "UDP" }] },
                { "to": [namespace(DATABASE_NAMESPACE)], "ports": [tcp(POSTGRES_PORT), tcp(INSTANCE_MANAGER_PORT)] },
                { "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": [METADATA_ADDRESS] } }], "ports": [tcp(443), tcp(6443)] },
            ],
        },
    })
}
