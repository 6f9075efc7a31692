//! The traits between thinking and doing, and one contract suite for each.
//!
//! Invariants of this crate:
//! - a port's values are the model's; no cloud, cluster or database is named in a signature but by its own words;
//! - every write is fenced, every effect is ensure-shaped: asking twice is asking once;
//! - an error says whether asking again can help.
pub mod account;
pub mod agents;
pub mod contract;
pub mod error;
pub mod records;
pub mod runtime;
pub mod statistics;

pub use account::CustomerAccount;
pub use agents::Agents;
pub use error::PortError;
pub use records::{NameClaim, Records, Write};
pub use runtime::{Blobs, Clock, Doorbell, Random, ReportQueue};
pub use statistics::StatisticsArchive;

/// Everything an operation may touch.
pub trait Ports: Send + Sync + 'static {
    /// The truth.
    type Records: Records;
    /// Customers' AWS accounts.
    type Account: CustomerAccount;
    /// Agents in customers' clusters.
    type Agents: Agents;
    /// Wakes workers.
    type Doorbell: Doorbell;
    /// What time it is.
    type Clock: Clock;
    /// Randomness.
    type Random: Random;

    /// The truth.
    fn records(&self) -> &Self::Records;
    /// Customers' AWS accounts.
    fn account(&self) -> &Self::Account;
    /// Agents in customers' clusters.
    fn agents(&self) -> &Self::Agents;
    /// Wakes workers.
    fn doorbell(&self) -> &Self::Doorbell;
    /// What time it is.
    fn clock(&self) -> &Self::Clock;
    /// Randomness.
    fn random(&self) -> &Self::Random;
}
