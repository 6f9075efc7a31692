//! The local account's memory: one SQLite file with a key → JSON table and the index of S3 objects.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Longest wait for another process that holds the file.
const BUSY_MILLISECONDS_MAX: u64 = 5_000;

/// The file could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// SQLite refused.
    #[error("the local account's state file failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value is not what this version writes.
    #[error("a stored value has another shape")]
    Shape(#[from] serde_json::Error),
}

/// A stored S3 object without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectRow {
    pub(crate) key: String,
    pub(crate) file: String,
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) modified_ms: i64,
    /// Headers to give back (content type, user metadata), as JSON.
    pub(crate) headers: String,
}

/// A handle on the file; clones share one connection.
#[derive(Clone)]
pub struct State {
    connection: Arc<Mutex<Connection>>,
}

impl State {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::over(Connection::open(path)?)
    }

    /// A state that ends with the process.
    pub fn memory() -> Result<Self, StateError> {
        Self::over(Connection::open_in_memory()?)
    }

    fn over(connection: Connection) -> Result<Self, StateError> {
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MILLISECONDS_MAX))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS object (
               bucket TEXT NOT NULL, key TEXT NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
               etag TEXT NOT NULL, modified_ms INTEGER NOT NULL, headers TEXT NOT NULL,
               PRIMARY KEY (bucket, key)) WITHOUT ROWID;",
        )?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Reads one value.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StateError> {
        let text: Option<String> = self.lock().query_row("SELECT value FROM item WHERE key = ?1", params![key], |row| row.get(0)).optional()?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Writes one value.
    pub fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StateError> {
        let text = serde_json::to_string(value)?;
        self.lock().execute("INSERT OR REPLACE INTO item (key, value) VALUES (?1, ?2)", params![key, text])?;
        Ok(())
    }

    /// Removes one value.
    pub fn delete(&self, key: &str) -> Result<(), StateError> {
        self.lock().execute("DELETE FROM item WHERE key = ?1", params![key])?;
        Ok(())
    }

    /// Every value whose key starts with `prefix`, in key order.
    pub fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>, StateError> {
        let connection = self.lock();
        let mut query = connection.prepare_cached("SELECT key, value FROM item WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key")?;
        let rows = query.query_map(params![prefix], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let mut values = Vec::new();
        for row in rows {
            let (key, text): (String, String) = row?;
            values.push((key, serde_json::from_str(&text)?));
        }
        Ok(values)
    }

    /// Writes an object's row and answers the file it replaces. With `if_absent`, `None` when it was there.
    pub(crate) fn object_put(&self, bucket: &str, row: &ObjectRow, if_absent: bool) -> Result<Put, StateError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let before: Option<String> =
            transaction.query_row("SELECT file FROM object WHERE bucket = ?1 AND key = ?2", params![bucket, row.key], |r| r.get(0)).optional()?;
        if if_absent && before.is_some() {
            return Ok(Put::Exists);
        }
        transaction.execute(
            "INSERT OR REPLACE INTO object (bucket, key, file, size, etag, modified_ms, headers)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![bucket, row.key, row.file, row.size as i64, row.etag, row.modified_ms, row.headers],
        )?;
        transaction.commit()?;
        Ok(Put::Done { replaced: before.filter(|file| *file != row.file) })
    }

    pub(crate) fn object_get(&self, bucket: &str, key: &str) -> Result<Option<ObjectRow>, StateError> {
        let connection = self.lock();
        let mut query = connection.prepare_cached("SELECT key, file, size, etag, modified_ms, headers FROM object WHERE bucket = ?1 AND key = ?2")?;
        Ok(query.query_row(params![bucket, key], object_row).optional()?)
    }

    /// Removes an object's row and answers the file of its body.
    pub(crate) fn object_delete(&self, bucket: &str, key: &str) -> Result<Option<String>, StateError> {
        let connection = self.lock();
        let mut query = connection.prepare_cached("DELETE FROM object WHERE bucket = ?1 AND key = ?2 RETURNING file")?;
        Ok(query.query_row(params![bucket, key], |row| row.get(0)).optional()?)
    }

    /// Rows with the prefix and after the key, in key order (SQLite compares UTF-8 bytes, as S3 does).
    pub(crate) fn object_list(&self, bucket: &str, prefix: &str, after: &str, rows_max: usize) -> Result<Vec<ObjectRow>, StateError> {
        let connection = self.lock();
        let mut query = connection.prepare_cached(
            "SELECT key, file, size, etag, modified_ms, headers FROM object
             WHERE bucket = ?1 AND key > ?3 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2
             ORDER BY key LIMIT ?4",
        )?;
        let rows = query.query_map(params![bucket, prefix, after, rows_max as i64], object_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A poisoned lock only says that another request panicked; SQLite rolled its transaction back.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What became of a conditional write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Done { replaced: Option<String> },
    Exists,
}

fn object_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ObjectRow> {
    Ok(ObjectRow {
        key: row.get(0)?,
        file: row.get(1)?,
        size: row.get::<_, i64>(2)?.unsigned_abs(),
        etag: row.get(3)?,
        modified_ms: row.get(4)?,
        headers: row.get(5)?,
    })
}
