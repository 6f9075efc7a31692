//! A provider's schemas as JSON, in the form that `terraform providers schema -json` prints: for golden files and documents.
use crate::{Provider, Schema, Type, wire};
use serde_json::{Map, Value as Json, json};

/// Everything that a provider offers, under its address.
#[must_use]
pub fn schema_json(address: &str, provider: &dyn Provider) -> Json {
    let schemas =
        |all: Vec<(&'static str, Schema)>| -> Map<String, Json> { all.into_iter().map(|(name, of)| (name.to_owned(), whole(&of))).collect() };
    let mut offer = Map::new();
    offer.insert("provider".to_owned(), whole(&provider.schema()));
    let resources = provider.resources();
    let identities: Map<String, Json> =
        resources.iter().filter_map(|(name, of)| Some(((*name).to_owned(), identity(&of.identity()?.to_wire())))).collect();
    let functions: Map<String, Json> =
        provider.functions().into_iter().map(|(name, of)| (name.to_owned(), function(&of.signature().to_wire()))).collect();
    for (part, all) in [
        ("resource_schemas", schemas(resources.iter().map(|(name, of)| (*name, of.schema())).collect())),
        ("data_source_schemas", schemas(provider.data_sources().iter().map(|(name, of)| (*name, of.schema())).collect())),
        ("ephemeral_resource_schemas", schemas(provider.ephemeral_resources().iter().map(|(name, of)| (*name, of.schema())).collect())),
        ("functions", functions),
        ("resource_identity_schemas", identities),
    ] {
        if !all.is_empty() {
            offer.insert(part.to_owned(), all.into());
        }
    }
    json!({ "format_version": "1.0", "provider_schemas": { address: offer } })
}

fn whole(schema: &Schema) -> Json {
    json!({ "version": schema.version(), "block": schema.to_wire().block.as_ref().map(block) })
}

/// The type as JSON carries it; a schema's own types are always readable.
fn of_type(bytes: &[u8]) -> Json {
    let json = serde_json::from_slice(bytes).unwrap_or_default();
    Type::from_json(&json).map_or(Json::Null, |of| of.to_json())
}

/// Adds what is there; Terraform leaves out what is false or empty.
fn add(into: &mut Map<String, Json>, members: impl IntoIterator<Item = (&'static str, Json)>) {
    let said = |value: &Json| !matches!(value, Json::Null | Json::Bool(false)) && value.as_str() != Some("") && value.as_i64() != Some(0);
    into.extend(members.into_iter().filter(|(_, value)| said(value)).map(|(name, value)| (name.to_owned(), value)));
}

fn block(of: &wire::Block) -> Json {
    let mut made = Map::new();
    if !of.attributes.is_empty() {
        let attributes: Map<String, Json> = of.attributes.iter().map(|one| (one.name.clone(), attribute(one))).collect();
        made.insert("attributes".to_owned(), attributes.into());
    }
    if !of.block_types.is_empty() {
        let nested = |one: &wire::NestedBlock| {
            let nesting = ["invalid", "single", "list", "set", "map", "group"];
            let mut made = Map::new();
            add(
                &mut made,
                [
                    ("nesting_mode", word(&nesting, one.nesting)),
                    ("block", one.block.as_ref().map(block).into()),
                    ("min_items", one.min_items.into()),
                    ("max_items", one.max_items.into()),
                ],
            );
            (one.type_name.clone(), Json::from(made))
        };
        made.insert("block_types".to_owned(), of.block_types.iter().map(nested).collect::<Map<_, _>>().into());
    }
    add(&mut made, [("description", of.description.clone().into()), ("description_kind", "markdown".into()), ("deprecated", of.deprecated.into())]);
    made.into()
}

fn word(words: &[&str], number: i32) -> Json {
    usize::try_from(number).ok().and_then(|number| words.get(number)).map_or(Json::Null, |word| Json::from(*word))
}

fn attribute(of: &wire::Attribute) -> Json {
    let mut made = Map::new();
    match &of.nested_type {
        Some(object) => {
            let members: Map<String, Json> = object.attributes.iter().map(|one| (one.name.clone(), attribute(one))).collect();
            let nesting = word(&["invalid", "single", "list", "set", "map"], object.nesting);
            made.insert("nested_type".to_owned(), json!({ "attributes": members, "nesting_mode": nesting }));
        }
        None => drop(made.insert("type".to_owned(), of_type(&of.r#type))),
    }
    add(
        &mut made,
        [
            ("description", of.description.clone().into()),
            ("description_kind", "markdown".into()),
            ("deprecated", of.deprecated.into()),
            ("required", of.required.into()),
            ("optional", of.optional.into()),
            ("computed", of.computed.into()),
            ("sensitive", of.sensitive.into()),
            ("write_only", of.write_only.into()),
        ],
    );
    made.into()
}

fn identity(of: &wire::IdentitySchema) -> Json {
    let part = |one: &wire::IdentityAttribute| {
        let mut made = Map::from_iter([("type".to_owned(), of_type(&one.r#type))]);
        add(
            &mut made,
            [
                ("description", one.description.clone().into()),
                ("required_for_import", one.required_for_import.into()),
                ("optional_for_import", one.optional_for_import.into()),
            ],
        );
        (one.name.clone(), Json::from(made))
    };
    json!({ "version": of.version, "attributes": of.identity_attributes.iter().map(part).collect::<Map<_, _>>() })
}

fn parameter(of: &wire::Parameter) -> Json {
    let mut made = Map::from_iter([("name".to_owned(), of.name.clone().into()), ("type".to_owned(), of_type(&of.r#type))]);
    add(&mut made, [("description", of.description.clone().into()), ("is_nullable", of.allow_null_value.into())]);
    made.into()
}

fn function(of: &wire::Function) -> Json {
    let mut made = Map::new();
    add(
        &mut made,
        [
            ("description", of.description.clone().into()),
            ("summary", of.summary.clone().into()),
            ("deprecation_message", of.deprecation_message.clone().into()),
            ("return_type", of.r#return.as_ref().map(|of| of_type(&of.r#type)).into()),
            ("variadic_parameter", of.variadic_parameter.as_ref().map(parameter).into()),
        ],
    );
    if !of.parameters.is_empty() {
        made.insert("parameters".to_owned(), of.parameters.iter().map(parameter).collect());
    }
    made.into()
}
