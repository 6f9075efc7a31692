//! What every implementation of [`StatisticsArchive`] must do.
use super::records::{failed, holds};
use super::values::environment;
use crate::StatisticsArchive;
use crate::statistics::Pack;
use jiff::Timestamp;

/// Runs the suite.
///
/// # Errors
/// The first rule that does not hold.
pub async fn statistics<A: StatisticsArchive>(archive: &A) -> Result<(), String> {
    let pack = |seed, number, size| Pack {
        environment_id: environment(seed).id,
        at: Timestamp::UNIX_EPOCH,
        relay: "contract".to_owned(),
        number,
        body: vec![b'k'; size],
    };
    for (seed, number, size) in [(1, 1, 1), (1, 2, 300_000), (2, 1, 2)] {
        let pack = pack(seed, number, size);
        holds(archive.pack_get(&pack.key()).await.map_err(failed)?.is_none(), "what was never put is not there")?;
        archive.pack_put(&pack).await.map_err(failed)?;
        archive.pack_put(&pack).await.map_err(failed)?;
        holds(archive.pack_get(&pack.key()).await.map_err(failed)? == Some(pack.body), "what was put comes back")?;
    }
    let first = archive.pack_get(&pack(1, 1, 1).key()).await.map_err(failed)?;
    holds(first == Some(vec![b'k']), "packs of two environments, and two of one, are apart")
}
