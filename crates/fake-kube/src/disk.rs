//! Where objects outlive the process: rows in SQLite, and Secrets' data in files of their own, never in SQLite.
use crate::{error::ApiError, kinds};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Identity of a stored object: plural, namespace (empty for cluster scope), name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) plural: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a start finds: every object and the last resource version.
pub(crate) type Loaded = (Vec<(Key, Value)>, u64);

pub(crate) struct Disk {
    connection: Connection,
    secrets: PathBuf,
}

impl Disk {
    pub(crate) fn open(database: &Path, secrets: &Path) -> Result<(Self, Loaded), ApiError> {
        private_folder(secrets)?;
        let connection = Connection::open(database)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
             CREATE TABLE IF NOT EXISTS kube_objects(plural TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY(plural, namespace, name));
             CREATE TABLE IF NOT EXISTS kube_version(id INTEGER PRIMARY KEY CHECK(id = 1), version INTEGER NOT NULL);
             INSERT OR IGNORE INTO kube_version VALUES(1, 1);",
        )?;
        let disk = Self { connection, secrets: secrets.into() };
        let loaded = disk.load()?;
        Ok((disk, loaded))
    }

    fn load(&self) -> Result<Loaded, ApiError> {
        let version: i64 = self.connection.query_row("SELECT version FROM kube_version", [], |row| row.get(0))?;
        let mut statement = self.connection.prepare("SELECT plural, namespace, name, body FROM kube_objects")?;
        let mut rows = statement.query([])?;
        let mut objects = Vec::new();
        while let Some(row) = rows.next()? {
            let plural: String = row.get(0)?;
            let Some(kind) = kinds::by_plural(&plural) else { continue };
            let key = Key { plural: kind.plural, namespace: row.get(1)?, name: row.get(2)? };
            let mut object: Value = serde_json::from_str(&row.get::<_, String>(3)?).map_err(std::io::Error::from)?;
            if key.plural == kinds::SECRETS.plural {
                match fs::read(self.secret_path(&key)) {
                    Ok(bytes) => object["data"] = serde_json::from_slice(&bytes).map_err(std::io::Error::from)?,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
            objects.push((key, object));
        }
        Ok((objects, u64::try_from(version).unwrap_or(1)))
    }

    /// Writes an object; a Secret's data first, so that no row ever points to data that is not there.
    pub(crate) fn put(&mut self, key: &Key, object: &Value, version: u64) -> Result<(), ApiError> {
        let mut row = object.clone();
        if key.plural == kinds::SECRETS.plural {
            let data = row.as_object_mut().and_then(|map| map.remove("data")).unwrap_or_else(|| json!({}));
            private_folder(&self.secrets.join(&key.namespace))?;
            private_file(&self.secret_path(key), data.to_string().as_bytes())?;
        }
        let transaction = self.connection.transaction()?;
        transaction
            .execute("INSERT OR REPLACE INTO kube_objects VALUES(?1, ?2, ?3, ?4)", params![key.plural, key.namespace, key.name, row.to_string()])?;
        advance(&transaction, version)?;
        Ok(transaction.commit()?)
    }

    pub(crate) fn remove(&mut self, key: &Key, version: u64) -> Result<(), ApiError> {
        let transaction = self.connection.transaction()?;
        transaction
            .execute("DELETE FROM kube_objects WHERE plural = ?1 AND namespace = ?2 AND name = ?3", params![key.plural, key.namespace, key.name])?;
        advance(&transaction, version)?;
        transaction.commit()?;
        if key.plural == kinds::SECRETS.plural {
            match fs::remove_file(self.secret_path(key)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn secret_path(&self, key: &Key) -> PathBuf {
        self.secrets.join(&key.namespace).join(format!("{}.json", key.name))
    }
}

fn advance(transaction: &rusqlite::Transaction<'_>, version: u64) -> Result<(), ApiError> {
    transaction.execute("UPDATE kube_version SET version = ?1", [i64::try_from(version).unwrap_or(i64::MAX)])?;
    Ok(())
}

fn private_folder(path: &Path) -> Result<(), ApiError> {
    Ok(fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?)
}

/// Writes a file that only its owner reads, whole or not at all.
pub(crate) fn private_file(path: &Path, bytes: &[u8]) -> Result<(), ApiError> {
    let draft = path.with_extension("draft");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(&draft, path)?)
}
