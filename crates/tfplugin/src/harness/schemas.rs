//! The types of a provider's values, read from its schemas as a client reads them.
use super::HarnessError;
use crate::{Type, wire};
use std::collections::BTreeMap;

/// Types by name.
#[derive(Debug, Default)]
pub(super) struct Types {
    resources: BTreeMap<String, Type>,
    data_sources: BTreeMap<String, Type>,
    ephemeral: BTreeMap<String, Type>,
    identities: BTreeMap<String, Type>,
    functions: BTreeMap<String, Type>,
}

fn type_of(bytes: &[u8]) -> Result<Type, HarnessError> {
    let wrong = || HarnessError::Answer(format!("{} is no type", String::from_utf8_lossy(bytes)));
    serde_json::from_slice(bytes).ok().and_then(|json| Type::from_json(&json)).ok_or_else(wrong)
}

fn nested(object: Type, nesting: i32) -> Type {
    match nesting {
        2 => Type::List(Box::new(object)),
        3 => Type::Set(Box::new(object)),
        4 => Type::Map(Box::new(object)),
        _ => object,
    }
}

fn attribute(attribute: &wire::Attribute) -> Result<(String, Type), HarnessError> {
    let of = match &attribute.nested_type {
        None => type_of(&attribute.r#type)?,
        Some(object) => {
            let members = object.attributes.iter().map(self::attribute).collect::<Result<_, _>>()?;
            nested(Type::Object(members), object.nesting)
        }
    };
    Ok((attribute.name.clone(), of))
}

fn block(block: &wire::Block) -> Result<Type, HarnessError> {
    let mut members: BTreeMap<String, Type> = block.attributes.iter().map(attribute).collect::<Result<_, _>>()?;
    for inner in &block.block_types {
        let object = self::block(inner.block.as_ref().unwrap_or(&wire::Block::default()))?;
        members.insert(inner.type_name.clone(), nested(object, inner.nesting));
    }
    Ok(Type::Object(members))
}

fn all(schemas: &BTreeMap<String, wire::Schema>) -> Result<BTreeMap<String, Type>, HarnessError> {
    let of = |schema: &wire::Schema| block(schema.block.as_ref().unwrap_or(&wire::Block::default()));
    schemas.iter().map(|(name, schema)| Ok((name.clone(), of(schema)?))).collect()
}

impl Types {
    pub(super) fn read(schemas: &wire::SchemaResponse, identities: &wire::IdentitySchemasResponse) -> Result<Self, HarnessError> {
        let identity = |schema: &wire::IdentitySchema| {
            let parts = schema.identity_attributes.iter().map(|part| Ok((part.name.clone(), type_of(&part.r#type)?)));
            parts.collect::<Result<_, HarnessError>>().map(Type::Object)
        };
        let returns = |function: &wire::Function| type_of(&function.r#return.clone().unwrap_or_default().r#type);
        Ok(Self {
            resources: all(&schemas.resource_schemas)?,
            data_sources: all(&schemas.data_source_schemas)?,
            ephemeral: all(&schemas.ephemeral_resource_schemas)?,
            identities: identities
                .identity_schemas
                .iter()
                .map(|(name, of)| Ok((name.clone(), identity(of)?)))
                .collect::<Result<_, HarnessError>>()?,
            functions: schemas.functions.iter().map(|(name, of)| Ok((name.clone(), returns(of)?))).collect::<Result<_, HarnessError>>()?,
        })
    }

    pub(super) fn resource(&self, name: &str) -> Result<&Type, HarnessError> {
        find(&self.resources, name)
    }
    pub(super) fn data_source(&self, name: &str) -> Result<&Type, HarnessError> {
        find(&self.data_sources, name)
    }
    pub(super) fn ephemeral(&self, name: &str) -> Result<&Type, HarnessError> {
        find(&self.ephemeral, name)
    }
    pub(super) fn function(&self, name: &str) -> Result<&Type, HarnessError> {
        find(&self.functions, name)
    }
    pub(super) fn identity(&self, name: &str) -> Option<&Type> {
        self.identities.get(name)
    }
}

fn find<'a>(types: &'a BTreeMap<String, Type>, name: &str) -> Result<&'a Type, HarnessError> {
    types.get(name).ok_or_else(|| HarnessError::Answer(format!("the provider has no `{name}`")))
}
