//! What PostgreSQL is asked for its statistics, and how its answers are read. Pure.
//!
//! Every question answers rows of one column, a row as JSON: the columns have the names of [`kiven_model::statistics`], whatever they
//! are called in this version. What a question may answer is bounded in the question itself, and none of them waits for a lock that
//! somebody holds on a table.
use kiven_model::statement;
use kiven_model::statistics::{
    AGES_MAX, DATABASES_MAX, GROUPS_MAX, INDEXES_MAX, InstanceStatistics, REPLICAS_MAX, SESSIONS_MAX, STATEMENTS_MAX, Section, StatementText,
    TABLES_MAX, WAITS_MAX,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The extension that counts statements.
pub const STATEMENTS_EXTENSION: &str = "pg_stat_statements";
/// The first release in which the checkpointer has a view of its own.
const CHECKPOINTER_SINCE: u32 = 170_000;
/// The first version of the extension that counts the time of shared blocks apart.
const SHARED_TIMES_SINCE: (u32, u32) = (1, 11);
/// Longest text of a statement that is read, in characters: of a longer one the end is missing.
const TEXT_CHARACTERS_MAX: usize = 4096;

/// Everything that is asked at each time, in this order; texts are asked only where some are not known.
pub const ASKED: [Section; 18] = [
    Section::Server,
    Section::Counting,
    Section::Statements,
    Section::States,
    Section::Sessions,
    Section::Databases,
    Section::Replicas,
    Section::Slots,
    Section::Archiver,
    Section::Writer,
    Section::Checkpointer,
    Section::Wal,
    Section::Tables,
    Section::Indexes,
    Section::Ages,
    Section::Locks,
    Section::Waits,
    Section::Volume,
];

/// What a server is, as far as questions depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// `server_version_num`.
    pub version: u32,
    /// The schema of the extension, quoted as SQL wants it; `None` where it is not there.
    pub schema: Option<String>,
    /// The extension's version.
    pub extension: Option<String>,
}

/// What [`Asked`] is read from. The extension counts only as a superuser's: what anybody else has put under its name would run with the
/// agent's rights.
pub const ASKED_SQL: &str = "SELECT to_jsonb(s)::text FROM (SELECT current_setting('server_version_num')::int AS version, \
    quote_ident(e.nspname) AS schema, e.extversion AS extension FROM (SELECT 1) one LEFT JOIN (SELECT n.nspname, x.extversion \
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace JOIN pg_roles r ON r.oid = x.extowner \
    WHERE x.extname = 'pg_stat_statements' AND r.rolsuper) e ON true) s";

/// An answer that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{section:?} was answered in another form")]
pub struct Unreadable {
    section: Section,
    #[source]
    source: serde_json::Error,
}

impl Asked {
    /// The question for a section; `None` where this server has no answer.
    #[must_use]
    pub fn question(&self, section: Section) -> Option<String> {
        let inner = match section {
            Section::Counting | Section::Statements | Section::Texts => self.about_statements(section)?,
            Section::Writer => {
                "SELECT buffers_clean AS cleaned, maxwritten_clean AS stopped, buffers_alloc AS allocated, stats_reset AS reset_at FROM pg_stat_bgwriter"
                    .to_owned()
            }
            Section::Checkpointer if self.version >= CHECKPOINTER_SINCE => {
                "SELECT num_timed AS timed, num_requested AS requested, write_time AS write_ms, sync_time AS sync_ms, buffers_written AS buffers, \
                 stats_reset AS reset_at FROM pg_stat_checkpointer"
                    .to_owned()
            }
            Section::Checkpointer => {
                "SELECT checkpoints_timed AS timed, checkpoints_req AS requested, checkpoint_write_time AS write_ms, \
                 checkpoint_sync_time AS sync_ms, buffers_checkpoint AS buffers, stats_reset AS reset_at FROM pg_stat_bgwriter"
                    .to_owned()
            }
            Section::States | Section::Sessions | Section::Locks | Section::Waits => about_sessions(section),
            Section::Tables | Section::Indexes | Section::Ages => about_tables(section),
            Section::Server
            | Section::Databases
            | Section::Replicas
            | Section::Slots
            | Section::Archiver
            | Section::Wal
            | Section::Volume => about_server(section),
        };
        Some(format!("SELECT to_jsonb(s)::text FROM ({inner}) s"))
    }

