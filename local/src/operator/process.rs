//! PostgreSQL's programs: where they are, as whom they run, and what a data directory's server is doing.
use super::error::OperatorError;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

/// Where Debian and its derivatives keep one folder a major version.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";
const POLL: Duration = Duration::from_millis(100);
const START_SECONDS_MAX: u64 = 60;
const STOP_SECONDS_MAX: u64 = 60;
const COMMAND_SECONDS_MAX: u64 = 1800;
const STDERR_BYTES_MAX: usize = 2000;

/// An operating system user to run servers as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl User {
    /// The user to run as: nobody else when we are an ordinary user, the named one when we are root.
    pub fn to_run_as(name: &str) -> Result<Option<Self>, OperatorError> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd")?;
        let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name));
        let id = |at: usize| entry.as_ref().and_then(|fields| fields.get(at)?.parse().ok());
        match (id(2), id(3)) {
            (Some(uid), Some(gid)) if uid != 0 => Ok(Some(Self { uid, gid })),
            _ => Err(OperatorError::Missing(format!("a user named {name}: PostgreSQL refuses to run as root"))),
        }
    }
}

/// What is run; a folder that has only some of them is a folder of links.
const PROGRAMS: [&str; 5] = ["postgres", "initdb", "pg_basebackup", "pg_ctl", "pg_rewind"];

/// An installed PostgreSQL.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// Folder of `postgres`, `initdb` and the others.
    pub bin: PathBuf,
    /// Major version.
    pub major: u32,
    /// User to run as, when not our own.
    pub user: Option<User>,
}

impl Postgres {
    /// Looks in the given folder, then in `PATH`'s folders, then in Debian's, newest first.
    pub async fn find(bin_dir: Option<&Path>, path: &OsStr, user: Option<User>) -> Result<Self, OperatorError> {
        let mut folders: Vec<PathBuf> = bin_dir.map(Path::to_path_buf).into_iter().collect();
        if bin_dir.is_none() {
            folders.extend(std::env::split_paths(path));
            let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_FOLDER)
                .map(|entries| entries.flatten().filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin")))).collect())
                .unwrap_or_default();
            versions.sort();
            folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
        }
        for bin in folders.into_iter().filter(|folder| PROGRAMS.iter().all(|name| folder.join(name).is_file())) {
            let said = Command::new(bin.join("postgres")).arg("--version").output().await?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let number = said.split_whitespace().find_map(|word| word.split(['.', 'b', 'r', 'd']).next()?.parse::<u32>().ok());
            if let Some(major) = number.filter(|major| *major >= 15) {
                return Ok(Self { bin, major, user });
            }
        }
        Err(OperatorError::Missing("PostgreSQL 15 or newer: set PG_BIN_DIR to the folder of its programs".into()))
    }

    /// A command that runs as the servers' user, with nothing of our environment but the search path.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Runs one of PostgreSQL's programs to its end and answers what it said on standard error.
    pub(crate) async fn run<I: AsRef<OsStr>>(&self, program: &str, args: &[I]) -> Result<String, OperatorError> {
        let mut command = self.command(&self.bin.join(program));
        let output = command.args(args).kill_on_drop(true).output();
        let output =
            timeout(Duration::from_secs(COMMAND_SECONDS_MAX), output).await.map_err(|_| OperatorError::Timeout(format!("{program} to end")))??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let tail = said.char_indices().rev().nth(STDERR_BYTES_MAX).map_or(0, |(at, _)| at);
        Err(OperatorError::Command { program: program.into(), said: said[tail..].trim().into() })
    }

    /// Makes a folder that only the servers' user enters.
    pub(crate) fn folder(&self, path: &Path) -> Result<(), OperatorError> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        self.own(path)
    }

    /// Writes a file for the servers' user alone; answers whether it differs from what was there.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<bool, OperatorError> {
        if fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        let draft = path.with_extension("draft");
        fs::write(&draft, "")?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
        fs::write(&draft, text)?;
        self.own(&draft)?;
        fs::rename(&draft, path)?;
        Ok(true)
    }

    fn own(&self, path: &Path) -> Result<(), OperatorError> {
        Ok(self.user.map_or(Ok(()), |user| chown(path, Some(user.uid), Some(user.gid)))?)
    }
}

