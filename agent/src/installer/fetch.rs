//! A manifest over HTTP: bounded in size, time and attempts. The proxy and the authorities are the process's own.
use anyhow::{Context, bail};
use std::time::Duration;

/// The largest manifest: the operator's has 1.3 MB.
const BYTES_MAX: usize = 8 << 20;
/// The longest that one attempt may take.
const SECONDS_MAX: u64 = 60;
/// Attempts, for names and networks that come up a little later than the pod.
const ATTEMPTS: u32 = 3;
/// The pause before the next attempt.
const PAUSE: Duration = Duration::from_secs(2);

/// Fetches what is at an address.
pub(super) async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(SECONDS_MAX)).build().context("no way to fetch a manifest")?;
    let mut attempt = 1;
    loop {
        match once(&client, url).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) if attempt == ATTEMPTS => return Err(error.context(format!("{url} cannot be fetched"))),
            Err(error) => tracing::warn!(error = format!("{error:#}"), url, attempt, "fetched again"),
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(client: &reqwest::Client, url: &str) -> anyhow::Result<Vec<u8>> {
    let mut response = client.get(url).send().await?;
    if !response.status().is_success() {
        bail!("the answer is {}", response.status());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > BYTES_MAX {
            bail!("it is larger than {BYTES_MAX} bytes");
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
