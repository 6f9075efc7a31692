//! Where schemathesis is: the one named, the one on PATH, or the one that `cargo xtask install` has put into the cache.
use crate::{cache, variable};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is installed: the first line with a version is schemathesis' own.
const REQUIREMENTS: &str = include_str!("../schemathesis/requirements.txt");

fn version() -> &'static str {
    REQUIREMENTS.lines().find_map(|line| line.strip_prefix("schemathesis==")).unwrap_or_default()
}

/// Schemathesis of the pinned version, or one sentence saying that a test is skipped.
#[must_use]
pub fn find(test: &str) -> Option<PathBuf> {
    let installed = cache().map(|cache| cache.join(format!("schemathesis-{}/bin/schemathesis", version())));
    let named = variable("KIVEN_SCHEMATHESIS").map(PathBuf::from);
    let candidates = [named, Some("schemathesis".into()), installed];
    let found = candidates.into_iter().flatten().find(|program| is_pinned(program));
    if found.is_none() {
        println!("skipped: {test}: schemathesis {} is not installed (run `cargo xtask install`, which needs Python 3.10 or newer)", version());
    }
    found
}

fn is_pinned(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word.trim_matches(',') == version())
    })
}
