//! Tables and indexes.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A table (`pg_stat_user_tables`). Its counters are those of this instance: a standby counts its own reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// With its indexes and what is stored aside; `None` while somebody has it for himself.
    pub size_bytes: Option<u64>,
    /// Rows, about.
    pub rows_live: u64,
    /// Rows that vacuum is to take away, about.
    pub rows_dead: u64,
    /// Reads from beginning to end.
    pub scans: Option<u64>,
    /// Rows that these read.
    pub scan_rows: Option<u64>,
    /// Reads by an index.
    pub index_scans: Option<u64>,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Of them those that changed no index.
    pub hot_updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows changed since it was last analysed.
    pub changed: u64,
    /// When it was last vacuumed, by whomever.
    pub vacuumed_at: Option<Timestamp>,
    /// When it was last analysed, by whomever.
    pub analyzed_at: Option<Timestamp>,
}

/// An index (`pg_stat_user_indexes`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its size; `None` while somebody has it for himself.
    pub size_bytes: Option<u64>,
    /// Reads.
    pub scans: u64,
    /// Rows that these found.
    pub rows: u64,
    /// Whether it keeps values unique.
    pub unique: bool,
    /// Whether it may be used.
    pub valid: bool,
}

/// How old a table's oldest transaction is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableAge {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// In transactions.
    pub transaction_age: i64,
}
