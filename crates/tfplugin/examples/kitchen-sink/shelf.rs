//! The folder in which objects are kept, one JSON file each.
use kiven_tfplugin::{Diagnostic, RawState, Schema, Value, to_json_text};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The folder, once the provider is configured.
#[derive(Default)]
pub(crate) struct Shelf(OnceLock<PathBuf>);

impl Shelf {
    pub(crate) fn set(&self, folder: &str) {
        // Configured once in a process's life.
        drop(self.0.set(PathBuf::from(folder)));
    }

    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, Diagnostic> {
        let folder = self.0.get().ok_or_else(|| Diagnostic::error("The provider is not configured", "Its folder is not known yet."))?;
        Ok(folder.join(name))
    }

    pub(crate) fn put(&self, id: &str, value: &Value) -> Result<(), Diagnostic> {
        let text = to_json_text(value).map_err(|error| Diagnostic::error("The object cannot be kept", error.to_string()))?;
        self.put_bytes(&format!("{id}.json"), text.as_bytes())
    }

    pub(crate) fn get(&self, id: &str, schema: &Schema) -> Result<Value, Diagnostic> {
        let Ok(text) = std::fs::read(self.path(&format!("{id}.json"))?) else { return Ok(Value::Null) };
        let wrong = |error: kiven_tfplugin::JsonError| Diagnostic::error("The object cannot be read", error.to_string());
        RawState::new(&text).read(&schema.value_type()).map_err(wrong)
    }

    pub(crate) fn put_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), Diagnostic> {
        std::fs::write(self.path(name)?, bytes).map_err(|error| Diagnostic::error("The object cannot be kept", error.to_string()))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), Diagnostic> {
        match std::fs::remove_file(self.path(name)?) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Diagnostic::error("It cannot be removed", error.to_string())),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The names of what ends like this, without the ending, in order.
    pub(crate) fn names(&self, ending: &str) -> Result<Vec<String>, Diagnostic> {
        let entries = std::fs::read_dir(self.path("")?).map_err(|error| Diagnostic::error("The folder cannot be read", error.to_string()))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(ending)?.to_owned())).collect();
        names.sort();
        Ok(names)
    }
}
