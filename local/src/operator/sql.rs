//! SQL over a server's private socket: small, bounded, and never with a secret in a server's log.
use super::error::OperatorError;
use super::instance::Instance;
use super::view::{Spec, decode, text};
use kiven_fake_kube::{Handle, Selector, kinds};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

const CONNECT_SECONDS_MAX: u64 = 5;
const QUERY_SECONDS_MAX: u64 = 90;

/// An open session of the superuser.
pub(crate) struct Session(Client);

impl Session {
    pub(crate) async fn open(instance: &Instance, database: &str) -> Result<Self, OperatorError> {
        let mut config = Config::new();
        config
            .host_path(&instance.run)
            .port(instance.port)
            .user("postgres")
            .dbname(database)
            .application_name("cnpg-operator")
            .options("-c synchronous_commit=local");
        let connect = config.connect(NoTls);
        let (client, connection) =
            timeout(Duration::from_secs(CONNECT_SECONDS_MAX), connect).await.map_err(|_| OperatorError::Timeout("a session".into()))??;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(client))
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), OperatorError> {
        self.row(sql).await.map(drop)
    }

    /// The columns of the first row, as text.
    pub(crate) async fn row(&self, sql: &str) -> Result<Vec<Option<String>>, OperatorError> {
        Ok(self.rows(sql).await?.into_iter().next().unwrap_or_default())
    }

    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, OperatorError> {
        let answer = timeout(Duration::from_secs(QUERY_SECONDS_MAX), self.0.simple_query(sql))
            .await
            .map_err(|_| OperatorError::Timeout("an answer of PostgreSQL".into()))??;
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(Into::into)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    async fn has(&self, sql: &str) -> Result<bool, OperatorError> {
        Ok(!self.row(sql).await?.is_empty())
    }
}

/// Text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Makes what the Cluster declares inside PostgreSQL: owner, database, roles, and its Database objects.
pub(crate) async fn declare(kube: &Handle, spec: &Spec, primary: &Instance) -> Result<(), OperatorError> {
    let session = Session::open(primary, "postgres").await?;
    session.run("SET log_min_error_statement = panic; SET log_statement = none; SET log_min_duration_statement = -1").await?;
    role(&session, "streaming_replica", "LOGIN REPLICATION").await?;
    let owner = &spec.bootstrap.owner;
    role(&session, owner, "LOGIN").await?;
    if let Some(secret) = &spec.bootstrap.secret {
        password(kube, &session, spec, owner, secret).await?;
    }
    database(&session, &spec.bootstrap.database, owner).await?;
    for statement in &spec.post_init {
        post_init(&session, statement).await?;
    }
    for declared in &spec.roles {
        let role_name = text(declared, "/name");
        if text(declared, "/ensure") == "absent" {
            session.run(&format!("DROP ROLE IF EXISTS {}", name(role_name))).await?;
            continue;
        }
        role(&session, role_name, &options(declared)).await?;
        for group in declared["inRoles"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            session.run(&format!("GRANT {} TO {}", name(group), name(role_name))).await?;
        }
        match text(declared, "/passwordSecret/name") {
            "" => {}
            secret => password(kube, &session, spec, role_name, secret).await?,
        }
    }
    for object in kube.list(&kinds::DATABASES, Some(&spec.namespace), &Selector::all()) {
        if text(&object, "/spec/cluster/name") == spec.name {
            declared_database(kube, &session, primary, &object).await?;
        }
    }
    preloaded_extensions(&session, primary).await
}

/// Libraries that are loaded because their parameters are set, and are extensions too.
const PRELOADED: [&str; 1] = ["pg_stat_statements"];

/// Makes the extensions of what is loaded in every database that takes connections, as CloudNativePG does; `template1` is one of them,
/// so that later databases have them too.
async fn preloaded_extensions(session: &Session, primary: &Instance) -> Result<(), OperatorError> {
    let loaded = session.row("SHOW shared_preload_libraries").await?.into_iter().next().flatten().unwrap_or_default();
    let extensions: Vec<&str> = loaded.split(',').map(str::trim).filter(|library| PRELOADED.contains(library)).collect();
    if extensions.is_empty() {
        return Ok(());
    }
    for row in session.rows("SELECT datname FROM pg_database WHERE datallowconn").await? {
        let Some(database) = row.first().cloned().flatten() else { continue };
        let inside = Session::open(primary, &database).await?;
        for extension in &extensions {
            inside.run(&format!("CREATE EXTENSION IF NOT EXISTS {}", name(extension))).await?;
        }
    }
    Ok(())
}

