//! `kiven dev`: becomes `kiven-local`, the program beside this one.
use crate::fail::Fail;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "kiven-local";

/// Becomes `kiven-local dev …`. Returns only when that cannot be started.
pub(crate) fn replace_process(arguments: &[OsString]) -> Fail {
    let hint = format!("`{PROGRAM}` lies in the same folder as `kiven`; build it with `cargo build -p {PROGRAM}`.");
    let here = match std::env::current_exe() {
        Ok(here) => here,
        Err(source) => return Fail::Start { program: PROGRAM.to_owned(), hint, source },
    };
    let program = beside(&here);
    let source = Command::new(&program).arg("dev").args(arguments).exec();
    Fail::Start { program: program.display().to_string(), hint, source }
}

fn beside(this: &Path) -> PathBuf {
    this.with_file_name(PROGRAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sibling_is_in_the_same_folder() {
        assert_eq!(beside(Path::new("/opt/kiven/bin/kiven")), Path::new("/opt/kiven/bin/kiven-local"));
    }
}
