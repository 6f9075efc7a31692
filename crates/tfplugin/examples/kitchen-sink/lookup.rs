//! Data source `sink_thing`: a thing by its id.
use crate::shelf::Shelf;
use kiven_tfplugin::{Attr, Call, DataSource, Diagnostic, Path, Read, Schema, Value, async_trait};
use std::sync::Arc;

/// The data source.
pub(crate) struct Lookup(pub(crate) Arc<Shelf>);

#[async_trait]
impl DataSource for Lookup {
    fn schema(&self) -> Schema {
        Schema::new(0).attr(Attr::string("id").required()).attr(Attr::string("name").computed()).attr(Attr::number("cost").computed())
    }
    async fn read(&self, mut config: Value, _: &Call) -> Read {
        let id = config.get("id").as_str().unwrap_or_default().to_owned();
        match self.0.get(&id, &crate::thing_schema::schema()) {
            Ok(found) if !found.is_null() => {
                for name in ["name", "cost"] {
                    config.set(name, found.get(name).clone());
                }
                Read::of(config)
            }
            Ok(_) => Read::with(Value::Null, Diagnostic::error("No such thing", format!("`{id}` is not there.")).at(Path::attribute("id"))),
            Err(refused) => Read::with(Value::Null, refused),
        }
    }
}
