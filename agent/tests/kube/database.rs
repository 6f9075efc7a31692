//! A database as Kiven's backend would have it: its objects, and the commands about it.
use jiff::{SignedDuration, Timestamp};
use kiven_data_services::cnpg::Cnpg;
use kiven_data_services::{DataService, Generation};
use kiven_model::api::DatabaseRequest;
use kiven_model::command::{Command, CommandBody, Consent};
use kiven_model::database::Power;
use kiven_model::{DatabaseId, EnvironmentId, OperationId, request};
use serde_json::Value;

/// How long a command holds.
const HOLDS: SignedDuration = SignedDuration::from_mins(5);

pub(crate) struct Database {
    pub(crate) environment: EnvironmentId,
    pub(crate) generation: Generation,
    pub(crate) cluster: String,
}

impl Database {
    pub(crate) fn new(environment: &EnvironmentId, name: &str, seed: u8) -> Self {
        let asked = DatabaseRequest {
            name: name.to_owned(),
            environment_id: environment.to_string(),
            plan: "startup".to_owned(),
            allowed_namespaces: vec!["web".to_owned()],
            ..DatabaseRequest::default()
        };
        let operation = OperationId::from_random([seed; 16]);
        let generation = Generation {
            id: DatabaseId::from_random([seed; 16]),
            spec: request::database(&asked, &[17, 18]).unwrap().into_inner(),
            number: 1,
            bucket: "kiven-backups-000000000000-eu-west-1-0a1b2c3d".to_owned(),
            backup_role_arn: "arn:aws:iam::000000000000:role/kiven-backup".to_owned(),
            made_by: operation.clone(),
            revision: operation,
        };
        let cluster = generation.names().cluster;
        Self { environment: environment.clone(), generation, cluster }
    }

    /// A command of this database's operation; `step` makes its id.
    pub(crate) fn command(&self, step: &str, body: CommandBody) -> Command {
        let operation_id = self.generation.made_by.clone();
        Command {
            id: format!("{operation_id}/{step}"),
            environment_id: self.environment.clone(),
            operation_id,
            database_id: Some(self.generation.id.clone()),
            fence: 1,
            not_after: Timestamp::now() + HOLDS,
            body,
        }
    }

    /// Every object, in the commands that a provision sends.
    pub(crate) fn objects(&self) -> Vec<(&'static str, Vec<Value>)> {
        let generation = &self.generation;
        vec![
            ("network", Cnpg.network(generation)),
            ("cluster", Cnpg.cluster(generation, Power::On)),
            ("pooler", Cnpg.pooler(generation, Power::On)),
            ("backups", Cnpg.backups(generation, Power::On)),
            ("database", Cnpg.initial_database(generation)),
        ]
    }

    pub(crate) fn apply(&self, step: &str, objects: Vec<Value>) -> Command {
        self.command(step, CommandBody::Apply { objects, consent: None })
    }

    pub(crate) fn secrets(&self) -> Command {
        self.command("secrets", CommandBody::EnsureSecrets { secrets: Cnpg.secrets(&self.generation) })
    }

    pub(crate) fn consent(&self) -> Consent {
        Consent { database_id: self.generation.id.clone(), given_by: "key_test".to_owned(), given_at: Timestamp::now() }
    }
}
