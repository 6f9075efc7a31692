//! From a plan to numbers: node class, requests and limits, postgresql.conf, PgBouncer.
//!
//! Sources: PgTune's `configurationSlice` for memory; Karpenter's generated instance table for allocatable resources.
use crate::database::{DatabaseSpec, PoolMode};
use crate::plan::{Durability, PlanSize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an EKS node of a class offers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NodeClass {
    /// EC2's name of the dearest listed type; equal-sized arm64 types stand in when it is short.
    pub node_type: &'static str,
    /// Types of equal size in order of preference.
    pub node_types: &'static [&'static str],
    /// Allocatable CPU in thousandths of a core.
    pub cpu_millis: u32,
    /// Allocatable memory in MiB.
    pub memory_mib: u32,
    /// Whether CPU is a credit, not a promise.
    pub burstable: bool,
    /// USD an hour on demand in eu-west-1.
    pub usd_per_hour: f64,
}

/// Every class, cheapest first.
pub const NODE_CLASSES: [NodeClass; 7] = [
    NodeClass { node_type: "t4g.small", node_types: &["t4g.small"], cpu_millis: 1930, memory_mib: 1359, burstable: true, usd_per_hour: 0.0184 },
    NodeClass { node_type: "t4g.medium", node_types: &["t4g.medium"], cpu_millis: 1930, memory_mib: 3187, burstable: true, usd_per_hour: 0.0368 },
    NodeClass { node_type: "r6g.medium", node_types: &["r6g.medium"], cpu_millis: 940, memory_mib: 7075, burstable: false, usd_per_hour: 0.0564 },
    NodeClass { node_type: "m6g.large", node_types: &["m6g.large"], cpu_millis: 1930, memory_mib: 6844, burstable: false, usd_per_hour: 0.086 },
    NodeClass { node_type: "r6g.large", node_types: &["r6g.large"], cpu_millis: 1930, memory_mib: 14422, burstable: false, usd_per_hour: 0.1128 },
    NodeClass { node_type: "r6g.xlarge", node_types: &["r6g.xlarge"], cpu_millis: 3920, memory_mib: 29258, burstable: false, usd_per_hour: 0.2256 },
    NodeClass { node_type: "r6g.2xlarge", node_types: &["r6g.2xlarge"], cpu_millis: 7910, memory_mib: 59568, burstable: false, usd_per_hour: 0.4512 },
];

/// What DaemonSets (CNI, kube-proxy, EBS CSI) take of each node: CPU in millicores, memory in MiB.
const DAEMONS: (u32, u32) = (180, 120);
/// The backup sidecar beside PostgreSQL: below this it was killed for memory during base backups. A standby asks it for WAL several
/// times before it takes over, and each answer starts programs: held to half a core, it made a switchover minutes long.
pub const SIDECAR: Resources = Resources { cpu_request_millis: 100, cpu_limit_millis: 2000, memory_mib: 512 };
/// PgBouncer.
pub const POOLER: Resources = Resources { cpu_request_millis: 100, cpu_limit_millis: 1000, memory_mib: 128 };
/// The least CPU that PostgreSQL may be left with, as a share of its limit, before a class counts as too small.
const CPU_REQUEST_SHARE_MIN: f64 = 0.7;
/// Connections for people, the agent and replication beside the pools.
const DIRECT_CONNECTIONS: u32 = 30;

/// A container's share of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU request in thousandths of a core.
    pub cpu_request_millis: u32,
    /// CPU limit in thousandths of a core.
    pub cpu_limit_millis: u32,
    /// Memory, request and limit, in MiB.
    pub memory_mib: u32,
}

/// PgBouncer's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolerSizing {
    /// How server connections are handed out.
    pub mode: PoolMode,
    /// Server connections per database and user.
    pub default_pool_size: u32,
    /// Client connections.
    pub max_client_connections: u32,
}

/// Everything that follows from a database's plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sizing {
    /// The cheapest class that fits.
    pub node: NodeClass,
    /// PostgreSQL's container.
    pub postgres: Resources,
    /// postgresql.conf: the plan's settings with the customer's on top.
    pub parameters: BTreeMap<String, String>,
    /// PgBouncer.
    pub pooler: PoolerSizing,
    /// How commits are protected.
    pub durability: Durability,
}

/// The cheapest class on which PostgreSQL of this size fits beside sidecar, pooler and DaemonSets.
#[must_use]
pub fn node_class(vcpu: u32, memory_gib: u32, burstable_allowed: bool) -> Option<NodeClass> {
    let memory = memory_gib * 1024 + SIDECAR.memory_mib + POOLER.memory_mib + DAEMONS.1;
    let cpu = (f64::from(vcpu * 1000) * CPU_REQUEST_SHARE_MIN) as u32 + SIDECAR.cpu_request_millis + POOLER.cpu_request_millis + DAEMONS.0;
    NODE_CLASSES.into_iter().find(|class| (burstable_allowed || !class.burstable) && class.memory_mib >= memory && class.cpu_millis >= cpu)
}

