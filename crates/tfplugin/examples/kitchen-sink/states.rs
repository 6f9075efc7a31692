//! `sink_states`: states in the same folder, with locks.
use crate::shelf::Shelf;
use kiven_tfplugin::{Attr, Diagnostic, Diagnostics, Schema, StateStore, Value, async_trait};
use std::sync::Arc;

/// The state store.
pub(crate) struct States(pub(crate) Arc<Shelf>);

fn said(result: Result<(), Diagnostic>) -> Diagnostics {
    result.err().map(Diagnostics::from).unwrap_or_default()
}

#[async_trait]
impl StateStore for States {
    fn schema(&self) -> Schema {
        Schema::new(0).attr(Attr::string("folder").required())
    }
    async fn configure(&self, config: Value) -> Diagnostics {
        self.0.set(config.get("folder").as_str().unwrap_or_default());
        Diagnostics::none()
    }
    async fn read(&self, state_id: &str) -> Result<Vec<u8>, Diagnostics> {
        Ok(std::fs::read(self.0.path(&format!("{state_id}.tfstate"))?).unwrap_or_default())
    }
    async fn write(&self, state_id: &str, bytes: Vec<u8>) -> Diagnostics {
        said(self.0.put_bytes(&format!("{state_id}.tfstate"), &bytes))
    }
    async fn lock(&self, state_id: &str, operation: &str) -> Result<String, Diagnostics> {
        let path = self.0.path(&format!("{state_id}.lock"))?;
        let held = |error: std::io::Error| Diagnostic::error("The state is locked", error.to_string());
        std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(held)?;
        Ok(format!("{operation}-{state_id}"))
    }
    async fn unlock(&self, state_id: &str, _: &str) -> Diagnostics {
        said(self.0.remove(&format!("{state_id}.lock")))
    }
    async fn states(&self) -> Result<Vec<String>, Diagnostics> {
        Ok(self.0.names(".tfstate")?)
    }
    async fn delete(&self, state_id: &str) -> Diagnostics {
        said(self.0.remove(&format!("{state_id}.tfstate")))
    }
}
