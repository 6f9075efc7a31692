//! Terraform's types and their JSON form in a schema.
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// How deep a type or a value may nest: a bound for every recursion, far above any schema.
pub(crate) const DEPTH_MAX: usize = 64;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A number of any size.
    Number,
    /// Text.
    String,
    /// Ordered elements of one type.
    List(Box<Type>),
    /// Distinct elements of one type without order.
    Set(Box<Type>),
    /// Elements of one type by text key.
    Map(Box<Type>),
    /// Named attributes, each with its type.
    Object(BTreeMap<String, Type>),
    /// Ordered elements, each with its type.
    Tuple(Vec<Type>),
    /// Any type: each value brings its own.
    Dynamic,
}

impl Type {
    /// The type in the form that a schema carries.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Bool => json!("bool"),
            Self::Number => json!("number"),
            Self::String => json!("string"),
            Self::List(element) => json!(["list", element.to_json()]),
            Self::Set(element) => json!(["set", element.to_json()]),
            Self::Map(element) => json!(["map", element.to_json()]),
            Self::Object(attributes) => {
                let members: serde_json::Map<String, Json> = attributes.iter().map(|(name, of)| (name.clone(), of.to_json())).collect();
                json!(["object", members])
            }
            Self::Tuple(elements) => json!(["tuple", elements.iter().map(Self::to_json).collect::<Vec<_>>()]),
            Self::Dynamic => json!("dynamic"),
        }
    }
    /// The word for messages.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Map(_) => "map",
            Self::Object(_) => "object",
            Self::Tuple(_) => "tuple",
            Self::Dynamic => "value",
        }
    }
    /// Reads the form that [`Type::to_json`] writes; `None` when it is no type, or nests deeper than any schema does.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        Self::parse(json, 0)
    }
    fn parse(json: &Json, depth: usize) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        let parse = |json: &Json| Self::parse(json, depth + 1);
        match json {
            Json::String(word) => match word.as_str() {
                "bool" => Some(Self::Bool),
                "number" => Some(Self::Number),
                "string" => Some(Self::String),
                "dynamic" => Some(Self::Dynamic),
                _ => None,
            },
            Json::Array(parts) => match parts.as_slice() {
                [Json::String(word), inner] if word == "list" => Some(Self::List(Box::new(parse(inner)?))),
                [Json::String(word), inner] if word == "set" => Some(Self::Set(Box::new(parse(inner)?))),
                [Json::String(word), inner] if word == "map" => Some(Self::Map(Box::new(parse(inner)?))),
                [Json::String(word), Json::Array(all)] if word == "tuple" => Some(Self::Tuple(all.iter().map(parse).collect::<Option<_>>()?)),
                // A third part may name optional attributes, which matter to a module's variables only.
                [Json::String(word), Json::Object(all), ..] if word == "object" => {
                    Some(Self::Object(all.iter().map(|(name, of)| Some((name.clone(), parse(of)?))).collect::<Option<_>>()?))
                }
                _ => None,
            },
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
        }
    }
}
