//! What the process takes of its machine: open files, and memory for ten thousand sessions between requests that live for milliseconds.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are asked for: one for each session, and some.
const FILES_WANTED: u64 = 65_536;

/// glibc's heap is torn into pieces by what requests take and give back between the sessions.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Asks for what thousands of sessions need; the relay goes on with what it gets.
pub(crate) fn prepare() {
    // A session's buffers are mostly room that nothing was written to yet. With huge pages it counts: 52 KiB for each agent instead of 36.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages stay on: sessions take more memory");
    }
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES_WANTED, |most| most.min(FILES_WANTED));
    if limit.current.is_some_and(|now| now < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    tracing::info!(files = wanted, "open files, each session needs one");
}
