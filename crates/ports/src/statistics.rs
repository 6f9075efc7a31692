//! The archive of what databases count: written once a minute by a relay, read by nobody that waits for it.
use crate::PortError;
use jiff::Timestamp;
use kiven_model::EnvironmentId;
use std::future::Future;

/// About a minute of one environment's statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// Whose.
    pub environment_id: EnvironmentId,
    /// When its first line came.
    pub at: Timestamp,
    /// The relay that packed it.
    pub relay: String,
    /// The relay's number for it: no two of its packs have the same.
    pub number: u64,
    /// Reports, a line of JSON each, as gzip; it may have several members.
    pub body: Vec<u8>,
}

impl Pack {
    /// Where it is: an environment's packs have a prefix of their own, by which they are read in the order of time, and erased.
    #[must_use]
    pub fn key(&self) -> String {
        let time = self.at.strftime("%Y/%m/%d/%H%M%S");
        format!("{}{time}-{}-{}.jsonl.gz", prefix(&self.environment_id), self.relay, self.number)
    }
}

/// What an environment's packs begin with.
#[must_use]
pub fn prefix(environment: &EnvironmentId) -> String {
    format!("metrics/{environment}/")
}

/// The archive of statistics.
pub trait StatisticsArchive: Send + Sync {
    /// Stores a pack under its key; storing it again changes nothing.
    fn pack_put(&self, pack: &Pack) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Reads a pack's body by its key.
    fn pack_get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, PortError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_environment_and_time() {
        let environment_id = EnvironmentId::from_random([1; 16]);
        let pack = |second: i64, number| Pack {
            environment_id: environment_id.clone(),
            at: Timestamp::from_second(1_795_474_742 + second).unwrap(),
            relay: "0a1b".to_owned(),
            number,
            body: Vec::new(),
        };
        assert_eq!(pack(0, 7).key(), format!("metrics/{environment_id}/2026/11/23/225902-0a1b-7.jsonl.gz"));
        assert!(pack(0, 7).key() < pack(60, 1).key() && pack(3_600, 1).key() < pack(86_400, 1).key());
        assert!(pack(0, 7).key().starts_with(&prefix(&environment_id)));
    }
}
