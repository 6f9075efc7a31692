//! A provider that uses everything the framework has: what its tests run through Terraform, OpenTofu and the harness.
//! Objects are JSON files in one folder.
mod functions;
mod listing;
mod lookup;
mod old;
mod poke;
mod shelf;
mod states;
mod thing;
mod thing_schema;
mod token;

use kiven_tfplugin::{Action, Attr, DataSource, Diagnostics, Ephemeral, Function, List, Named, Provider, Resource, Schema, StateStore, Type, Value};
use kiven_tfplugin::{async_trait, run_provider};
use shelf::Shelf;
use std::sync::Arc;

#[derive(Default)]
struct Sink(Arc<Shelf>);

#[async_trait]
impl Provider for Sink {
    fn schema(&self) -> Schema {
        Schema::new(0)
            .describe("A provider that uses everything.")
            .attr(Attr::string("folder").required().describe("Where the objects are kept."))
            .attr(Attr::string("old_folder").optional().deprecated("Use `folder`."))
    }
    fn meta(&self) -> Option<Schema> {
        Some(Schema::new(0).attr(Attr::new("module", Type::String).optional()))
    }
    fn resources(&self) -> Named<dyn Resource> {
        vec![("sink_thing", Arc::new(thing::Thing(self.0.clone()))), ("sink_old", Arc::new(old::Old(self.0.clone())))]
    }
    fn data_sources(&self) -> Named<dyn DataSource> {
        vec![("sink_thing", Arc::new(lookup::Lookup(self.0.clone())))]
    }
    fn functions(&self) -> Named<dyn Function> {
        vec![("shout", Arc::new(functions::Shout)), ("describe", Arc::new(functions::Describe)), ("first", Arc::new(functions::First))]
    }
    fn ephemeral_resources(&self) -> Named<dyn Ephemeral> {
        vec![("sink_token", Arc::new(token::Token(self.0.clone())))]
    }
    fn list_resources(&self) -> Named<dyn List> {
        vec![("sink_thing", Arc::new(listing::Listing(self.0.clone())))]
    }
    fn actions(&self) -> Named<dyn Action> {
        vec![("sink_poke", Arc::new(poke::Poke(self.0.clone())))]
    }
    fn state_stores(&self) -> Named<dyn StateStore> {
        vec![("sink_states", Arc::new(states::States(self.0.clone())))]
    }
    async fn configure(&self, config: Value, _: &str) -> Diagnostics {
        if let Some(folder) = config.get("folder").as_str() {
            self.0.set(folder);
        }
        Diagnostics::none()
    }
}

fn main() -> std::process::ExitCode {
    run_provider("registry.terraform.io/examples/sink", Sink::default(), &["kitchen_sink"])
}
