//! What a database costs a month at most, on the customer's own AWS bill.
use crate::database::DatabaseSpec;
use crate::sizing::{NODE_CLASSES, sizing};

/// Hours in an average month: 365.25 × 24 / 12.
pub const HOURS_PER_MONTH: f64 = 730.5;
/// gp3 storage in eu-west-1, USD per GB and month.
const GP3_USD_PER_GB: f64 = 0.088;
/// S3 Standard in eu-west-1, USD per GB and month.
const S3_USD_PER_GB: f64 = 0.023;
/// Daily base backups kept, of which the sweep of WAL adds about as much again; a cautious multiple of the volume.
const BACKUP_VOLUMES: f64 = 2.0;

/// USD an hour for the nodes of a database that is on, at most: the dearest listed node type for every instance.
/// This is what a pause saves; storage and backups cost the same on and off.
#[must_use]
pub fn compute_usd_per_hour(spec: &DatabaseSpec) -> f64 {
    sizing(spec).map_or(0.0, |s| s.node.usd_per_hour * f64::from(spec.instances))
}

/// USD a month for nodes that may be of these types, at most: the dearest of them. `None` when none is known.
#[must_use]
pub fn nodes_usd_per_month(node_types: &[String], nodes: u32) -> Option<f64> {
    let classes = NODE_CLASSES.iter().filter(|class| node_types.iter().any(|node_type| class.node_types.contains(&node_type.as_str())));
    let dearest = classes.map(|class| class.usd_per_hour).max_by(f64::total_cmp);
    dearest.map(|hour| (hour * HOURS_PER_MONTH * f64::from(nodes) * 100.0).round() / 100.0)
}

/// USD a month when always on, at most: the dearest listed node type for every instance, full volumes, full archive.
#[must_use]
pub fn monthly_usd(spec: &DatabaseSpec) -> f64 {
    let instances = f64::from(spec.instances);
    let storage = f64::from(spec.storage_gb);
    let compute = compute_usd_per_hour(spec) * HOURS_PER_MONTH;
    let total = compute + storage * instances * GP3_USD_PER_GB + storage * BACKUP_VOLUMES * S3_USD_PER_GB;
    (total * 100.0).round() / 100.0
}

/// A gp3 volume's cost a month in USD, in eu-west-1.
#[must_use]
pub fn volume_usd_per_month(gb: u32) -> f64 {
    (f64::from(gb) * GP3_USD_PER_GB * 100.0).round() / 100.0
}
