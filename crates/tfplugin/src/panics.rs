//! Panics become diagnostics, with a report of where it was: the state is kept, and a defect can be told.
use crate::Diagnostic;
use futures_util::FutureExt;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::future::Future;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Reports that one process writes: a provider that panics in a thousand resources says the same a thousand times.
const REPORTS_MAX: u32 = 10;

static REPORTS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Where the last panic of this thread was, and its report.
    static LAST: RefCell<Option<(String, Option<PathBuf>)>> = const { RefCell::new(None) };
}

/// Panics are reported from now on, instead of printed where nobody reads them.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "the provider panicked");
        let report = report(&place);
        LAST.with_borrow_mut(|last| *last = Some((place, report)));
    }));
}

/// Writes where it was, and how it came there. The panic's own text is left out: it may hold a value.
fn report(place: &str) -> Option<PathBuf> {
    let number = REPORTS.fetch_add(1, Ordering::Relaxed);
    if number >= REPORTS_MAX {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    let name = program.file_name()?.to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("{name}-panic-{}-{number}.txt", std::process::id()));
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        file = file.mode(0o600);
    }
    let mut file = file.open(&path).ok()?;
    writeln!(file, "{name} panicked at {place}\n\n{}", Backtrace::force_capture()).ok()?;
    Some(path)
}

/// Runs one RPC; a panic is answered as a diagnostic by `fallback`.
pub(crate) async fn guard<T>(call: impl Future<Output = T>, fallback: impl FnOnce(Diagnostic) -> T) -> T {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => fallback(told(panic.as_ref())),
    }
}

/// The same for what does not wait.
pub(crate) fn guard_now<T>(call: impl FnOnce() -> T) -> Result<T, Diagnostic> {
    std::panic::catch_unwind(AssertUnwindSafe(call)).map_err(|panic| told(panic.as_ref()))
}

fn told(panic: &(dyn std::any::Any + Send)) -> Diagnostic {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "It said nothing".to_owned());
    let (place, report) = LAST.with_borrow_mut(Option::take).unwrap_or_default();
    let place = if place.is_empty() { String::new() } else { format!(" (at {place})") };
    let report = report.map_or(String::new(), |path| format!(" A report without any value is in {}.", path.display()));
    let detail = format!("{text}{place}. This is a defect of the provider; the state was left as it was.{report}");
    Diagnostic::error("The provider panicked", detail)
}
