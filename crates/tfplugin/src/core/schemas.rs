//! What the provider offers.
use super::{Core, Kinds};
use crate::{Diagnostic, wire};
use std::collections::BTreeMap;
use std::sync::Arc;

fn capabilities() -> Option<wire::ServerCapabilities> {
    Some(wire::ServerCapabilities {
        plan_destroy: true,
        get_provider_schema_optional: true,
        move_resource_state: true,
        generate_resource_config: true,
    })
}

fn names<T>(all: &BTreeMap<String, T>) -> Vec<wire::Name> {
    all.keys().map(|name| wire::Name { name: name.clone() }).collect()
}

fn schemas<T: ?Sized>(kinds: &Kinds<T>) -> BTreeMap<String, wire::Schema> {
    kinds.iter().map(|(name, kind)| (name.clone(), kind.schema.to_wire())).collect()
}

impl Core {
    fn defects(&self) -> Vec<wire::Diagnostic> {
        self.defects.iter().map(|defect| Diagnostic::error("This provider has a defect", defect.clone()).to_wire()).collect()
    }

    pub(crate) async fn metadata(self: Arc<Self>, _: wire::Empty) -> wire::MetadataResponse {
        wire::MetadataResponse {
            server_capabilities: capabilities(),
            diagnostics: self.defects(),
            data_sources: names(&self.data_sources),
            resources: names(&self.resources),
            functions: names(&self.functions),
            ephemeral_resources: names(&self.ephemeral),
            list_resources: names(&self.lists),
            state_stores: names(&self.states),
            actions: names(&self.actions),
        }
    }

    pub(crate) async fn schemas(self: Arc<Self>, _: wire::Empty) -> wire::SchemaResponse {
        let action = |(name, schema)| (name, wire::ActionSchema { schema: Some(schema) });
        wire::SchemaResponse {
            provider: Some(self.config.to_wire()),
            resource_schemas: schemas(&self.resources),
            data_source_schemas: schemas(&self.data_sources),
            diagnostics: self.defects(),
            provider_meta: self.meta.as_ref().map(|(schema, _)| schema.to_wire()),
            server_capabilities: capabilities(),
            functions: self.signatures(),
            ephemeral_resource_schemas: schemas(&self.ephemeral),
            list_resource_schemas: schemas(&self.lists),
            state_store_schemas: schemas(&self.states),
            action_schemas: schemas(&self.actions).into_iter().map(action).collect(),
        }
    }

    pub(super) fn signatures(&self) -> BTreeMap<String, wire::Function> {
        self.functions.iter().map(|(name, (_, signature))| (name.clone(), signature.to_wire())).collect()
    }

    pub(crate) async fn identity_schemas(self: Arc<Self>, _: wire::Empty) -> wire::IdentitySchemasResponse {
        let identities = self.resources.iter().filter_map(|(name, kind)| Some((name.clone(), kind.identity.as_ref()?.0.to_wire())));
        wire::IdentitySchemasResponse { identity_schemas: identities.collect(), diagnostics: Vec::new() }
    }
}
