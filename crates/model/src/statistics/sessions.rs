//! What runs on a server: statements, sessions, and the locks they wait for.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Since when statements are counted (`pg_stat_statements_info`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counting {
    /// How often the least used statements were forgotten for lack of room.
    pub forgotten: u64,
    /// Since when.
    pub reset_at: Option<Timestamp>,
}

/// One statement (`pg_stat_statements`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// PostgreSQL's number for it: the same on every instance of a database.
    pub query_id: i64,
    /// The PostgreSQL database.
    pub database: Option<String>,
    /// Who ran it.
    pub role: Option<String>,
    /// Whether it was not run by a function.
    pub top_level: bool,
    /// How often it ran to its end.
    pub calls: u64,
    /// Time in all.
    pub total_ms: f64,
    /// Its longest run.
    pub longest_ms: f64,
    /// The deviation of its runs.
    pub deviation_ms: f64,
    /// Rows read or changed.
    pub rows: u64,
    /// Blocks found in memory.
    pub blocks_hit: u64,
    /// Blocks read.
    pub blocks_read: u64,
    /// Blocks written.
    pub blocks_written: u64,
    /// Blocks of temporary files, read and written.
    pub temporary_blocks: u64,
    /// Time of reading and writing blocks.
    pub io_ms: f64,
    /// WAL that it made.
    pub wal_bytes: u64,
}

/// What a statement does, without what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementText {
    /// PostgreSQL's number for it.
    pub query_id: i64,
    /// Its first word, where it is one that statements begin with.
    pub keyword: Option<String>,
    /// Its text as [`crate::statement::normalise`] leaves it; `None` when in doubt.
    pub text: Option<String>,
}

/// Sessions that do the same (`pg_stat_activity`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionGroup {
    /// PostgreSQL's word: `active`, `idle in transaction`.
    pub state: Option<String>,
    /// What is waited for, as PostgreSQL groups it: `Lock`, `IO`.
    pub wait: Option<String>,
    /// How many.
    pub sessions: u64,
}

/// A session that does something (`pg_stat_activity`). Its statement is told by its number and first word: the text is with
/// [`StatementText`], where there is one. Nothing of the client but the name that it gives itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The server process.
    pub pid: i32,
    /// The PostgreSQL database.
    pub database: Option<String>,
    /// Who.
    pub role: Option<String>,
    /// The client's `application_name`, at most 63 bytes.
    pub application: Option<String>,
    /// PostgreSQL's word: `active`, `idle in transaction`.
    pub state: Option<String>,
    /// What is waited for, as PostgreSQL groups it.
    pub wait: Option<String>,
    /// What is waited for.
    pub wait_event: Option<String>,
    /// The number of its statement.
    pub query_id: Option<i64>,
    /// The first word of its statement, where it is one that statements begin with.
    pub keyword: Option<String>,
    /// Since when its transaction runs.
    pub transaction_since: Option<Timestamp>,
    /// Since when its statement runs, or ran if it is idle.
    pub statement_since: Option<Timestamp>,
    /// How old the oldest row is that it may see: vacuum waits for it.
    pub horizon_age: Option<i64>,
}

/// Locks of one mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockGroup {
    /// PostgreSQL's word: `AccessExclusiveLock`.
    pub mode: String,
    /// Whether they are held, or waited for.
    pub granted: bool,
    /// How many.
    pub locks: u64,
}

/// A lock that is waited for (`pg_locks`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockWait {
    /// Who waits.
    pub pid: i32,
    /// For what kind of thing: `relation`, `transactionid`.
    pub kind: String,
    /// In which mode.
    pub mode: Option<String>,
    /// The table, where it is one of [`super::InstanceStatistics::inside`].
    pub table: Option<String>,
    /// For how long.
    pub seconds: Option<f64>,
    /// For whom.
    pub blocked_by: Vec<i32>,
}
