//! Listing things that no state knows.
use crate::shelf::Shelf;
use kiven_tfplugin::{Attr, Call, Diagnostics, Found, List, Listed, Query, Schema, Value, async_trait};
use std::sync::Arc;

/// The list resource.
pub(crate) struct Listing(pub(crate) Arc<Shelf>);

#[async_trait]
impl List for Listing {
    fn schema(&self) -> Schema {
        Schema::new(0).attr(Attr::string("prefix").optional())
    }
    async fn list(&self, query: Query, found: &Found, _: &Call) -> Diagnostics {
        let names = match self.0.names(".json") {
            Ok(names) => names,
            Err(refused) => return refused.into(),
        };
        let prefix = query.config.get("prefix").as_str().unwrap_or_default();
        for id in names.iter().filter(|id| id.starts_with(prefix)) {
            let state = if query.include_state { self.0.get(id, &crate::thing_schema::schema()).ok() } else { None };
            let identity = Value::object([("id", id.as_str().into())]);
            if !found.push(Listed { identity, display_name: id.clone(), state, ..Listed::default() }).await {
                break;
            }
        }
        Diagnostics::none()
    }
}