    /// Texts take one parameter, the numbers of the statements that are asked for. Without texts the extension leaves its file alone.
    fn about_statements(&self, section: Section) -> Option<String> {
        let schema = self.schema.as_ref()?;
        let mut numbers = self.extension.as_deref()?.split('.').map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next()?, numbers.next()?);
        let shared = if version >= SHARED_TIMES_SINCE { "shared_" } else { "" };
        Some(match section {
            Section::Counting => format!("SELECT dealloc AS forgotten, stats_reset AS reset_at FROM {schema}.pg_stat_statements_info()"),
            Section::Texts => format!(
                "SELECT DISTINCT ON (queryid) queryid AS query_id, left(query, {TEXT_CHARACTERS_MAX}) AS query, \
                 length(query) > {TEXT_CHARACTERS_MAX} AS cut FROM {schema}.pg_stat_statements(true) \
                 WHERE queryid = ANY($1::bigint[]) AND query IS NOT NULL ORDER BY queryid"
            ),
            _ => format!(
                "SELECT t.queryid AS query_id, d.datname AS database, pg_get_userbyid(t.userid) AS role, t.toplevel AS top_level, t.calls, \
                 t.total_exec_time AS total_ms, t.max_exec_time AS longest_ms, t.stddev_exec_time AS deviation_ms, t.rows, \
                 t.shared_blks_hit + t.local_blks_hit AS blocks_hit, t.shared_blks_read + t.local_blks_read AS blocks_read, \
                 t.shared_blks_written + t.local_blks_written AS blocks_written, t.temp_blks_read + t.temp_blks_written AS temporary_blocks, \
                 t.{shared}blk_read_time + t.{shared}blk_write_time AS io_ms, t.wal_bytes::bigint AS wal_bytes \
                 FROM {schema}.pg_stat_statements(false) t LEFT JOIN pg_database d ON d.oid = t.dbid \
                 WHERE t.userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user) AND t.queryid <> 0 \
                 ORDER BY t.total_exec_time DESC LIMIT {STATEMENTS_MAX}"
            ),
        })
    }
}

