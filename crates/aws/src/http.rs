//! Plain HTTP, for the two calls that no SDK here makes.

use std::time::Duration;

use crate::config::CALL_SECONDS_MAX;

/// A client over ring, within the bound of every call.
///
/// # Errors
/// When there can be none.
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() && rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed at the same time");
    }
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(CALL_SECONDS_MAX)).build()
}