/// What a data directory's server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// No process.
    Down,
    /// A process that does not answer yet, or no longer.
    Busy(u32),
    /// A process that answers.
    Up(u32),
}

impl Server {
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Up(_))
    }

    /// Reads `postmaster.pid` and checks that the process it names is a living server of this very directory.
    pub(crate) fn of(data: &Path) -> Self {
        let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
            return Self::Down;
        };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let Some(pid) = lines.first().and_then(|pid| pid.parse().ok()) else {
            return Self::Down;
        };
        if !lives(pid) || fs::read_link(format!("/proc/{pid}/cwd")).ok() != fs::canonicalize(data).ok() {
            return Self::Down;
        }
        match lines.get(7) {
            Some(&"ready") => Self::Up(pid),
            _ => Self::Busy(pid),
        }
    }
}

/// Whether a process exists and has not ended; an unreaped one has.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Whether any process, a killed postmaster's orphan too, still works in this directory.
pub(crate) fn is_occupied(data: &Path) -> bool {
    let (Ok(data), Ok(entries)) = (fs::canonicalize(data), fs::read_dir("/proc")) else {
        return false;
    };
    entries.flatten().any(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data))
}

/// Removes the lock of a server that is gone: one that was killed before it had written its pid leaves an empty file, on which
/// PostgreSQL refuses to start for ever, and a pid may be another process's by now. CNPG's instance manager does the same.
fn clear_lock(data: &Path) -> Result<(), OperatorError> {
    let lock = data.join("postmaster.pid");
    // In this order: a server enters the directory before it writes its lock.
    if !lock.exists() || is_occupied(data) {
        return Ok(());
    }
    match fs::remove_file(lock) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Where the WAL of a server ends that was shut down in order: nothing is written after its last checkpoint, whatever of its
/// processes is still there to archive. `None` as long as it may write. Reads `global/pg_control`, whose first fields have been
/// the same since PostgreSQL 9.3 (`src/include/catalog/pg_control.h`: state at 16, checkPoint at 32).
pub(crate) fn shut_down_at(data: &Path) -> Option<u64> {
    const SHUT_DOWN: [u8; 4] = 1_u32.to_ne_bytes();
    let control = fs::read(data.join("global/pg_control")).ok()?;
    let checkpoint = control.get(32..40)?.try_into().ok()?;
    (control.get(16..20)? == SHUT_DOWN).then_some(u64::from_ne_bytes(checkpoint))
}

/// The servers started by this process, so that their end is noticed at once; adopted ones are looked at instead.
#[derive(Default)]
pub(crate) struct Processes {
    children: Arc<Mutex<HashMap<u32, watch::Receiver<bool>>>>,
    pub(crate) ended: Arc<Notify>,
}

impl Processes {
    /// Spawns a server that outlives us, in its own process group, its output in a file.
    pub(crate) fn spawn(&self, mut command: Command, log: &Path) -> Result<u32, OperatorError> {
        let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut child = command.process_group(0).stdout(output.try_clone()?).stderr(output).spawn()?;
        let pid = child.id().ok_or_else(|| OperatorError::Missing("the pid of a server just started".into()))?;
        let (over, ended, children) = (watch::Sender::new(false), self.ended.clone(), self.children.clone());
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, over.subscribe());
        tokio::spawn(async move {
            let status = child.wait().await;
            tracing::info!(pid, code = status.ok().and_then(|status| status.code()), "a server process ended");
            children.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
            over.send_replace(true);
            ended.notify_waiters();
        });
        Ok(pid)
    }

    /// Waits, within a bound, until a process has ended.
    pub(crate) async fn gone(&self, pid: u32) -> Result<(), OperatorError> {
        let child = self.children.lock().unwrap_or_else(PoisonError::into_inner).get(&pid).cloned();
        let end = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
        if let Some(mut child) = child {
            let over = timeout(Duration::from_secs(STOP_SECONDS_MAX), child.wait_for(|over| *over)).await;
            over.map_err(|_| OperatorError::Timeout("a server to stop".into()))?.ok();
        }
        while lives(pid) {
            if Instant::now() > end {
                return Err(OperatorError::Timeout("a server to stop".into()));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts the server of a data directory, or finds it running, and waits until it answers.
    pub(crate) async fn start(&self, postgres: &Postgres, data: &Path, log: &Path) -> Result<u32, OperatorError> {
        let began = Instant::now();
        let mut pid = None;
        if Server::of(data) == Server::Down {
            clear_lock(data)?;
            let mut command = postgres.command(&postgres.bin.join("postgres"));
            command.arg("-D").arg(data);
            pid = Some(self.spawn(command, log)?);
        }
        while began.elapsed() < Duration::from_secs(START_SECONDS_MAX) {
            match Server::of(data) {
                Server::Up(pid) => {
                    tracing::info!(pid, data = %data.display(), elapsed_ms = began.elapsed().as_millis(), "PostgreSQL answers");
                    return Ok(pid);
                }
                Server::Down if pid.is_none_or(|pid| !lives(pid)) => {
                    return Err(OperatorError::Command { program: "postgres".into(), said: last_lines(log) });
                }
                Server::Down | Server::Busy(_) => sleep(POLL).await,
            }
        }
        Err(OperatorError::Timeout("PostgreSQL to answer".into()))
    }

    /// Stops the server of a data directory: `fast` writes a checkpoint, `immediate` does not.
    pub(crate) async fn stop(&self, postgres: &Postgres, data: &Path, mode: &str) -> Result<(), OperatorError> {
        let began = Instant::now();
        let Some(pid) = self.ask_to_stop(postgres, data, mode).await? else { return Ok(()) };
        self.gone(pid).await?;
        tracing::info!(pid, mode, elapsed_ms = began.elapsed().as_millis(), "PostgreSQL stopped");
        Ok(())
    }

    /// Begins to stop a server; answers its pid, or none where none runs.
    pub(crate) async fn ask_to_stop(&self, postgres: &Postgres, data: &Path, mode: &str) -> Result<Option<u32>, OperatorError> {
        let (Server::Busy(pid) | Server::Up(pid)) = Server::of(data) else {
            return Ok(None);
        };
        let folder = data.display().to_string();
        match postgres.run("pg_ctl", &["stop", "-W", "-s", "-m", mode, "-D", &folder]).await {
            Err(error) if lives(pid) => Err(error),
            _ => Ok(Some(pid)),
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_removed_when_nobody_works_in_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("postmaster.pid");
        clear_lock(folder.path()).unwrap();
        for left in [String::new(), std::process::id().to_string()] {
            fs::write(&lock, left).unwrap();
            clear_lock(folder.path()).unwrap();
            assert!(!lock.exists());
        }
        fs::write(&lock, "").unwrap();
        let mut server = std::process::Command::new("sleep").arg("60").current_dir(folder.path()).spawn().unwrap();
        clear_lock(folder.path()).unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        assert!(lock.exists(), "a server that begins has not written its pid yet");
    }

    #[test]
    fn only_a_server_that_was_shut_down_in_order_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("global")).unwrap();
        assert_eq!(shut_down_at(folder.path()), None, "no control file");
        let mut control = vec![0; 512];
        control[32..40].copy_from_slice(&0x0300_0028_u64.to_ne_bytes());
        // In production, in recovery, shutting down.
        for (state, end) in [(6_u32, None), (5, None), (3, None), (1, Some(0x0300_0028))] {
            control[16..20].copy_from_slice(&state.to_ne_bytes());
            fs::write(folder.path().join("global/pg_control"), &control).unwrap();
            assert_eq!(shut_down_at(folder.path()), end, "state {state}");
        }
        fs::write(folder.path().join("global/pg_control"), &control[..20]).unwrap();
        assert_eq!(shut_down_at(folder.path()), None, "half a file");
    }
}