/// A statement of `postInitSQL`. This pass may be a repetition: what the statement makes may be there already.
async fn post_init(session: &Session, statement: &str) -> Result<(), OperatorError> {
    let sql = literal(statement);
    session.run(&format!("DO $kiven$ BEGIN EXECUTE {sql}; EXCEPTION WHEN duplicate_object THEN NULL; END $kiven$")).await
}

fn options(role: &Value) -> String {
    let flag = |field: &str, word: &str, default: bool| {
        let on = role[field].as_bool().unwrap_or(default);
        if on { word.to_owned() } else { format!("NO{word}") }
    };
    let limit = role["connectionLimit"].as_i64().unwrap_or(-1);
    [
        flag("login", "LOGIN", false),
        flag("superuser", "SUPERUSER", false),
        flag("createdb", "CREATEDB", false),
        flag("createrole", "CREATEROLE", false),
        flag("replication", "REPLICATION", false),
        flag("inherit", "INHERIT", true),
        flag("bypassrls", "BYPASSRLS", false),
        format!("CONNECTION LIMIT {limit}"),
    ]
    .join(" ")
}

async fn role(session: &Session, role: &str, options: &str) -> Result<(), OperatorError> {
    let there = session.has(&format!("SELECT 1 FROM pg_roles WHERE rolname = {}", literal(role))).await?;
    let verb = if there { "ALTER" } else { "CREATE" };
    session.run(&format!("{verb} ROLE {} {options}", name(role))).await
}

async fn password(kube: &Handle, session: &Session, spec: &Spec, role: &str, secret: &str) -> Result<(), OperatorError> {
    let secret = kube.get(&kinds::SECRETS, &spec.namespace, secret)?;
    let password = decode(&secret, "password").ok_or_else(|| OperatorError::Missing(format!("password in the Secret of role {role}")))?;
    session.run(&format!("ALTER ROLE {} PASSWORD {}", name(role), literal(&password))).await
}

async fn database(session: &Session, database: &str, owner: &str) -> Result<(), OperatorError> {
    if session.has(&format!("SELECT 1 FROM pg_database WHERE datname = {}", literal(database))).await? {
        return session.run(&format!("ALTER DATABASE {} OWNER TO {}", name(database), name(owner))).await;
    }
    // WAL_LOG copies a small template without the two checkpoints that FILE_COPY takes.
    session.run(&format!("CREATE DATABASE {} OWNER {} STRATEGY wal_log", name(database), name(owner))).await
}

async fn declared_database(kube: &Handle, session: &Session, primary: &Instance, object: &Value) -> Result<(), OperatorError> {
    let (namespace, object_name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    let wanted = text(object, "/spec/name");
    let applied = async {
        if text(object, "/spec/ensure") == "absent" {
            return session.run(&format!("DROP DATABASE IF EXISTS {}", name(wanted))).await;
        }
        database(session, wanted, text(object, "/spec/owner")).await?;
        let inside = Session::open(primary, wanted).await?;
        for (field, kind) in [("schemas", "SCHEMA"), ("extensions", "EXTENSION")] {
            for item in object["spec"][field].as_array().into_iter().flatten() {
                let item_name = name(text(item, "/name"));
                let absent = text(item, "/ensure") == "absent";
                let sql = if absent { format!("DROP {kind} IF EXISTS {item_name}") } else { format!("CREATE {kind} IF NOT EXISTS {item_name}") };
                inside.run(&sql).await?;
            }
        }
        Ok(())
    };
    let mut status = json!({ "observedGeneration": object["metadata"]["generation"], "applied": true, "message": null });
    if let Err(error) = applied.await {
        tracing::warn!(database = object_name, error = error.chain(), "a Database was not applied");
        status["applied"] = json!(false);
        status["message"] = json!(error.chain());
    }
    kube.patch_status(&kinds::DATABASES, namespace, object_name, &status)?;
    Ok(())
}

/// Gives every standby its replication slot and drops those whose standby has gone.
pub(crate) async fn slots(session: &Session, standbys: &[&Instance]) -> Result<(), OperatorError> {
    let have = session.rows("SELECT slot_name, active FROM pg_replication_slots WHERE slot_name LIKE '\\_cnpg\\_%'").await?;
    let slot = |row: &Vec<Option<String>>| row.first().cloned().flatten().unwrap_or_default();
    for standby in standbys.iter().map(|standby| standby.slot()) {
        if !have.iter().any(|row| slot(row) == standby) {
            session.run(&format!("SELECT pg_create_physical_replication_slot({}, true)", literal(&standby))).await?;
        }
    }
    for row in have.iter().filter(|row| row.get(1).cloned().flatten().as_deref() == Some("f")) {
        if !standbys.iter().any(|standby| standby.slot() == slot(row)) {
            session.run(&format!("SELECT pg_drop_replication_slot({})", literal(&slot(row)))).await?;
        }
    }
    Ok(())
}