fn about_server(section: Section) -> String {
    match section {
        Section::Databases => format!(
            "SELECT d.datname AS name, pg_database_size(d.oid) AS size_bytes, age(d.datfrozenxid) AS transaction_age, \
             mxid_age(d.datminmxid) AS multixact_age, d.numbackends AS connections, d.xact_commit AS commits, d.xact_rollback AS rollbacks, \
             d.blks_hit AS blocks_hit, d.blks_read AS blocks_read, d.tup_returned AS rows_returned, d.tup_fetched AS rows_fetched, \
             d.tup_inserted AS rows_inserted, d.tup_updated AS rows_updated, d.tup_deleted AS rows_deleted, d.conflicts, \
             d.temp_files AS temporary_files, d.temp_bytes AS temporary_bytes, d.deadlocks, d.checksum_failures, \
             d.blk_read_time + d.blk_write_time AS io_ms, d.sessions, d.sessions_abandoned, d.stats_reset AS reset_at \
             FROM (SELECT b.oid, b.datfrozenxid, b.datminmxid, c.* FROM pg_database b JOIN pg_stat_database c ON c.datid = b.oid \
             WHERE b.datallowconn ORDER BY c.numbackends DESC, c.xact_commit DESC LIMIT {DATABASES_MAX}) d"
        ),
        Section::Replicas => format!(
            "SELECT application_name AS name, state, sync_state AS sync, \
             pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, replay_lsn)::bigint \
             AS behind_bytes, extract(epoch FROM flush_lag) AS flush_lag_seconds, extract(epoch FROM replay_lag) AS replay_lag_seconds \
             FROM pg_stat_replication ORDER BY application_name LIMIT {REPLICAS_MAX}"
        ),
        Section::Slots => format!(
            "SELECT slot_name AS name, slot_type AS kind, active, wal_status AS state, \
             pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint \
             AS kept_bytes FROM pg_replication_slots ORDER BY slot_name LIMIT {REPLICAS_MAX}"
        ),
        Section::Archiver => "SELECT archived_count AS archived, last_archived_wal AS archived_wal, last_archived_time AS archived_at, \
             failed_count AS failed, last_failed_time AS failed_at, stats_reset AS reset_at FROM pg_stat_archiver"
            .to_owned(),
        Section::Wal => "SELECT wal_records AS records, wal_fpi AS pages, wal_bytes::bigint AS bytes, wal_buffers_full AS buffers_full, \
             stats_reset AS reset_at FROM pg_stat_wal"
            .to_owned(),
        Section::Volume => "SELECT (SELECT coalesce(sum(pg_tablespace_size(oid)), 0) FROM pg_tablespace)::bigint AS data_bytes, \
             (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir())::bigint AS wal_bytes, \
             (SELECT coalesce(sum(size), 0) FROM pg_ls_tmpdir())::bigint AS temporary_bytes, \
             (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') AS unarchived"
            .to_owned(),
        _ => "SELECT current_setting('server_version_num')::int AS version, pg_postmaster_start_time() AS started_at, \
             pg_is_in_recovery() AS standby, current_setting('max_connections')::int AS connections_max, \
             pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0')::bigint \
             AS wal_position, CASE WHEN pg_is_in_recovery() THEN extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END \
             AS replayed_seconds_ago"
            .to_owned(),
    }
}

/// The text of a session's statement is never read: PostgreSQL itself cuts its first word out.
fn about_sessions(section: Section) -> String {
    match section {
        Section::States => format!(
            "SELECT state, CASE WHEN state = 'active' THEN wait_event_type END AS wait, count(*) AS sessions FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {GROUPS_MAX}"
        ),
        Section::Locks => {
            format!(
                "SELECT mode, granted, count(*) AS locks FROM pg_locks WHERE pid <> pg_backend_pid() GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {GROUPS_MAX}"
            )
        }
        Section::Waits => format!(
            "SELECT w.pid, w.kind, w.mode, c.relname AS table, extract(epoch FROM now() - w.waitstart) AS seconds, \
             pg_blocking_pids(w.pid) AS blocked_by FROM (SELECT pid, locktype AS kind, mode, waitstart, \
             CASE WHEN database = (SELECT oid FROM pg_database WHERE datname = current_database()) THEN relation END AS relation \
             FROM pg_locks WHERE NOT granted ORDER BY waitstart LIMIT {WAITS_MAX}) w LEFT JOIN pg_class c ON c.oid = w.relation"
        ),
        _ => format!(
            "SELECT pid, datname AS database, usename AS role, left(application_name, 63) AS application, state, wait_event_type AS wait, \
             wait_event, query_id, substring(query FROM '^\\s*([A-Za-z]{{2,16}})(?![A-Za-z0-9_$])') AS keyword, xact_start AS transaction_since, \
             query_start AS statement_since, age(backend_xmin) AS horizon_age FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid() \
             ORDER BY xact_start NULLS LAST LIMIT {SESSIONS_MAX}"
        ),
    }
}

