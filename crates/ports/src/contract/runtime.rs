//! What every implementation of [`Blobs`] must do.
use super::records::{failed, holds};
use crate::Blobs;

/// Runs the suite.
///
/// # Errors
/// The first rule that does not hold.
pub async fn blobs<B: Blobs>(blobs: &B) -> Result<(), String> {
    let nothing = "0".repeat(64);
    holds(blobs.blob_get(&nothing).await.map_err(failed)?.is_none(), "what was never put is not there")?;
    for size in [0, 1, 40_000, 300_000] {
        let bytes = vec![b'k'; size];
        let digest = blobs.blob_put(bytes.clone()).await.map_err(failed)?;
        holds(blobs.blob_put(bytes.clone()).await.map_err(failed)? == digest && digest.len() == 64, "the same bytes have the same digest")?;
        holds(blobs.blob_get(&digest).await.map_err(failed)? == Some(bytes), "what was put comes back")?;
    }
    Ok(())
}
