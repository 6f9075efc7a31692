//! Names: what people choose and everything Kiven derives from it, each within its service's limit.
use crate::{DatabaseId, EnvironmentId};
use hash::fnv64;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where databases live in the customer's cluster.
pub const DATABASE_NAMESPACE: &str = "kiven-databases";
/// Where agent and operator live.
pub const SYSTEM_NAMESPACE: &str = "kiven-system";
/// The port of every address that customers see.
pub const POSTGRES_PORT: u16 = 5432;
/// The longest database name: leaves room for `-{id6}-{generation}` and CNPG's own suffixes in 63 characters.
pub const DATABASE_NAME_MAX: usize = 40;
/// The minute of the hour at which a database's base backups begin: spread over a cluster's databases by their ids, and never
/// at a full five minutes, where the windows of power schedules end.
#[must_use]
pub fn backup_minute(id: &DatabaseId) -> u64 {
    let number = fnv64(id.as_str()) % 48;
    number / 4 * 5 + number % 4 + 1
}

/// Suffixes that belong to Services.
const RESERVED_SUFFIXES: [&str; 4] = ["-rw", "-ro", "-r", "-pooler"];

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a DNS label.
    #[error("must be 1 to {DATABASE_NAME_MAX} characters of a-z, 0-9 and -, begin with a letter and end with a letter or digit")]
    Form,
    /// Ends like a Service of Kiven.
    #[error("must not end in {0}, which Kiven uses for addresses")]
    Reserved(&'static str),
}

/// The name of a database, unique in its environment: a DNS label of at most 40 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatabaseName(String);

#[cfg(feature = "schema")]
crate::schema::text!(
    DatabaseName,
    "DatabaseName",
    "Unique in the environment: 1 to 40 of a-z, 0-9 and -, not ending in -rw, -ro, -r or -pooler.",
    "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$",
    "shop"
);

impl DatabaseName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is no DNS label of at most 40 characters that begins with a letter, or ends in a reserved suffix.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let ends_well = text.bytes().last().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !is_dns_label(text) || text.len() > DATABASE_NAME_MAX || !text.as_bytes()[0].is_ascii_lowercase() || !ends_well {
            return Err(NameError::Form);
        }
        match RESERVED_SUFFIXES.iter().find(|suffix| text.ends_with(*suffix)) {
            Some(suffix) => Err(NameError::Reserved(suffix)),
            None => Ok(Self(text.to_owned())),
        }
    }
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The Service that always leads to the primary.
    #[must_use]
    pub fn read_write_service(&self) -> String {
        format!("{self}-rw")
    }
    /// The Service of the standbys.
    #[must_use]
    pub fn read_only_service(&self) -> String {
        format!("{self}-ro")
    }
    /// The Service of PgBouncer.
    #[must_use]
    pub fn pooler_service(&self) -> String {
        format!("{self}-pooler")
    }
    /// A Service's address inside the cluster.
    #[must_use]
    pub fn host_of(service: &str) -> String {
        format!("{service}.{DATABASE_NAMESPACE}.svc")
    }
    /// The PostgreSQL database made at first: the name with `_` for `-`.
    #[must_use]
    pub fn initial_database(&self) -> String {
        self.0.replace('-', "_")
    }
    /// The role that owns it.
    #[must_use]
    pub fn owner_role(&self) -> String {
        self.initial_database()
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for DatabaseName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}
impl From<DatabaseName> for String {
    fn from(name: DatabaseName) -> String {
        name.0
    }
}

/// Whether the text is a DNS label (RFC 1123): what Kubernetes takes as a namespace or Service name.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Everything named after one generation of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationNames {
    /// The CNPG Cluster: `{name}-{id6}-{generation}`.
    pub cluster: String,
    /// The archive's server name: `{database_id}-{generation}`; it never repeats, so no archive is ever mixed.
    pub archive_server: String,
    /// The Pooler.
    pub pooler: String,
    /// The ObjectStore.
    pub object_store: String,
    /// The IAM role of the generation's backups.
    pub backup_role: String,
    /// The prefix in the bucket that the role is limited to.
    pub backup_prefix: String,
}

