//! What a provider implements: object-safe traits, so that one binary serves any list of resources.
use crate::{Diagnostic, Diagnostics, Path, Schema, Stop, Type, Value, async_trait, from_json};
use std::sync::Arc;

/// A provider: its configuration and what it offers.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The configuration's schema.
    fn schema(&self) -> Schema;
    /// Resources by type name.
    fn resources(&self) -> Vec<(&'static str, Arc<dyn Resource>)>;
    /// Data sources by type name.
    fn data_sources(&self) -> Vec<(&'static str, Arc<dyn DataSource>)>;
    /// Checks the configuration without any connection.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Takes the configuration; called before any read, plan or apply.
    async fn configure(&self, config: Value, terraform_version: &str) -> Diagnostics;
}

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The state; null before a create.
    pub prior: Value,
    /// What Terraform proposes: the configuration, and the state where it is silent. In a create every computed
    /// attribute that the configuration leaves out is unknown already.
    pub proposed: Value,
    /// The configuration alone.
    pub config: Value,
    /// What the resource left beside the state.
    pub private: Vec<u8>,
}

/// The answer to a plan.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// The planned state.
    pub state: Value,
    /// Attributes whose change replaces the object. Empty unless a resource asks for it.
    pub requires_replace: Vec<Path>,
    /// Kept beside the plan.
    pub private: Vec<u8>,
    /// Errors stop the plan.
    pub diagnostics: Diagnostics,
}

impl Planned {
    /// A plan without messages; private data stays as it was.
    #[must_use]
    pub fn of(state: Value, private: Vec<u8>) -> Self {
        Self { state, private, ..Self::default() }
    }
}

/// The answer to create, update and delete.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The state from now on. Null says the object does not exist. A create that answers an error together with a
    /// state is tainted by Terraform, and destroyed by the next apply: answer null with an error, or state with a warning.
    pub state: Value,
    /// Kept beside the state.
    pub private: Vec<u8>,
    /// What to say about it.
    pub diagnostics: Diagnostics,
}

impl Applied {
    /// A state without messages.
    #[must_use]
    pub fn of(state: Value) -> Self {
        Self { state, ..Self::default() }
    }
    /// A state and a message.
    #[must_use]
    pub fn with(state: Value, diagnostics: impl Into<Diagnostics>) -> Self {
        Self { state, private: Vec::new(), diagnostics: diagnostics.into() }
    }
}

/// The answer to read and import.
pub type Read = Applied;

/// One kind of managed object.
#[async_trait]
pub trait Resource: Send + Sync {
    /// The schema.
    fn schema(&self) -> Schema;
    /// Checks a configuration without any connection; unknown values are to be skipped.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Plans a create or an update.
    async fn plan(&self, request: PlanRequest, _stop: &Stop) -> Planned {
        Planned::of(request.proposed, request.private)
    }
    /// Plans a destroy; an error refuses it.
    async fn plan_delete(&self, _prior: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Brings the state up to date; null when the object is gone.
    async fn read(&self, state: Value, private: Vec<u8>, stop: &Stop) -> Read;
    /// Creates the object.
    async fn create(&self, planned: Value, config: Value, private: Vec<u8>, stop: &Stop) -> Applied;
    /// Changes the object.
    async fn update(&self, prior: Value, planned: Value, config: Value, private: Vec<u8>, stop: &Stop) -> Applied;
    /// Deletes the object; a null state says it is done.
    async fn delete(&self, prior: Value, private: Vec<u8>, stop: &Stop) -> Applied;
    /// Finds an object by id for the state.
    async fn import(&self, id: &str, stop: &Stop) -> Read;
    /// Reads a state of an older schema version. By default attributes that are gone are dropped and new ones are null.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn upgrade(&self, _version: i64, json: &serde_json::Value, of: &Type) -> Result<Value, Diagnostic> {
        from_json(of, json).map_err(|error| Diagnostic::error("The state cannot be read", error.to_string()))
    }
}

/// Something to look up.
#[async_trait]
pub trait DataSource: Send + Sync {
    /// The schema.
    fn schema(&self) -> Schema;
    /// Checks a configuration without any connection.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Looks it up.
    async fn read(&self, config: Value, stop: &Stop) -> Read;
}
