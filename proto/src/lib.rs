//! The contract between relay and agent; `src/generated` comes from `kiven/agent/v1/agent.proto` by `cargo xtask gen`.

pub mod codec;

/// `kiven.agent.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[path = "generated/kiven.agent.v1.rs"]
pub mod v1;