impl GenerationNames {
    /// The names of generation `generation` (from 1) of a database.
    #[must_use]
    pub fn of(name: &DatabaseName, id: &DatabaseId, generation: u32) -> Self {
        let cluster = format!("{name}-{}-{generation}", id.short(6));
        Self {
            pooler: format!("{cluster}-pooler"),
            object_store: format!("{cluster}-archive"),
            backup_role: format!("kiven-{}-backup-{generation}", id.short(10)),
            backup_prefix: format!("{}/{generation}", id.as_str()),
            archive_server: format!("{}-{generation}", id.as_str()),
            cluster,
        }
    }
}

/// Secrets that outlive generations: one per database and role.
#[must_use]
pub fn role_secret(name: &DatabaseName, id: &DatabaseId, role: &str) -> String {
    format!("{name}-{}-{}", id.short(6), role.replace('_', "-"))
}
/// The Secret with the database's own certificate authority (`ca.crt`, `ca.key`), kept across generations.
#[must_use]
pub fn ca_secret(name: &DatabaseName, id: &DatabaseId) -> String {
    format!("{name}-{}-ca", id.short(6))
}
/// The role the agent reads statistics with and asks for a WAL switch.
pub const AGENT_ROLE: &str = "kiven_agent";
/// The managed node group of a database in a zone: `kiven-{id10}-{zone}-{node type}`, at most 63 characters. EKS never
/// changes the types of a group, so a database that takes another class gets another group.
#[must_use]
pub fn node_group(id: &DatabaseId, zone: &str, node_type: &str) -> String {
    format!("kiven-{}-{zone}-{}", id.short(10), node_type.replace('.', "-"))
}
/// The environment's backup bucket: `kiven-backups-{account}-{region}-{hash}`, at most 63 characters.
#[must_use]
pub fn backup_bucket(account: &str, region: &str, environment: &EnvironmentId) -> String {
    format!("kiven-backups-{account}-{region}-{:08x}", fnv64(environment.as_str()) as u32)
}

mod hash {
    //! A small stable hash for names; not for security.
    /// FNV-1a, 64 bits (Fowler, Noll, Vo).
    pub(super) fn fnv64(text: &str) -> u64 {
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_forty_that_end_like_no_service() {
        let long = "a".repeat(41);
        for (text, good) in [
            ("shop", true),
            ("a", true),
            ("a1-b2", true),
            ("", false),
            ("1shop", false),
            ("Shop", false),
            ("shop-", false),
            ("shop_1", false),
            ("shop-rw", false),
            ("shop-r", false),
            ("shop-pooler", false),
            (&long[..40], true),
            (&long, false),
            ("shöp", false),
        ] {
            assert_eq!(DatabaseName::parse(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn every_generated_name_fits_its_service() {
        let name = DatabaseName::parse(&"n".repeat(40)).unwrap();
        let id = DatabaseId::from_random([0xab; 16]);
        let environment = EnvironmentId::from_random([0xcd; 16]);
        for generation in [1, 99, 9_999] {
            let names = GenerationNames::of(&name, &id, generation);
            assert!(names.cluster.len() <= 52 && is_dns_label(&names.cluster), "CNPG adds -pooler, -1-join and the like: {}", names.cluster);
            assert!(names.pooler.len() <= 63 && names.object_store.len() <= 63);
            assert!(names.backup_role.len() <= 64, "IAM role names hold 64 characters");
        }
        assert!(node_group(&id, "ap-southeast-2a", "r6gd.12xlarge").len() <= 63);
        assert!(backup_bucket("123456789012", "ap-southeast-2", &environment).len() <= 63);
        assert!(is_dns_label(&name.pooler_service()));
    }

    #[test]
    fn base_backups_are_spread_and_never_begin_where_windows_end() {
        let minutes: Vec<u64> = (0..=255).map(|seed| backup_minute(&DatabaseId::from_random([seed; 16]))).collect();
        assert!(minutes.iter().all(|minute| *minute < 60 && minute % 5 != 0), "{minutes:?}");
        let different: std::collections::BTreeSet<&u64> = minutes.iter().collect();
        assert!(different.len() > 40, "{different:?}");
    }
}
