//! One PostgreSQL server with a database for each that is measured: real views, real TLS, and some hundred statements to tell of.
use crate::kiven::Authority;
use anyhow::{Context, ensure};
use kiven_model::names::AGENT_ROLE;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// Where Debian and its derivatives keep one folder a major version.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";
/// Who runs it when this is root's process: PostgreSQL refuses root.
const USER: &str = "postgres";
/// Tables in each database, and statements that have run on each.
const TABLES: usize = 25;
/// How long it may take to answer, and how often it is tried.
const READY_MAX: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// Connections: the agent's, and room for those that make the databases.
const CONNECTIONS: usize = 120;

/// A running server; it ends with this value.
pub(crate) struct Postgres {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
    /// The password of the agent's role.
    pub(crate) password: String,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The newest server's programs.
fn programs() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().find(|folder| folder.join("initdb").is_file()).context("PostgreSQL is missing: install the package postgresql")
}

/// The user that PostgreSQL runs as, where it must be another than this process's.
fn user() -> anyhow::Result<Option<(u32, u32)>> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&USER));
    let entry = entry.with_context(|| format!("there is no user {USER}, and PostgreSQL refuses root"))?;
    let id = |at: usize| entry.get(at).and_then(|text| text.parse().ok());
    Ok(id(2).zip(id(3)))
}

fn command(program: PathBuf, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

impl Postgres {
    /// Starts it with a database of each name.
    pub(crate) async fn start(folder: &Path, authority: &Authority, names: &[String]) -> anyhow::Result<Self> {
        let (programs, user) = (programs()?, user()?);
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        let (home, data) = (folder.join("postgres"), folder.join("postgres/data"));
        std::fs::create_dir(&home)?;
        let own = |path: &Path| user.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid)));
        own(&home)?;
        let mut initdb = command(programs.join("initdb"), user);
        initdb.args(["--no-sync", "-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256", "--auth-local=trust", "-D"]).arg(&data);
        let made = initdb.output().context("cannot start initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (certificate, key) = authority.server(names.iter().map(|name| format!("{name}-rw")).collect())?;
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            std::fs::write(&path, text)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            own(&path)?;
        }
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nssl = on\nfsync = off\nmax_connections = {CONNECTIONS}\n\
             shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track_utility = off\ntrack_io_timing = on\n",
            home.display()
        );
        let conf = data.join("postgresql.conf");
        let all = std::fs::read_to_string(&conf)? + &settings;
        std::fs::write(&conf, all)?;
        let log = std::fs::File::create(folder.join("postgres.log"))?;
        let child = command(programs.join("postgres"), user).arg("-D").arg(&data).stderr(log).spawn().context("cannot start postgres")?;
        let server = Self { child, port, password: "measured".to_owned() };
        server.fill(&home, names).await?;
        Ok(server)
    }

    async fn connect(&self, home: &Path, database: &str) -> anyhow::Result<tokio_postgres::Client> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(home).port(self.port).user("postgres").dbname(database);
        let deadline = Instant::now() + READY_MAX;
        loop {
            match config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(async move { drop(connection.await) });
                    return Ok(client);
                }
                Err(error) => ensure!(Instant::now() < deadline, "PostgreSQL does not answer: {error}"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes the agent's role, and in each database tables and statements to tell of.
    async fn fill(&self, home: &Path, names: &[String]) -> anyhow::Result<()> {
        let first = self.connect(home, "postgres").await?;
        first.batch_execute(&format!("CREATE ROLE {AGENT_ROLE} LOGIN IN ROLE pg_monitor PASSWORD '{}'", self.password)).await?;
        for name in names {
            first.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await?;
            let inside = self.connect(home, name).await?;
            inside.batch_execute("CREATE EXTENSION pg_stat_statements").await?;
            for number in 0..TABLES {
                inside
                    .batch_execute(&format!(
                        "CREATE TABLE table_{number} (id bigint PRIMARY KEY, name text, made_at timestamptz DEFAULT now()); \
                         INSERT INTO table_{number} SELECT n, 'name ' || n FROM generate_series(1, 200) n; \
                         SELECT count(*) FROM table_{number} WHERE name = 'name 7' AND made_at > '2020-01-01'; \
                         UPDATE table_{number} SET name = 'other' WHERE id IN (1, 2, 3)"
                    ))
                    .await?;
            }
        }
        Ok(())
    }
}
