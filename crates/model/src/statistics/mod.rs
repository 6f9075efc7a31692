//! What PostgreSQL counts, as an agent reads it from each instance: names, numbers and times; never a value of a row.
//!
//! Counters only grow, from the start of the server or a reset that stands beside them: a rate is for the reader to make from two of
//! them. Times in `_ms` are milliseconds, sizes in `_bytes` are bytes, ages are in transactions.
use crate::DatabaseId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod server;
mod sessions;
mod tables;

pub use server::{Archiver, Checkpointer, DatabaseCounters, Replica, Server, Slot, VolumeUse, Wal, Writer};
pub use sessions::{Counting, LockGroup, LockWait, Session, SessionGroup, Statement, StatementText};
pub use tables::{Index, Table, TableAge};

/// How often an agent asks an instance, in seconds.
pub const STATISTICS_SECONDS: u64 = 30;
/// Most statements of an instance: those that took the most time.
pub const STATEMENTS_MAX: usize = 50;
/// Most tables: the largest.
pub const TABLES_MAX: usize = 30;
/// Most indexes: the largest.
pub const INDEXES_MAX: usize = 30;
/// Most tables by the age of their oldest transaction.
pub const AGES_MAX: usize = 10;
/// Most databases of one server: those with the most connections.
pub const DATABASES_MAX: usize = 20;
/// Most sessions that do something: those with the oldest transactions.
pub const SESSIONS_MAX: usize = 30;
/// Most groups of sessions, and of locks.
pub const GROUPS_MAX: usize = 30;
/// Most locks that are waited for: those waited for longest.
pub const WAITS_MAX: usize = 20;
/// Most standbys, and most replication slots.
pub const REPLICAS_MAX: usize = 16;

/// A part of the statistics that one question gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// The server itself.
    Server,
    /// Since when statements are counted.
    Counting,
    /// Statements.
    Statements,
    /// Their texts.
    Texts,
    /// Sessions by what they do.
    States,
    /// Sessions with the oldest transactions.
    Sessions,
    /// Databases.
    Databases,
    /// Standbys.
    Replicas,
    /// Replication slots.
    Slots,
    /// The archive.
    Archiver,
    /// The background writer.
    Writer,
    /// The checkpointer.
    Checkpointer,
    /// WAL.
    Wal,
    /// Tables.
    Tables,
    /// Indexes.
    Indexes,
    /// Tables with the oldest transactions.
    Ages,
    /// Locks by mode.
    Locks,
    /// Locks that are waited for.
    Waits,
    /// What is on the volume.
    Volume,
}

/// Everything that one instance says at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatistics {
    /// Which database of Kiven's.
    pub database_id: DatabaseId,
    /// The CNPG Cluster's name.
    pub cluster: String,
    /// The instance: its pod's name.
    pub instance: String,
    /// When it was asked.
    pub at: Timestamp,
    /// The PostgreSQL database whose tables and indexes these are.
    pub inside: String,
    /// The server; `None` where it did not say.
    pub server: Option<Server>,
    /// Since when statements are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counting: Option<Counting>,
    /// At most [`STATEMENTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Statement>,
    /// Texts of statements, said with the first figures and again now and then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<StatementText>,
    /// At most [`GROUPS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<SessionGroup>,
    /// At most [`SESSIONS_MAX`], idle ones left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
    /// At most [`DATABASES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<DatabaseCounters>,
    /// At most [`REPLICAS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Replica>,
    /// At most [`REPLICAS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
    /// The archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archiver: Option<Archiver>,
    /// The background writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Writer>,
    /// The checkpointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointer: Option<Checkpointer>,
    /// WAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<Wal>,
    /// At most [`TABLES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// At most [`INDEXES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    /// At most [`AGES_MAX`], the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ages: Vec<TableAge>,
    /// At most [`GROUPS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockGroup>,
    /// At most [`WAITS_MAX`], the longest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<LockWait>,
    /// What is on the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeUse>,
    /// Parts that are not there because the server did not answer them in time or refused them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Section>,
}

impl InstanceStatistics {
    /// Nothing said yet.
    #[must_use]
    pub fn empty(database_id: DatabaseId, cluster: String, instance: String, inside: String, at: Timestamp) -> Self {
        Self {
            database_id,
            cluster,
            instance,
            at,
            inside,
            server: None,
            counting: None,
            statements: Vec::new(),
            texts: Vec::new(),
            states: Vec::new(),
            sessions: Vec::new(),
            databases: Vec::new(),
            replicas: Vec::new(),
            slots: Vec::new(),
            archiver: None,
            writer: None,
            checkpointer: None,
            wal: None,
            tables: Vec::new(),
            indexes: Vec::new(),
            ages: Vec::new(),
            locks: Vec::new(),
            waits: Vec::new(),
            volume: None,
            missing: Vec::new(),
        }
    }
}
