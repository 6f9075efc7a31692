//! What an action implements: something to do now, with progress, that leaves no state.
use crate::{Call, Deferred, Diagnostics, Schema, Value, async_trait};
use tokio::sync::mpsc::Sender;

/// The answer to the plan of an action.
#[derive(Debug, Clone, Default)]
pub struct ActionPlanned {
    /// Errors stop the plan.
    pub diagnostics: Diagnostics,
    /// It cannot be planned yet.
    pub deferred: Option<Deferred>,
}

/// Tells the person at the terminal how far an action is.
#[derive(Debug, Clone)]
pub struct Progress(pub(crate) Sender<String>);

impl Progress {
    /// Shows a line. When nobody listens any more, it is not shown.
    pub async fn say(&self, message: impl Into<String>) {
        // A closed channel means the client has gone: the action goes on, its end is nobody's news.
        drop(self.0.send(message.into()).await);
    }
}

/// One kind of action, for Terraform 1.14 and later.
#[async_trait]
pub trait Action: Send + Sync {
    /// The schema.
    fn schema(&self) -> Schema;
    /// Checks a configuration without any connection, after the schema's own validators.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Checks it once the plan knows the configuration as far as it can.
    async fn plan(&self, _config: Value, _call: &Call) -> ActionPlanned {
        ActionPlanned::default()
    }
    /// Does it.
    async fn invoke(&self, config: Value, progress: &Progress, call: &Call) -> Diagnostics;
}
