//! Whole-system suites and their harness: a stack of its own for each suite, driven over HTTP or by Terraform.
//!
//! Invariants of this crate:
//! - a suite sees what a customer sees: the API, Terraform, psql; records are written directly only where no API makes them;
//! - every process that a stack started ends with it, PostgreSQL's too;
//! - every wait is a polled condition with a deadline, and what failed is shown with the tail of the logs.
pub mod customer;
pub mod dynamodb;
pub mod ministack;
pub mod needles;
pub mod processes;
pub mod schemathesis;
pub mod stack;
pub mod terraform;

pub use customer::Customer;
pub use stack::{Stack, binaries};
pub use terraform::Terraform;

use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(50);

/// A variable of the suites: `KIVEN_BIN_DIR`, `KIVEN_TERRAFORM`, `KIVEN_KILLS`, `KIVEN_KILLS_SEED`, `KIVEN_KILLS_ONLY`, `KIVEN_KEEP`,
/// `KIVEN_SCHEMATHESIS`, `KIVEN_MINISTACK_PYTHON`, `KIVEN_AWS_WIRE`, `KIVEN_PROVIDER_MIRROR`, `KIVEN_E2E_AWS_PROFILE`, `KIVEN_E2E_AWS`, `KIVEN_E2E_KUBECONFIG`, `KIVEN_E2E_S3`,
/// `KIVEN_CONTRACT_EXAMPLES`, `KIVEN_CONTRACT_SEED`, `KIVEN_PACKAGES`, `KIVEN_HOSTS`, `XDG_CACHE_HOME`, `HOME`, `PATH`.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place of the suites that reads the environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where `cargo xtask install` keeps what it has made.
#[must_use]
pub fn cache() -> Option<PathBuf> {
    let base = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.map(|base| base.join("kiven"))
}

/// Looks at a condition until it holds; false when it did not in time.
pub async fn within(limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds().await {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Random bits for ids.
///
/// # Errors
/// When the system gives none.
pub fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}
