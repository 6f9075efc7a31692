//! The archive of statistics in memory. Stricter than a bucket: a pack is never replaced by another.
use crate::world::World;
use kiven_ports::statistics::Pack;
use kiven_ports::{PortError, StatisticsArchive};

impl StatisticsArchive for World {
    async fn pack_put(&self, pack: &Pack) -> Result<(), PortError> {
        self.call("s3:PutObject", |state| {
            let known = state.packs.entry(pack.key()).or_insert_with(|| pack.body.clone());
            if *known != pack.body {
                let violation = format!("another pack was put under {}", pack.key());
                state.violations.push(violation);
            }
            Ok(())
        })
    }

    async fn pack_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.call("s3:GetObject", |state| Ok(state.packs.get(key).cloned()))
    }
}
