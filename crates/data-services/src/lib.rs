//! The data-service interface and its plugins: what objects a database is made of, and what they say of it.
//!
//! Invariants of this crate: pure functions over values; no I/O, no clock; a secret's name, never its content.
pub mod cnpg;
pub mod events;
pub mod statistics;

use kiven_model::command::SecretRequest;
use kiven_model::database::{DatabaseSpec, Power};
use kiven_model::names::GenerationNames;
use kiven_model::report::Observation;
use kiven_model::{DatabaseId, OperationId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One generation of a database, as builders need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Which database.
    pub id: DatabaseId,
    /// What was asked for.
    pub spec: DatabaseSpec,
    /// From 1.
    pub number: u32,
    /// The environment's bucket.
    pub bucket: String,
    /// The IAM role of its backups.
    pub backup_role_arn: String,
    /// The operation that made it.
    pub made_by: OperationId,
    /// The operation that last gave it its settings.
    pub revision: OperationId,
}

impl Generation {
    /// Its names.
    #[must_use]
    pub fn names(&self) -> GenerationNames {
        GenerationNames::of(&self.spec.name, &self.id, self.number)
    }
}

/// What the agent sees in the cluster of one database, as the API server gives it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The Cluster, if there is one.
    pub cluster: Option<Value>,
    /// Its Poolers.
    pub poolers: Vec<Value>,
    /// Its pods, the poolers' too.
    pub pods: Vec<Value>,
    /// Its PersistentVolumeClaims.
    pub claims: Vec<Value>,
    /// Kiven's Services.
    pub services: Vec<Value>,
    /// Its Backups.
    pub backups: Vec<Value>,
    /// The databases' nodes.
    pub nodes: Vec<Value>,
    /// How full its volumes are, in per cent, by claim, as far as statistics say.
    pub filled: std::collections::BTreeMap<String, u8>,
}

/// A kind of database that Kiven can run. CloudNativePG is the first.
pub trait DataService {
    /// The Secrets it needs before anything else.
    fn secrets(&self, generation: &Generation) -> Vec<SecretRequest>;
    /// The archive and the database itself, with its addresses.
    fn cluster(&self, generation: &Generation, power: Power) -> Vec<Value>;
    /// The connection pooler; without pods when it is not wanted, or the database is off.
    fn pooler(&self, generation: &Generation, power: Power) -> Vec<Value>;
    /// Scheduled backups.
    fn backups(&self, generation: &Generation, power: Power) -> Vec<Value>;
    /// Who may connect, and where it may connect to.
    fn network(&self, generation: &Generation) -> Vec<Value>;
    /// The initial database with its extensions.
    fn initial_database(&self, generation: &Generation) -> Vec<Value>;
    /// The names of its Services.
    fn services(&self, generation: &Generation) -> Vec<String>;
    /// What the objects say.
    fn observe(&self, database: &DatabaseId, cluster: &str, seen: &Seen) -> Observation;
    /// What the objects show of what may have happened.
    fn sight(&self, cluster: &str, seen: &Seen) -> events::Sight;
}
