//! What a list resource implements: finding objects that no state knows.
use crate::{Call, Diagnostics, Schema, Value, async_trait};
use tokio::sync::mpsc::Sender;

/// One object that was found.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Its identity.
    pub identity: Value,
    /// What people call it.
    pub display_name: String,
    /// Its whole state, when asked for.
    pub state: Option<Value>,
    /// What to say about it.
    pub diagnostics: Diagnostics,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// The list block's configuration.
    pub config: Value,
    /// Whether each object's whole state is wanted.
    pub include_state: bool,
    /// How many are enough; 0 is no limit.
    pub limit: u64,
}

/// Takes what is found, one by one.
#[derive(Debug, Clone)]
pub struct Found(pub(crate) Sender<Listed>);

impl Found {
    /// Hands one over; `false` says that enough were found or nobody listens, so looking further is in vain.
    pub async fn push(&self, one: Listed) -> bool {
        self.0.send(one).await.is_ok()
    }
}

/// Finds objects of the managed resource of the same type name, which must have an identity. For Terraform 1.14 and later.
#[async_trait]
pub trait List: Send + Sync {
    /// The schema of the list block's configuration.
    fn schema(&self) -> Schema;
    /// Checks a configuration without any connection, after the schema's own validators.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Finds them.
    async fn list(&self, query: Query, found: &Found, call: &Call) -> Diagnostics;
}
