//! What a provider implements: object-safe traits, so that one binary serves any list of resources.
use crate::{Action, DataSource, Diagnostics, Ephemeral, Function, List, Resource, Schema, StateStore, Value, async_trait};
use std::sync::Arc;

/// Things by name.
pub type Named<T> = Vec<(&'static str, Arc<T>)>;

/// A provider: its configuration and what it offers.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The configuration's schema.
    fn schema(&self) -> Schema;
    /// The schema of `provider_meta` in a module's `terraform` block; `None` without.
    fn meta(&self) -> Option<Schema> {
        None
    }
    /// Managed resources by type name.
    fn resources(&self) -> Named<dyn Resource>;
    /// Data sources by type name.
    fn data_sources(&self) -> Named<dyn DataSource> {
        Vec::new()
    }
    /// Functions by name, without a prefix.
    fn functions(&self) -> Named<dyn Function> {
        Vec::new()
    }
    /// Ephemeral resources by type name.
    fn ephemeral_resources(&self) -> Named<dyn Ephemeral> {
        Vec::new()
    }
    /// List resources by the type name of the managed resource that they find.
    fn list_resources(&self) -> Named<dyn List> {
        Vec::new()
    }
    /// Actions by type name.
    fn actions(&self) -> Named<dyn Action> {
        Vec::new()
    }
    /// State stores by type name.
    fn state_stores(&self) -> Named<dyn StateStore> {
        Vec::new()
    }
    /// Checks the configuration without any connection, after the schema's own validators.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Takes the configuration; called before any read, plan or apply.
    async fn configure(&self, config: Value, terraform_version: &str) -> Diagnostics;
}
