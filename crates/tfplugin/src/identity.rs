//! Resource identity: what tells one object from every other, beside its state.
use crate::{Type, Value, wire};

#[derive(Debug, Clone)]
struct Part {
    name: &'static str,
    of: Type,
    required: bool,
    description: String,
}

/// The attributes that together name one object for life. Where a resource says nothing else, each is taken from the
/// state's attribute of the same name.
#[derive(Debug, Clone, Default)]
pub struct IdentitySchema {
    version: i64,
    parts: Vec<Part>,
}

impl IdentitySchema {
    /// An identity without attributes.
    #[must_use]
    pub fn new(version: i64) -> Self {
        Self { version, parts: Vec::new() }
    }
    fn part(mut self, name: &'static str, of: Type, required: bool, description: impl Into<String>) -> Self {
        self.parts.push(Part { name, of, required, description: description.into() });
        self
    }
    /// An attribute that an import must name.
    #[must_use]
    pub fn required(self, name: &'static str, of: Type, description: impl Into<String>) -> Self {
        self.part(name, of, true, description)
    }
    /// An attribute that an import may leave to the provider.
    #[must_use]
    pub fn optional(self, name: &'static str, of: Type, description: impl Into<String>) -> Self {
        self.part(name, of, false, description)
    }
    /// The version of identities written with it.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }
    /// The type of an identity.
    #[must_use]
    pub fn value_type(&self) -> Type {
        Type::Object(self.parts.iter().map(|part| (part.name.to_owned(), part.of.clone())).collect())
    }
    /// The identity that a state implies; `None` while a part of it is not known, or nothing is there.
    #[must_use]
    pub fn of_state(&self, state: &Value) -> Option<Value> {
        state.as_members()?;
        let parts = self.parts.iter().map(|part| (part.name, state.get(part.name).clone()));
        let identity = Value::object(parts);
        let named = self.parts.iter().all(|part| !part.required || !identity.get(part.name).is_null());
        (named && identity.is_wholly_known()).then_some(identity)
    }
    pub(crate) fn to_wire(&self) -> wire::IdentitySchema {
        let attribute = |part: &Part| wire::IdentityAttribute {
            name: part.name.to_owned(),
            r#type: part.of.to_json().to_string().into_bytes(),
            required_for_import: part.required,
            optional_for_import: !part.required,
            description: part.description.clone(),
        };
        wire::IdentitySchema { version: self.version, identity_attributes: self.parts.iter().map(attribute).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_what_the_state_says_once_it_says_all_of_it() {
        let schema = IdentitySchema::new(0).required("id", Type::String, "").optional("zone", Type::String, "");
        let state = |id: Value| Value::object([("id", id), ("zone", Value::Null), ("size", 7.into())]);
        assert_eq!(schema.of_state(&state("a".into())), Some(Value::object([("id", "a".into()), ("zone", Value::Null)])));
        for id in [Value::Unknown, Value::Null] {
            assert_eq!(schema.of_state(&state(id)), None);
        }
        assert_eq!(schema.of_state(&Value::Null), None);
    }
}
