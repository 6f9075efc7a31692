//! Plans: what can be bought, and the sizes behind the names.
use serde::{Deserialize, Serialize};
use std::fmt;

/// A plan's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanName {
    /// Tests, personal projects: one instance, no failover.
    Hobbyist,
    /// Staging and small applications: one standby, preferred synchronous.
    Startup,
    /// Production: two standbys, one always synchronous.
    Business,
    /// Production with high load.
    Premium,
    /// The customer's own size.
    Custom,
}

impl PlanName {
    /// Every plan, cheapest first, `custom` last.
    pub const ALL: [PlanName; 5] = [Self::Hobbyist, Self::Startup, Self::Business, Self::Premium, Self::Custom];

    /// The name as written in HCL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hobbyist => "hobbyist",
            Self::Startup => "startup",
            Self::Business => "business",
            Self::Premium => "premium",
            Self::Custom => "custom",
        }
    }
    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.as_str() == text)
    }
    /// What the plan gives; `None` for `custom`, which says its own size.
    #[must_use]
    pub fn size(self) -> Option<PlanSize> {
        let (vcpu, memory_gib, storage_gb, instances) = match self {
            Self::Hobbyist => (1, 1, 10, 1),
            Self::Startup => (2, 4, 50, 2),
            Self::Business => (4, 16, 100, 3),
            Self::Premium => (8, 32, 500, 3),
            Self::Custom => return None,
        };
        Some(PlanSize { vcpu, memory_gib, storage_gb, instances })
    }
    /// How commits are protected.
    #[must_use]
    pub fn durability(self, instances: u8) -> Durability {
        match (self, instances) {
            (_, 1) => Durability::Single,
            (Self::Business | Self::Premium, _) => Durability::Required,
            (Self::Hobbyist | Self::Startup | Self::Custom, _) => Durability::Preferred,
        }
    }
    /// Whether burstable node classes may serve it.
    #[must_use]
    pub fn burstable(self) -> bool {
        matches!(self, Self::Hobbyist)
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The size of a plan: what PostgreSQL gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSize {
    /// CPU limit in cores.
    pub vcpu: u32,
    /// PostgreSQL's memory in GiB, in full.
    pub memory_gib: u32,
    /// Volume size of each instance in GB, unless the database says more.
    pub storage_gb: u32,
    /// Instances, the primary included.
    pub instances: u8,
}

/// How a commit is protected against the loss of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// One instance: a commit is on one volume.
    Single,
    /// One standby confirms when there is one; lossy while degraded.
    Preferred,
    /// One standby always confirms; writes wait while none can.
    Required,
}
