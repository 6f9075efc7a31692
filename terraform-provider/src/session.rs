//! The configured connection, shared by all resources.
use kiven_client::Client;
use kiven_tfplugin::Diagnostic;
use std::sync::{Arc, OnceLock};

/// Set once the provider is configured.
#[derive(Debug, Default)]
pub(crate) struct Session(OnceLock<Client>);

/// How resources hold it.
pub(crate) type Shared = Arc<Session>;

impl Session {
    pub(crate) fn set(&self, client: Client) {
        // Terraform configures a provider once in its life; a second time changes nothing.
        drop(self.0.set(client));
    }
    /// The client, when the provider is configured; while planning it may not be.
    pub(crate) fn get(&self) -> Option<&Client> {
        self.0.get()
    }
    /// The client, or what to say when there is none.
    pub(crate) fn client(&self) -> Result<&Client, Diagnostic> {
        self.get().ok_or_else(|| {
            let detail = "Its endpoint or API key is known only after apply. Set KIVEN_ENDPOINT and KIVEN_API_KEY, or use known values.";
            Diagnostic::error("The kiven provider is not configured yet", detail)
        })
    }
}
