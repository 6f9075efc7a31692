//! Keys of the table, in one place.

use jiff::Timestamp;
use kiven_model::EnvironmentId;
use kiven_ports::NameClaim;
use sha2::{Digest, Sha256};

use super::item::{Attributes, key};

/// The sort key of every head.
pub(super) const HEAD: &str = "HEAD";

/// The sort key of an operation's input.
pub(super) const INPUT: &str = "INPUT";

/// The partition of an environment's database names.
pub(super) fn database_names(environment: &EnvironmentId) -> String {
    format!("NAME#DB#{environment}")
}

/// The item of a claimed name. Names cannot contain `#`, so scopes never run into each other.
pub(super) fn claim(claim: &NameClaim) -> Attributes {
    match claim {
        NameClaim::Environment(organization, name) => key(format!("NAME#ENV#{organization}"), name.as_str()),
        NameClaim::EksCluster(account, region, name) => key(format!("NAME#EKS#{account}#{region}"), name.as_str()),
        NameClaim::Database(environment, name) => key(database_names(environment), name.as_str()),
    }
}

/// The shard of an operation or a database in the due index.
pub(super) fn due_shard(id: &str, shards: u32) -> u32 {
    let digest = Sha256::digest(id.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % shards
}

/// The partition of a shard of operations.
pub(super) fn due_partition(shard: u32) -> String {
    format!("DUE#{shard}")
}

/// The partition of a shard of schedules' decisions. Apart from the operations': ten thousand decisions that fall due in one
/// minute never stand before an operation.
pub(super) fn power_due_partition(shard: u32) -> String {
    format!("DUE#POWER#{shard}")
}

/// The partition of a shard of pending commands.
pub(super) fn command_due_partition(shard: u32) -> String {
    format!("DUE#COMMAND#{shard}")
}

/// The partition of a shard of maintenance decisions: nearly all of them fall due on Sunday night.
pub(super) fn maintenance_due_partition(shard: u32) -> String {
    format!("DUE#MAINTENANCE#{shard}")
}

/// An instant whose text sorts like its time. Instants before 1970 count as 1970: nothing is due earlier.
pub(super) fn instant(at: Timestamp) -> String {
    format!("{:020}", at.as_microsecond().max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_sort_as_text_and_shards_stay_in_range() {
        let early = instant(Timestamp::UNIX_EPOCH);
        let late = instant(Timestamp::MAX);
        assert!(early < late && early.len() == late.len());
        assert!((0..=255).all(|n| due_shard(&format!("op_{n}"), 64) < 64));
    }
}