/// Sizes are asked of the largest only, and not of a table that somebody has, or waits to have, for himself: its size would wait with
/// them.
fn about_tables(section: Section) -> String {
    let taken = "(SELECT relation FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock')";
    match section {
        Section::Indexes => format!(
            "SELECT i.schemaname AS schema, i.relname AS table, i.indexrelname AS name, i.idx_scan AS scans, i.idx_tup_read AS rows, \
             x.indisunique AS unique, x.indisvalid AS valid, \
             CASE WHEN i.indexrelid NOT IN {taken} AND i.relid NOT IN {taken} THEN pg_relation_size(i.indexrelid) END AS size_bytes \
             FROM (SELECT a.* FROM pg_stat_user_indexes a JOIN pg_class c ON c.oid = a.indexrelid \
             ORDER BY c.relpages DESC, a.idx_scan DESC LIMIT {INDEXES_MAX}) i JOIN pg_index x ON x.indexrelid = i.indexrelid"
        ),
        Section::Ages => format!(
            "SELECT n.nspname AS schema, c.relname AS name, age(c.relfrozenxid) AS transaction_age FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 't', 'm') AND c.relfrozenxid <> '0' \
             ORDER BY age(c.relfrozenxid) DESC LIMIT {AGES_MAX}"
        ),
        // Pages are counted by vacuum and analyze: a table that neither has seen stands where its rows would put it.
        _ => format!(
            "SELECT t.schemaname AS schema, t.relname AS name, t.n_live_tup AS rows_live, t.n_dead_tup AS rows_dead, t.seq_scan AS scans, \
             t.seq_tup_read AS scan_rows, t.idx_scan AS index_scans, t.n_tup_ins AS inserted, t.n_tup_upd AS updated, \
             t.n_tup_hot_upd AS hot_updated, t.n_tup_del AS deleted, t.n_mod_since_analyze AS changed, \
             greatest(t.last_vacuum, t.last_autovacuum) AS vacuumed_at, greatest(t.last_analyze, t.last_autoanalyze) AS analyzed_at, \
             CASE WHEN t.relid NOT IN {taken} AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = t.relid AND x.indexrelid IN {taken}) \
             THEN pg_total_relation_size(t.relid) END AS size_bytes \
             FROM (SELECT a.* FROM pg_stat_user_tables a JOIN pg_class c ON c.oid = a.relid \
             ORDER BY greatest(c.relpages, (a.n_live_tup + a.n_dead_tup) / 64) DESC, a.relid LIMIT {TABLES_MAX}) t"
        ),
    }
}

/// A statement with its text, as it is in the database and goes no further.
#[derive(Deserialize)]
struct Raw {
    query_id: i64,
    query: String,
    cut: bool,
}

/// Reads the answer to a section's question.
///
/// # Errors
/// When it is not in the form that was asked for; nothing of it is kept then.
pub fn read(into: &mut InstanceStatistics, section: Section, rows: &[String]) -> Result<(), Unreadable> {
    let unreadable = |source| Unreadable { section, source };
    match section {
        Section::Server => into.server = one(rows).map_err(unreadable)?,
        Section::Counting => into.counting = one(rows).map_err(unreadable)?,
        Section::Statements => into.statements = all(rows).map_err(unreadable)?,
        Section::Texts => {
            let raw: Vec<Raw> = all(rows).map_err(unreadable)?;
            into.texts = raw.iter().map(told).collect();
        }
        Section::States => into.states = all(rows).map_err(unreadable)?,
        Section::Sessions => {
            into.sessions = all(rows).map_err(unreadable)?;
            for session in &mut into.sessions {
                session.keyword = session.keyword.as_deref().and_then(statement::keyword).map(str::to_owned);
            }
        }
        Section::Databases => into.databases = all(rows).map_err(unreadable)?,
        Section::Replicas => into.replicas = all(rows).map_err(unreadable)?,
        Section::Slots => into.slots = all(rows).map_err(unreadable)?,
        Section::Archiver => into.archiver = one(rows).map_err(unreadable)?,
        Section::Writer => into.writer = one(rows).map_err(unreadable)?,
        Section::Checkpointer => into.checkpointer = one(rows).map_err(unreadable)?,
        Section::Wal => into.wal = one(rows).map_err(unreadable)?,
        Section::Tables => into.tables = all(rows).map_err(unreadable)?,
        Section::Indexes => into.indexes = all(rows).map_err(unreadable)?,
        Section::Ages => into.ages = all(rows).map_err(unreadable)?,
        Section::Locks => into.locks = all(rows).map_err(unreadable)?,
        Section::Waits => into.waits = all(rows).map_err(unreadable)?,
        Section::Volume => into.volume = one(rows).map_err(unreadable)?,
    }
    Ok(())
}

