//! What Kiven made in an account and nothing explains any more. Pure: the account has been looked at, the records read.
use jiff::{SignedDuration, Timestamp};
use kiven_model::EnvironmentId;
use kiven_model::api::{OrphanView, OrphansView};
use kiven_model::database::Database;
use kiven_model::environment::Environment;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::names::{GenerationNames, backup_bucket};
use kiven_model::price::{nodes_usd_per_month, volume_usd_per_month};
use kiven_model::report::LooseVolume;
use kiven_ports::account::{Inventory, OwnedResource, ResourceKind};

/// What the account's contents are held against.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The organization's environments.
    pub environments: &'a [Environment],
    /// The organization's databases, those that are gone too.
    pub databases: &'a [Database],
    /// The environment that was looked at.
    pub environment: &'a EnvironmentId,
    /// Volumes that nothing in its cluster uses, as its agent said.
    pub loose: &'a [LooseVolume],
    /// Now.
    pub now: Timestamp,
}

/// Everything of an inventory that nothing explains.
#[must_use]
pub fn orphans(known: Known<'_>, found: &Inventory) -> OrphansView {
    let orphan = |resource: &OwnedResource| {
        let why = known.why(resource)?;
        Some(OrphanView {
            kind: resource.kind.as_str().to_owned(),
            name: resource.name.clone(),
            environment_id: resource.environment_id.clone(),
            database_id: resource.database_id.clone(),
            why,
            usd_per_month: match resource.kind {
                ResourceKind::NodeGroup => nodes_usd_per_month(&resource.node_types, resource.nodes),
                ResourceKind::BackupRole => Some(0.0),
                ResourceKind::BackupBucket | ResourceKind::OidcProvider => None,
            },
        })
    };
    let mut orphans: Vec<OrphanView> = found.resources.iter().filter_map(orphan).collect();
    orphans.extend(known.loose.iter().filter_map(|volume| known.loose_volume(volume)));
    let total: f64 = orphans.iter().filter_map(|orphan| orphan.usd_per_month).sum();
    OrphansView {
        checked_at: known.now,
        usd_per_month: (total * 100.0).round() / 100.0,
        unseen: found.unseen.iter().map(|(kind, why)| format!("{}: {why}", kind.as_str())).collect(),
        orphans,
    }
}

impl Known<'_> {
    /// Why nothing explains a resource; `None` for one that belongs where it is.
    fn why(&self, resource: &OwnedResource) -> Option<String> {
        let environment = self.environments.iter().find(|environment| environment.id.as_str() == resource.environment_id);
        let Some(environment) = environment else { return Some(format!("environment {} is not known any more", resource.environment_id)) };
        match resource.kind {
            ResourceKind::BackupBucket => {
                let expected = bucket_of(environment, &environment.id);
                (resource.name != expected).then(|| format!("the bucket of its environment is {expected}"))
            }
            ResourceKind::NodeGroup | ResourceKind::BackupRole => self.why_of_database(resource),
            ResourceKind::OidcProvider => None,
        }
    }

    /// A database that is not gone explains the volumes of its generations, also while they have neither claim nor Cluster.
    fn loose_volume(&self, volume: &LooseVolume) -> Option<OrphanView> {
        let made_for = |database: &&Database| {
            let generation = |number| format!("{}-", GenerationNames::of(&database.spec.name, &database.id, number).cluster);
            database.spec.environment_id == *self.environment && (1..=database.generation).any(|number| volume.claim.starts_with(&generation(number)))
        };
        let database = self.databases.iter().find(made_for);
        let why = match database {
            Some(database) if !database.status.gone() => return None,
            Some(database) => format!("database `{}` is {} since {:.0}", database.spec.name, database.status, database.updated_at),
            None => format!("no database is known that the claim {} was made for", volume.claim),
        };
        Some(OrphanView {
            kind: "volume".to_owned(),
            name: volume.volume.clone(),
            environment_id: self.environment.to_string(),
            database_id: database.map(|database| database.id.to_string()),
            why,
            usd_per_month: Some(volume_usd_per_month(volume.gb)),
        })
    }

    fn why_of_database(&self, resource: &OwnedResource) -> Option<String> {
        let Some(id) = &resource.database_id else { return Some("it names no database".to_owned()) };
        let Some(database) = self.databases.iter().find(|database| database.id.as_str() == id) else {
            return Some(format!("database {id} is not known any more"));
        };
        if matches!(resource.kind, ResourceKind::BackupRole) && !has_role(database, &resource.name) {
            return Some(format!("no generation of database `{}` has this role", database.spec.name));
        }
        let gone = format!("database `{}` is {} since {:.0}", database.spec.name, database.status, database.updated_at);
        match (database.status, resource.kind) {
            // The archive is kept for its retention, and its role with it.
            (DatabaseStatus::Deleted, ResourceKind::BackupRole) => {
                let days = SignedDuration::from_hours(24 * i64::from(database.spec.backup.backup_retention_days));
                (self.now.duration_since(database.updated_at) > days).then(|| format!("{gone}, and the retention of its archive is over"))
            }
            (DatabaseStatus::Deleted | DatabaseStatus::Failed, _) => Some(gone),
            _ => None,
        }
    }
}

pub(crate) fn bucket_of(environment: &Environment, id: &EnvironmentId) -> String {
    backup_bucket(&environment.spec.aws_account_id, &environment.spec.aws_region, id)
}

fn has_role(database: &Database, role: &str) -> bool {
    (1..=database.generation).any(|number| GenerationNames::of(&database.spec.name, &database.id, number).backup_role == role)
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
