//! What an ephemeral resource implements: something that lives for one run and is in no plan and no state.
use crate::{Call, Deferred, Diagnostics, Schema, Value, async_trait};
use jiff::Timestamp;

/// The answer to open and renew.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// What it is worth; renewing cannot change it.
    pub result: Value,
    /// Given back at renew and close.
    pub private: Vec<u8>,
    /// When it must be renewed, if it lives that long.
    pub renew_at: Option<Timestamp>,
    /// What to say about it.
    pub diagnostics: Diagnostics,
    /// It cannot be opened yet.
    pub deferred: Option<Deferred>,
}

impl Opened {
    /// A result without messages.
    #[must_use]
    pub fn of(result: Value) -> Self {
        Self { result, ..Self::default() }
    }
    /// No result, and why.
    #[must_use]
    pub fn refused(diagnostics: impl Into<Diagnostics>) -> Self {
        Self { diagnostics: diagnostics.into(), ..Self::default() }
    }
}

/// One kind of ephemeral resource, for Terraform 1.10 and later. It is opened at plan and again at apply.
#[async_trait]
pub trait Ephemeral: Send + Sync {
    /// The schema.
    fn schema(&self) -> Schema;
    /// Checks a configuration without any connection, after the schema's own validators.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Opens it.
    async fn open(&self, config: Value, call: &Call) -> Opened;
    /// Lets it live longer; only what was given a time to renew is asked. The private bytes are in the call.
    async fn renew(&self, call: &Call) -> Opened {
        Opened { private: call.private.clone(), ..Opened::default() }
    }
    /// Ends it. The private bytes are in the call.
    async fn close(&self, _call: &Call) -> Diagnostics {
        Diagnostics::none()
    }
}
