//! `sink_old`: what `sink_thing` was called once, to be moved from.
use crate::shelf::Shelf;
use kiven_tfplugin::{Applied, Attr, Call, ImportKey, Read, Resource, Schema, Value, async_trait};
use std::sync::Arc;

/// The resource.
pub(crate) struct Old(pub(crate) Arc<Shelf>);

#[async_trait]
impl Resource for Old {
    fn schema(&self) -> Schema {
        Schema::new(0).deprecated("Use `sink_thing`.").attr(Attr::string("name").required())
    }
    async fn read(&self, state: Value, _: &Call) -> Read {
        Read::of(state)
    }
    async fn create(&self, planned: Value, _: Value, _: &Call) -> Applied {
        // It is a thing already; only its state is of the old kind.
        let mut thing = Value::Object(crate::thing_schema::schema().names().map(|name| (name.to_owned(), Value::Null)).collect());
        let (name, size) = (planned.get("name").clone(), "small");
        let id = format!("thing-{}", name.as_str().unwrap_or_default());
        [("size", size.into()), ("name", name), ("id", Value::from(id.as_str())), ("cost", 10.into()), ("note", Value::List(vec![]))]
            .into_iter()
            .for_each(|(attribute, value)| thing.set(attribute, value));
        match self.0.put(&id, &thing) {
            Ok(()) => Applied::of(planned).private(*b"7"),
            Err(refused) => Applied::with(Value::Null, refused),
        }
    }
    async fn update(&self, prior: Value, _: Value, _: Value, _: &Call) -> Applied {
        Applied::of(prior)
    }
    async fn delete(&self, _: Value, _: &Call) -> Applied {
        Applied::default()
    }
    async fn import(&self, _: &ImportKey, _: &Call) -> Read {
        Read::default()
    }
}
