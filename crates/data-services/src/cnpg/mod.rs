//! CloudNativePG 1.29 and 1.30 with the Barman Cloud plugin.
mod backup;
mod cluster;
mod current;
mod network;
mod observe;
mod pooler;
mod services;
mod sight;

use crate::events::Sight;
use crate::{DataService, Generation, Seen};
use kiven_model::DatabaseId;
use kiven_model::command::{SecretContent, SecretRequest};
use kiven_model::database::Power;
use kiven_model::names::{AGENT_ROLE, DATABASE_NAMESPACE, ca_secret, role_secret};
use kiven_model::report::Observation;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The label that says which database an object belongs to.
pub const DATABASE_LABEL: &str = "kiven.io/database";
/// The label that says which generation.
pub const GENERATION_LABEL: &str = "kiven.io/generation";
/// The label that says which class a node is of.
pub const NODE_TYPE_LABEL: &str = "kiven.io/node-type";
/// The setting that says which operation gave PostgreSQL its settings: what it shows is what it runs with.
pub const REVISION: &str = "kiven.revision";
/// The annotation that says which operation made an object.
pub const MADE_BY: &str = "kiven.io/made-by";
/// CNPG's declarative hibernation: annotation and condition.
pub const HIBERNATION: &str = "cnpg.io/hibernation";
/// The Barman Cloud plugin's name.
pub const PLUGIN: &str = "barman-cloud.cloudnative-pg.io";
/// The StorageClass that comes with the chart.
pub const STORAGE_CLASS: &str = "kiven-gp3";
/// The label of a namespace whose operator Kiven uses although it did not bring it.
pub const OPERATOR_LABEL: &str = "kiven.io/operator";
/// The ImageCatalog that comes with the chart: majors and digests, from a registry that the customer may replace.
pub const IMAGE_CATALOG: &str = "kiven-postgresql";
/// The database operator's API.
const API: &str = "postgresql.cnpg.io/v1";

/// The Secret of a Cluster's server certificate. The operator issues it from the authority in `serverCASecret`, which holds its
/// key, and issues it anew where it is missing; instances take a new one without a restart.
#[must_use]
pub fn server_certificate(cluster: &str) -> String {
    format!("{cluster}-server")
}

pub use cluster::{STATEMENTS_PARAMETERS, agent_grants};
pub use current::{instances, whole};
pub use network::operator_elsewhere;
pub use observe::{backup_ended, certificate_ends_at};

/// The CloudNativePG plugin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cnpg;

impl DataService for Cnpg {
    fn secrets(&self, generation: &Generation) -> Vec<SecretRequest> {
        let (name, id) = (&generation.spec.name, &generation.id);
        let request = |secret: String, content| SecretRequest { name: secret, labels: labels(generation), content };
        let password = |role: &str| request(role_secret(name, id, role), SecretContent::Password { username: role.to_owned() });
        vec![
            request(ca_secret(name, id), SecretContent::CertificateAuthority { common_name: format!("Kiven {name}") }),
            password(&name.owner_role()),
            password(AGENT_ROLE),
        ]
    }
    fn cluster(&self, generation: &Generation, power: Power) -> Vec<Value> {
        let mut objects = vec![backup::object_store(generation), cluster::cluster(generation, power)];
        objects.extend(services::addresses(generation));
        objects
    }
    fn pooler(&self, generation: &Generation, power: Power) -> Vec<Value> {
        pooler::pooler(generation, power)
    }
    fn backups(&self, generation: &Generation, power: Power) -> Vec<Value> {
        vec![backup::scheduled(generation, power)]
    }
    fn network(&self, generation: &Generation) -> Vec<Value> {
        vec![network::policy(generation)]
    }
    fn initial_database(&self, generation: &Generation) -> Vec<Value> {
        vec![cluster::initial_database(generation)]
    }
    fn services(&self, generation: &Generation) -> Vec<String> {
        services::names(generation)
    }
    fn observe(&self, database: &DatabaseId, cluster: &str, seen: &Seen) -> Observation {
        observe::observe(database, cluster, seen)
    }

    fn sight(&self, cluster: &str, seen: &Seen) -> Sight {
        sight::sight(cluster, seen)
    }
}

fn labels(generation: &Generation) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/managed-by", "kiven".to_owned()),
        (DATABASE_LABEL, generation.id.to_string()),
        (GENERATION_LABEL, generation.number.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn metadata(generation: &Generation, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": DATABASE_NAMESPACE,
        "labels": labels(generation),
        "annotations": { MADE_BY: generation.made_by },
    })
}

/// Where a database's pods run: on its own tainted nodes, of its own class. While it changes class there are nodes of both.
fn node_selector(generation: &Generation) -> Value {
    json!({ DATABASE_LABEL: generation.id, NODE_TYPE_LABEL: kiven_model::change::node_type(&generation.spec) })
}

fn tolerations() -> Value {
    json!([{ "key": "kiven.io/role", "operator": "Equal", "value": "database", "effect": "NoSchedule" }])
}

#[cfg(test)]
mod crd_tests;
