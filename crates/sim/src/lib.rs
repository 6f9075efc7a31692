//! A deterministic world: every port in memory, virtual time, one seed; an account, a cluster and its agent behind them.
//!
//! Invariants of this crate:
//! - no thread, no sleep, no real clock: a seed and a list of calls decide everything that happens;
//! - stricter than the real things: what AWS, DynamoDB or Kubernetes would let pass and Kiven should never do is refused
//!   or noted as a violation;
//! - it knows ports and model only: what drives operations through it is the test's.
mod account;
mod agent;
mod bases;
mod commands;
mod faults;
mod kube;
pub mod nodegroups;
mod objects;
mod packs;
mod records;
mod reports;
mod snapshot;
mod world;

pub use faults::Odds;
pub use snapshot::{ClusterSeen, GroupSeen, Snapshot};
pub use world::{World, block_on};
