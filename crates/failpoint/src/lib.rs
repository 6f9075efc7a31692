//! Places where the kill matrix ends a process; compiled to nothing in release builds.
//!
//! A failpoint is armed by a file of its name in the folder that `KIVEN_FAILPOINTS` names. Passing an armed one removes the
//! file, so that it fires once, and ends the process as `kill -9` would: no destructor runs.

/// Ends the process here if the failpoint `process.point.detail` is armed.
pub fn pass(process: &str, point: &str, detail: &str) {
    #[cfg(debug_assertions)]
    armed(process, point, detail);
    #[cfg(not(debug_assertions))]
    let _ = (process, point, detail);
}

#[cfg(debug_assertions)]
fn armed(process: &str, point: &str, detail: &str) {
    #[expect(clippy::disallowed_methods, reason = "failpoints exist in debug builds only")]
    let Ok(folder) = std::env::var("KIVEN_FAILPOINTS") else { return };
    let name = format!("{process}.{point}.{}", detail.replace('/', "_"));
    if std::fs::remove_file(std::path::Path::new(&folder).join(name)).is_ok() {
        std::process::abort();
    }
}