/// The size of a database: its plan's, or its own.
#[must_use]
pub fn size_of(spec: &DatabaseSpec) -> PlanSize {
    let custom =
        || spec.custom.as_ref().map(|c| PlanSize { vcpu: c.vcpu, memory_gib: c.memory_gib, storage_gb: spec.storage_gb, instances: spec.instances });
    spec.plan.size().or_else(custom).unwrap_or(PlanSize { vcpu: 1, memory_gib: 1, storage_gb: spec.storage_gb, instances: spec.instances })
}

/// Everything that follows from the spec; `None` when no class is large enough, which validation refuses.
#[must_use]
pub fn sizing(spec: &DatabaseSpec) -> Option<Sizing> {
    let size = size_of(spec);
    let node = node_class(size.vcpu, size.memory_gib, spec.plan.burstable())?;
    let beside = DAEMONS.0 + SIDECAR.cpu_request_millis + POOLER.cpu_request_millis;
    let limit = size.vcpu * 1000;
    let postgres = Resources { cpu_request_millis: limit.min(node.cpu_millis - beside), cpu_limit_millis: limit, memory_mib: size.memory_gib * 1024 };
    let pool_size = spec.pooler.pool_size.unwrap_or_else(|| (2 * size.vcpu).clamp(10, 50));
    let max_connections = max_connections(pool_size);
    let mut parameters = settings(&size, max_connections, spec.backup.rpo_minutes);
    parameters.extend(spec.parameters.clone());
    let pooler = PoolerSizing { mode: spec.pooler.mode, default_pool_size: pool_size, max_client_connections: 250 * size.vcpu };
    Some(Sizing { node, postgres, parameters, pooler, durability: spec.plan.durability(spec.instances) })
}

/// Pools and direct connections with 20 % to spare, rounded up to ten; at least 100.
fn max_connections(pool_size: u32) -> u32 {
    let needed = (pool_size * 2 + DIRECT_CONNECTIONS) * 12 / 10;
    needed.div_ceil(10).max(10) * 10
}

/// PgTune's formulas for a mixed load on solid-state disks; RAM is the pod's.
fn settings(size: &PlanSize, max_connections: u32, rpo_minutes: u32) -> BTreeMap<String, String> {
    let ram_kib = u64::from(size.memory_gib) * 1_048_576;
    let shared_buffers = ram_kib / 4;
    let workers = u64::from(size.vcpu.max(2));
    let work_mem = ((ram_kib - shared_buffers) / ((u64::from(max_connections) + workers) * 3)).max(4 * 1024);
    let maintenance = (ram_kib / 16).min(2 * 1_048_576);
    let wal_buffers = (shared_buffers * 3 / 100).min(16 * 1024);
    let (min_wal, max_wal) = if size.vcpu >= 4 { ("2GB", "8GB") } else { ("1GB", "4GB") };
    let kib = |value: u64| format!("{value}kB");
    [
        ("max_connections", max_connections.to_string()),
        ("shared_buffers", kib(shared_buffers)),
        ("effective_cache_size", kib(ram_kib * 3 / 4)),
        ("maintenance_work_mem", kib(maintenance)),
        ("work_mem", kib(work_mem)),
        ("wal_buffers", kib(wal_buffers)),
        ("min_wal_size", min_wal.to_owned()),
        ("max_wal_size", max_wal.to_owned()),
        ("checkpoint_completion_target", "0.9".to_owned()),
        ("default_statistics_target", "100".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        ("effective_io_concurrency", "200".to_owned()),
        ("max_worker_processes", workers.max(8).to_string()),
        ("max_parallel_workers", workers.to_string()),
        ("max_parallel_workers_per_gather", (workers / 2).clamp(1, 4).to_string()),
        ("jit", "off".to_owned()),
        ("wal_compression", "lz4".to_owned()),
        ("archive_timeout", format!("{}s", rpo_minutes * 30)),
        ("log_lock_waits", "on".to_owned()),
        ("track_io_timing", "on".to_owned()),
        ("idle_in_transaction_session_timeout", "1h".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanName;

    #[test]
    fn each_plan_gets_the_cheapest_class_that_fits() {
        for (plan, class) in [("hobbyist", "t4g.medium"), ("startup", "m6g.large"), ("business", "r6g.xlarge"), ("premium", "r6g.2xlarge")] {
            let plan = PlanName::parse(plan).unwrap();
            let size = plan.size().unwrap();
            let found = node_class(size.vcpu, size.memory_gib, plan.burstable()).unwrap();
            assert_eq!(found.node_type, class, "{plan}");
            let cheaper = NODE_CLASSES.iter().filter(|c| c.usd_per_hour < found.usd_per_hour && (plan.burstable() || !c.burstable));
            for class in cheaper {
                assert!(
                    class.memory_mib < size.memory_gib * 1024 + 760 || f64::from(class.cpu_millis) < f64::from(size.vcpu) * 700.0 + 380.0,
                    "{} would do",
                    class.node_type
                );
            }
        }
        assert_eq!(node_class(64, 512, false), None);
    }
}
