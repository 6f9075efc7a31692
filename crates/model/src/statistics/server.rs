//! A server as a whole: its databases, its standbys, its WAL and its volume.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The server itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `server_version_num`.
    pub version: u32,
    /// When the postmaster started.
    pub started_at: Timestamp,
    /// Whether it is a standby.
    pub standby: bool,
    /// How far its WAL is: written on a primary, replayed on a standby. In bytes from the beginning of time.
    pub wal_position: Option<u64>,
    /// How old the last replayed transaction is; a primary that is quiet makes it grow.
    pub replayed_seconds_ago: Option<f64>,
    /// `max_connections`.
    pub connections_max: u32,
}

/// One PostgreSQL database (`pg_stat_database`, `pg_database`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseCounters {
    /// Its name.
    pub name: String,
    /// What it takes of the volume.
    pub size_bytes: Option<u64>,
    /// The age of its oldest transaction: at two thousand million PostgreSQL stops.
    pub transaction_age: i64,
    /// The age of its oldest multixact.
    pub multixact_age: i64,
    /// Connections now.
    pub connections: Option<u64>,
    /// Transactions committed.
    pub commits: Option<u64>,
    /// Transactions rolled back.
    pub rollbacks: Option<u64>,
    /// Blocks found in memory.
    pub blocks_hit: Option<u64>,
    /// Blocks read.
    pub blocks_read: Option<u64>,
    /// Rows read.
    pub rows_returned: Option<u64>,
    /// Rows that were looked for.
    pub rows_fetched: Option<u64>,
    /// Rows inserted.
    pub rows_inserted: Option<u64>,
    /// Rows updated.
    pub rows_updated: Option<u64>,
    /// Rows deleted.
    pub rows_deleted: Option<u64>,
    /// Statements ended for the sake of replication.
    pub conflicts: Option<u64>,
    /// Temporary files.
    pub temporary_files: Option<u64>,
    /// Their size.
    pub temporary_bytes: Option<u64>,
    /// Deadlocks.
    pub deadlocks: Option<u64>,
    /// Pages whose checksum was wrong.
    pub checksum_failures: Option<u64>,
    /// Time of reading and writing blocks.
    pub io_ms: Option<f64>,
    /// Sessions that came.
    pub sessions: Option<u64>,
    /// Sessions that ended without saying so.
    pub sessions_abandoned: Option<u64>,
    /// Since when this, its tables and its indexes are counted.
    pub reset_at: Option<Timestamp>,
}

/// A standby, as its sender sees it (`pg_stat_replication`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// The name it gives itself: the instance.
    pub name: Option<String>,
    /// `streaming`, `catchup`.
    pub state: Option<String>,
    /// `async`, `quorum`, `sync`.
    pub sync: Option<String>,
    /// WAL that it has not replayed.
    pub behind_bytes: Option<i64>,
    /// Until its disk had what was written here.
    pub flush_lag_seconds: Option<f64>,
    /// Until it had replayed it.
    pub replay_lag_seconds: Option<f64>,
}

/// A replication slot (`pg_replication_slots`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// `physical`, `logical`.
    pub kind: String,
    /// Whether somebody reads it.
    pub active: bool,
    /// WAL that is kept for it.
    pub kept_bytes: Option<i64>,
    /// `reserved`, `extended`, `lost`.
    pub state: Option<String>,
}

/// The archive (`pg_stat_archiver`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archiver {
    /// Files archived.
    pub archived: u64,
    /// The last one's name.
    pub archived_wal: Option<String>,
    /// When.
    pub archived_at: Option<Timestamp>,
    /// Attempts that failed.
    pub failed: u64,
    /// When the last one failed.
    pub failed_at: Option<Timestamp>,
    /// Since when.
    pub reset_at: Option<Timestamp>,
}

/// The background writer (`pg_stat_bgwriter`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Buffers it wrote.
    pub cleaned: u64,
    /// How often it stopped because it had written too many.
    pub stopped: u64,
    /// Buffers that were taken.
    pub allocated: u64,
    /// Since when.
    pub reset_at: Option<Timestamp>,
}

/// The checkpointer (`pg_stat_checkpointer`; before PostgreSQL 17 `pg_stat_bgwriter`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpointer {
    /// Checkpoints whose time had come.
    pub timed: u64,
    /// Checkpoints asked for, by the amount of WAL too.
    pub requested: u64,
    /// Time of writing.
    pub write_ms: f64,
    /// Time until it was on the volume.
    pub sync_ms: f64,
    /// Buffers it wrote.
    pub buffers: u64,
    /// Since when.
    pub reset_at: Option<Timestamp>,
}

/// WAL (`pg_stat_wal`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wal {
    /// Records.
    pub records: u64,
    /// Whole pages among them.
    pub pages: u64,
    /// Their size.
    pub bytes: u64,
    /// How often the buffers were full.
    pub buffers_full: u64,
    /// Since when.
    pub reset_at: Option<Timestamp>,
}

/// What PostgreSQL's own files take of the instance's volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUse {
    /// Tables, indexes and temporary files of all databases.
    pub data_bytes: u64,
    /// WAL.
    pub wal_bytes: u64,
    /// Of the data, temporary files.
    pub temporary_bytes: u64,
    /// WAL files that wait for the archive.
    pub unarchived: u64,
    /// The volume's size; `None` where its claim does not say.
    #[serde(default)]
    pub capacity_bytes: Option<u64>,
}

impl VolumeUse {
    /// How full it is in per cent, rounded down; `None` where its size is not known.
    #[must_use]
    pub fn percent(&self) -> Option<u8> {
        let capacity = self.capacity_bytes.filter(|capacity| *capacity > 0)?;
        let percent = u128::from(self.data_bytes.saturating_add(self.wal_bytes)) * 100 / u128::from(capacity);
        Some(u8::try_from(percent.min(100)).unwrap_or(100))
    }
}