fn told(raw: &Raw) -> StatementText {
    let normalised = statement::normalise(&raw.query, raw.cut);
    StatementText { query_id: raw.query_id, keyword: normalised.keyword.map(str::to_owned), text: normalised.text }
}

fn all<T: DeserializeOwned>(rows: &[String]) -> Result<Vec<T>, serde_json::Error> {
    rows.iter().map(|row| serde_json::from_str(row)).collect()
}

fn one<T: DeserializeOwned>(rows: &[String]) -> Result<Option<T>, serde_json::Error> {
    rows.first().map(|row| serde_json::from_str(row)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use kiven_model::DatabaseId;
    use serde_json::json;

    fn empty() -> InstanceStatistics {
        InstanceStatistics::empty(DatabaseId::from_random([1; 16]), "c".into(), "c-1".into(), "shop".into(), Timestamp::UNIX_EPOCH)
    }

    fn server(version: u32, extension: Option<&str>) -> Asked {
        Asked { version, schema: extension.map(|_| "public".to_owned()), extension: extension.map(str::to_owned) }
    }

    #[test]
    fn questions_follow_the_version_of_server_and_extension() {
        let (old, new) = (server(150_017, Some("1.10")), server(170_002, Some("1.11")));
        let asks = |server: &Asked, section, word: &str| server.question(section).is_some_and(|question| question.contains(word));
        assert!(asks(&old, Section::Checkpointer, "checkpoints_timed") && asks(&new, Section::Checkpointer, "pg_stat_checkpointer"));
        assert!(asks(&old, Section::Statements, "t.blk_read_time") && asks(&new, Section::Statements, "t.shared_blk_read_time"));
        // The server may be newer than its extension.
        assert!(asks(&server(180_000, Some("1.10")), Section::Statements, "t.blk_read_time"));
        assert_eq!(server(150_000, None).question(Section::Statements), None);
        assert!(ASKED.iter().all(|section| new.question(*section).is_some()) && !ASKED.contains(&Section::Texts));
    }

    #[test]
    fn texts_are_normalised_as_they_are_read_and_words_of_sessions_are_known_ones() {
        let mut read_into = empty();
        let row = |query: &str| json!({ "query_id": 7, "query": query, "cut": false }).to_string();
        read(&mut read_into, Section::Texts, &[row("SELECT 'CANARY'"), row("CREATE ROLE x PASSWORD 'CANARY'")]).unwrap();
        let session = json!({
            "pid": 1, "database": null, "role": "app", "application": "web", "state": "active", "wait": null, "wait_event": null,
            "query_id": 7, "keyword": "canary", "transaction_since": "2026-11-23T22:59:02.123456+00:00", "statement_since": null, "horizon_age": 3,
        });
        read(&mut read_into, Section::Sessions, &[session.to_string()]).unwrap();
        let text = serde_json::to_string(&read_into).unwrap();
        assert!(!text.to_lowercase().contains("canary"), "{text}");
        assert_eq!(read_into.texts.iter().map(|text| text.text.as_deref()).collect::<Vec<_>>(), [Some("SELECT $1"), None]);
        assert_eq!(read_into.sessions[0].transaction_since.unwrap().as_second(), 1_795_474_742);
    }

    #[test]
    fn an_answer_of_another_form_is_an_error_and_changes_nothing() {
        let mut read_into = empty();
        assert!(read(&mut read_into, Section::Volume, &["{}".to_owned()]).is_err());
        assert_eq!(read_into, empty());
    }
}
