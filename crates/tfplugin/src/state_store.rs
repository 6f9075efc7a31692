//! What a state store implements: where a client keeps its states.
use crate::{Diagnostics, Schema, Value, async_trait};

/// One kind of state store, for clients with protocol 6.10 and later. The framework cuts states into chunks and puts
/// them together again.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// The schema of its configuration.
    fn schema(&self) -> Schema;
    /// Checks a configuration without any connection, after the schema's own validators.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Takes the configuration; called before everything below.
    async fn configure(&self, config: Value) -> Diagnostics;
    /// A state's bytes; empty where there is none yet.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn read(&self, state_id: &str) -> Result<Vec<u8>, Diagnostics>;
    /// Keeps a state's bytes, whole or not at all.
    async fn write(&self, state_id: &str, bytes: Vec<u8>) -> Diagnostics;
    /// Locks a state for an operation such as `plan`, and names the lock.
    ///
    /// # Errors
    /// When another holds it.
    async fn lock(&self, state_id: &str, operation: &str) -> Result<String, Diagnostics>;
    /// Gives a lock back.
    async fn unlock(&self, state_id: &str, lock_id: &str) -> Diagnostics;
    /// Every state's id.
    ///
    /// # Errors
    /// When they cannot be listed.
    async fn states(&self) -> Result<Vec<String>, Diagnostics>;
    /// Deletes a state.
    async fn delete(&self, state_id: &str) -> Diagnostics;
}
