//! A stored state as the client kept it: JSON whose numbers are still text.
use crate::{Dynamic, JsonError, Number, Type, Value};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A stored state or identity.
#[derive(Debug, Clone, Copy)]
pub struct RawState<'a>(&'a [u8]);

impl<'a> RawState<'a> {
    /// The JSON of a state.
    #[must_use]
    pub fn new(json: &'a [u8]) -> Self {
        Self(json)
    }
    /// The JSON itself; numbers beyond 64 bits lose digits here, as in every JSON reader.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn json(&self) -> Result<serde_json::Value, JsonError> {
        if self.0.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(self.0).map_err(|_| JsonError::Broken)
    }
    /// Reads a value of the given type with every digit. Attributes that the JSON lacks are null, those that the type
    /// lacks are dropped.
    ///
    /// # Errors
    /// When it is no JSON or a part of it has another type.
    pub fn read(&self, of: &Type) -> Result<Value, JsonError> {
        if self.0.is_empty() {
            return Ok(Value::Null);
        }
        let raw: &RawValue = serde_json::from_slice(self.0).map_err(|_| JsonError::Broken)?;
        read(of, raw, "")
    }
}

fn read(of: &Type, raw: &RawValue, at: &str) -> Result<Value, JsonError> {
    let text = raw.get();
    if text == "null" {
        return Ok(Value::Null);
    }
    let wrong = || JsonError::Type { at: if at.is_empty() { "the value".to_owned() } else { at.to_owned() }, expected: of.word() };
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let array = || serde_json::from_str::<Vec<&RawValue>>(text).map_err(|_| wrong());
    // Keys are owned, for a key with an escape has no text of its own in the JSON.
    let members = || serde_json::from_str::<BTreeMap<String, &RawValue>>(text).map_err(|_| wrong());
    let items = |element: &Type| -> Result<Vec<Value>, JsonError> {
        array()?.into_iter().enumerate().map(|(i, item)| read(element, item, &below(&i.to_string()))).collect()
    };
    match of {
        Type::Bool => serde_json::from_str(text).map(Value::Bool).map_err(|_| wrong()),
        Type::String => serde_json::from_str(text).map(Value::String).map_err(|_| wrong()),
        Type::Number => {
            let quoted: Result<String, _> = serde_json::from_str(text);
            Number::parse(quoted.as_deref().unwrap_or(text)).map(Value::Number).ok_or_else(wrong)
        }
        Type::List(element) => Ok(Value::List(items(element)?)),
        Type::Set(element) => Ok(Value::Set(items(element)?)),
        Type::Tuple(elements) => {
            let all = array()?;
            if all.len() != elements.len() {
                return Err(wrong());
            }
            let items = elements.iter().zip(all).enumerate().map(|(i, (of, item))| read(of, item, &below(&i.to_string())));
            Ok(Value::Tuple(items.collect::<Result<_, _>>()?))
        }
        Type::Map(element) => {
            let all = members()?.into_iter().map(|(name, member)| read(element, member, &below(&name)).map(|value| (name, value)));
            Ok(Value::Map(all.collect::<Result<_, _>>()?))
        }
        Type::Object(attributes) => {
            let given = members()?;
            let all = attributes.iter().map(|(name, of)| {
                let value = given.get(name.as_str()).map_or(Ok(Value::Null), |raw| read(of, raw, &below(name)))?;
                Ok((name.clone(), value))
            });
            Ok(Value::Object(all.collect::<Result<_, JsonError>>()?))
        }
        Type::Dynamic => {
            let parts = members()?;
            let of = parts.get("type").and_then(|raw| serde_json::from_str(raw.get()).ok()).and_then(|json| Type::from_json(&json));
            let of = of.ok_or_else(wrong)?;
            let value = parts.get("value").map_or(Ok(Value::Null), |raw| read(&of, raw, at))?;
            Ok(Value::Dynamic(Box::new(Dynamic { of, value })))
        }
    }
}

/// The value as JSON text with every digit, as a state holds it.
///
/// # Errors
/// When something in it is unknown.
pub fn to_json_text(value: &Value) -> Result<String, JsonError> {
    if value.is_wholly_known() { serde_json::to_string(&Exact(value)).map_err(|_| JsonError::Broken) } else { Err(JsonError::Unknown) }
}

/// A value that serialises with its numbers as they are.
struct Exact<'a>(&'a Value);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null | Value::Unknown | Value::Refined(_) => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Number(Number::Int(number)) => serializer.serialize_i64(*number),
            Value::Number(Number::Uint(number)) => serializer.serialize_u64(*number),
            Value::Number(Number::Float(number)) => serializer.serialize_f64(*number),
            Value::Number(Number::Big(digits)) => RawValue::from_string(digits.clone()).map_err(serde::ser::Error::custom)?.serialize(serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::List(items) | Value::Set(items) | Value::Tuple(items) => serializer.collect_seq(items.iter().map(Exact)),
            Value::Map(members) | Value::Object(members) => serializer.collect_map(members.iter().map(|(name, member)| (name, Exact(member)))),
            Value::Dynamic(dynamic) => {
                let parts = [("type", None), ("value", Some(&dynamic.value))];
                serializer.collect_map(parts.into_iter().map(|(name, value)| (name, Part { of: &dynamic.of, value })))
            }
        }
    }
}

/// One half of a value without a fixed type: its type, or the value.
struct Part<'a> {
    of: &'a Type,
    value: Option<&'a Value>,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Some(value) => Exact(value).serialize(serializer),
            None => self.of.to_json().serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::tests::{damaged, damages, typed};
    use crate::to_json;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_reads_what_the_other_reader_reads((of, value) in typed(false)) {
            let text = to_json_text(&value).unwrap();
            prop_assert_eq!(&to_json(&value).unwrap().to_string(), &text);
            let exact = RawState::new(text.as_bytes()).read(&of).unwrap();
            prop_assert_eq!(to_json_text(&exact).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in ".{0,48}", (of, _) in typed(false)) {
            let _ = RawState::new(bytes.as_bytes()).read(&of);
        }

        #[test]
        fn what_is_nearly_a_state_is_read_or_refused((of, value) in typed(false), damage in damages()) {
            let bytes = damaged(to_json_text(&value).unwrap().into_bytes(), &damage);
            // What is taken for a state is one: it can be written, and reads as itself.
            if let Ok(read) = RawState::new(&bytes).read(&of) {
                let text = to_json_text(&read).unwrap();
                prop_assert_eq!(RawState::new(text.as_bytes()).read(&of).unwrap(), read);
            }
        }
    }

    #[test]
    fn numbers_keep_every_digit() {
        let of = Type::Object([("a".to_owned(), Type::Number), ("\"b".to_owned(), Type::String)].into());
        let json = br#"{"a": 123456789012345678901234567890.5, "\"b": "x", "gone": 1}"#;
        let value = RawState::new(json).read(&of).unwrap();
        assert_eq!(value.get("a"), &Value::Number(Number::Big("123456789012345678901234567890.5".to_owned())));
        assert_eq!(value.get("\"b").as_str(), Some("x"));
        let text = to_json_text(&value).unwrap();
        assert_eq!(text, r#"{"\"b":"x","a":123456789012345678901234567890.5}"#);
        assert_eq!(to_json_text(&Value::Unknown), Err(JsonError::Unknown));
        let wrong = RawState::new(br#"{"a": true}"#).read(&of).unwrap_err();
        assert_eq!(wrong.to_string(), "a: expected a number");
    }
}
