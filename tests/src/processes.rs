//! Processes of one stack, found by its folder: in the command line, the environment or the working folder.
use std::path::Path;
use std::process::{Command, Stdio};

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The program's file name.
    pub name: String,
    /// The whole command line.
    pub command: String,
}

/// Every living process that belongs to a folder, this one excepted.
#[must_use]
pub fn under(folder: &Path) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| look(pid, folder)).collect()
}

fn look(pid: u32, folder: &Path) -> Option<Process> {
    let proc = Path::new("/proc").join(pid.to_string());
    // A zombie has no program any more.
    let program = std::fs::read_link(proc.join("exe")).ok()?;
    let text = |file: &str| String::from_utf8_lossy(&std::fs::read(proc.join(file)).unwrap_or_default()).replace('\0', " ");
    let (command, sign) = (text("cmdline"), folder.display().to_string());
    let at_home = std::fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    let ours = at_home || command.contains(&sign) || text("environ").contains(&sign);
    let name = program.file_name()?.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    ours.then_some(Process { pid, name, command })
}

/// Asks a process to end.
pub fn end(pid: u32) {
    let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// `kill -9`.
pub fn kill(pid: u32) {
    // A process that is gone already is what was wanted.
    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
