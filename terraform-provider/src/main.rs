//! The Terraform provider of Kiven: `terraform-provider-kiven`.
//!
//! Invariants of this package:
//! - no attribute ever forces replacement, and no create ever answers an error together with a state;
//! - what can be known at plan is known at plan, and what is wrong is on its attribute's line with a code;
//! - nothing secret is in a state.
mod data_sources;
mod diagnose;
mod durations;
mod provider;
mod resources;
mod session;
mod wait;

use std::sync::Arc;

/// The address under which Terraform knows this provider.
const ADDRESS: &str = "registry.terraform.io/kiven/kiven";

fn main() -> std::process::ExitCode {
    kiven_tfplugin::run_provider(ADDRESS, provider::Kiven::new(Arc::new(environment)), &[env!("CARGO_CRATE_NAME"), "kiven_client"])
}

#[expect(clippy::disallowed_methods, reason = "the one place of this binary that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
