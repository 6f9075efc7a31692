//! Virtual wall time: every process of the stack reads a clock that runs on from a chosen time and can be moved forward.
//!
//! The shipped binaries know nothing of it: libfaketime, loaded into each process, adds an offset from a file of the state
//! folder to the time of day. Monotonic clocks stay real, so that timers and measured durations are true. PostgreSQL's own
//! processes are started without any of our environment and stay in real time.
use super::folder::write_whole;
use anyhow::{Context, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file in the state folder that holds the offset, in seconds with a sign.
const FILE: &str = "clock";
/// The package that has the library.
const PACKAGE: &str = "faketime";
/// The library, built for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";
/// Folders in which distributions keep it: directly, or one folder an architecture deeper.
const FOLDERS: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib"];
/// What a process needs to read the virtual clock.
pub(crate) const VARIABLES: [&str; 4] = ["LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_NO_CACHE"];

/// The virtual clock of a state folder.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    file: PathBuf,
    offset: SignedDuration,
}

impl VirtualClock {
    /// The clock that a state folder has, if it has one. A folder that began in virtual time stays in it.
    ///
    /// # Errors
    /// When its file says no offset.
    pub fn of(state: &Path) -> anyhow::Result<Option<Self>> {
        let file = state.join(FILE);
        let Ok(text) = std::fs::read_to_string(&file) else { return Ok(None) };
        let offset = parse_offset(&text).with_context(|| format!("{} is no offset in seconds", file.display()))?;
        Ok(Some(Self { file: std::fs::canonicalize(file)?, offset }))
    }

    /// The clock to start a stack with: the folder's own, moved on to `wanted` or begun there; none for real time.
    ///
    /// # Errors
    /// When `wanted` lies before what the folder's clock shows, or when a folder with a life in real time is to be moved.
    pub fn begin(state: &Path, wanted: Option<Timestamp>, real_now: Timestamp) -> anyhow::Result<Option<Self>> {
        let Some(wanted) = wanted else { return Self::of(state) };
        if let Some(mut clock) = Self::of(state)? {
            clock.set(wanted, real_now)?;
            return Ok(Some(clock));
        }
        ensure!(
            !state.join("ports.json").exists(),
            "{} has a life in real time, which cannot be moved: name another folder with --state",
            state.display()
        );
        std::fs::create_dir_all(state).with_context(|| format!("cannot make the state folder {}", state.display()))?;
        let clock = Self { file: std::fs::canonicalize(state)?.join(FILE), offset: wanted.duration_since(real_now) };
        clock.write()?;
        Ok(Some(clock))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self, real_now: Timestamp) -> Timestamp {
        real_now.saturating_add(self.offset).unwrap_or(real_now)
    }

    /// Moves it on.
    ///
    /// # Errors
    /// When `time` lies before what it shows: nothing of the stack could make sense of a clock that goes back.
    pub fn set(&mut self, time: Timestamp, real_now: Timestamp) -> anyhow::Result<()> {
        let now = self.now(real_now);
        if time < now {
            bail!("the clock shows {now:.0} and only goes forward: {time} has passed");
        }
        self.offset = time.duration_since(real_now);
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        write_whole(&self.file, &format!("{:+.3}\n", self.offset.as_secs_f64()), 0o644)
    }

    /// The environment of a process that reads this clock.
    ///
    /// # Errors
    /// One clear sentence when the library is not installed.
    pub fn environment(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let library = library().with_context(|| {
            format!("virtual time needs {LIBRARY}: install the package `{PACKAGE}` (apt-get install {PACKAGE}, or cargo xtask install)")
        })?;
        // Read at every look: two processes that differ by days, even for a second, would take each other's leases.
        let values = [library.display().to_string(), self.file.display().to_string(), "1".to_owned(), "1".to_owned()];
        Ok(VARIABLES.map(str::to_owned).into_iter().zip(values).collect())
    }
}

fn parse_offset(text: &str) -> Option<SignedDuration> {
    SignedDuration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

fn library() -> Option<PathBuf> {
    let deeper = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let folders = FOLDERS.iter().flat_map(|folder| std::iter::once(PathBuf::from(folder)).chain(deeper(folder)));
    folders.map(|folder| folder.join("faketime").join(LIBRARY)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn it_begins_runs_and_only_goes_forward() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let real = at("2026-11-23T12:00:00Z");
        assert!(VirtualClock::begin(&state, None, real).unwrap().is_none());
        let clock = VirtualClock::begin(&state, Some(at("2026-03-27T16:55:00Z")), real).unwrap().unwrap();
        assert_eq!(clock.now(real), at("2026-03-27T16:55:00Z"));
        assert_eq!(clock.now(at("2026-11-23T12:01:00Z")), at("2026-03-27T16:56:00Z"));
        let mut again = VirtualClock::of(&state).unwrap().unwrap();
        again.set(at("2026-03-30T06:00:00Z"), at("2026-11-23T12:01:00Z")).unwrap();
        let kept = VirtualClock::begin(&state, None, real).unwrap().unwrap();
        assert_eq!(kept.now(at("2026-11-23T12:01:01Z")), at("2026-03-30T06:00:01Z"));
        let error = again.set(at("2026-03-29T00:00:00Z"), at("2026-11-23T12:01:00Z")).unwrap_err().to_string();
        assert_eq!(error, "the clock shows 2026-03-30T06:00:00Z and only goes forward: 2026-03-29T00:00:00Z has passed");
    }

    #[test]
    fn a_life_in_real_time_is_not_moved() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ports.json"), "{}").unwrap();
        let error = VirtualClock::begin(folder.path(), Some(Timestamp::UNIX_EPOCH), Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains("real time"), "{error}");
    }
}
