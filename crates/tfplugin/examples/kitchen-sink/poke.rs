//! `sink_poke`: an action on a thing, told step by step.
use crate::shelf::Shelf;
use kiven_tfplugin::{Action, Attr, Call, Diagnostic, Diagnostics, Path, Progress, Schema, Value, async_trait, check};
use std::sync::Arc;

/// The action.
pub(crate) struct Poke(pub(crate) Arc<Shelf>);

#[async_trait]
impl Action for Poke {
    fn schema(&self) -> Schema {
        Schema::new(0).attr(Attr::string("id").required()).attr(Attr::number("times").required().check(check::between(1..=5)))
    }
    async fn invoke(&self, config: Value, progress: &Progress, _: &Call) -> Diagnostics {
        let id = config.get("id").as_str().unwrap_or_default();
        match self.0.get(id, &crate::thing_schema::schema()) {
            Ok(found) if found.is_null() => {
                return Diagnostic::error("Nothing to poke", format!("`{id}` is not there.")).at(Path::attribute("id")).into();
            }
            Ok(_) => {}
            Err(refused) => return refused.into(),
        }
        for time in 1..=config.get("times").as_i64().unwrap_or(0) {
            progress.say(format!("poke {time}")).await;
        }
        self.0.put_bytes(&format!("{id}.poked"), b"poked").err().map(Diagnostics::from).unwrap_or_default()
    }
}
