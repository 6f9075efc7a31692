//! `cargo xtask tidy`: what the compiler cannot check. Arrows between packages, sizes, first lines, words that must not be
//! in the tree, error codes and their pages, links. Every violation is found before any is printed.
mod arrows;
mod documents;
mod source;
mod words;

use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// One thing that is wrong, where an editor can jump to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    line: usize,
    message: String,
}

impl Violation {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// A text file of the project.
struct File {
    /// From the workspace's root, with `/`.
    path: String,
    text: String,
}

/// Checks the whole tree.
///
/// # Errors
/// When something is wrong with it, or it cannot be read.
pub(crate) fn run() -> Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().context("cargo metadata does not answer")?;
    let root = metadata.workspace_root.as_std_path();
    let files = files(root)?;
    let mut violations = arrows::check(&metadata);
    for file in &files {
        violations.extend(words::check(file));
        if file.path.ends_with(".rs") {
            violations.extend(source::check(file));
        }
        if file.path.ends_with(".md") {
            violations.extend(documents::links(file, |path| root.join(path).exists()));
        }
    }
    violations.extend(documents::error_pages(&files));
    violations.extend(documents::lifecycle(&files));
    if violations.is_empty() {
        println!("tidy: {} files, nothing to complain of", files.len());
        return Ok(());
    }
    violations.sort();
    for violation in &violations {
        println!("{violation}");
    }
    bail!("tidy: {} violations", violations.len())
}

/// Every text file that is tracked, or new and not ignored.
fn files(root: &Path) -> Result<Vec<File>> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("git cannot be started")?;
    if !listed.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
    let read = |path: &str| {
        // Removed from the folder but not yet from the index, or not a text: nothing to check.
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    Ok(names.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect())
}
