//! Values as JSON: what a state file holds, and the way to and from serde types.
use crate::{Dynamic, Number, Type, Value};
use serde_json::{Value as Json, json};

/// JSON that is not a value of the schema's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Another type than the schema says.
    #[error("{at}: expected a {expected}")]
    Type {
        /// Where, dotted.
        at: String,
        /// The schema's word for it.
        expected: &'static str,
    },
    /// No JSON at all.
    #[error("the text is not JSON")]
    Broken,
    /// JSON cannot say "known after apply".
    #[error("an unknown value has no JSON form")]
    Unknown,
}

/// Reads a value of the given type. Attributes that the JSON lacks are null, those that the type lacks are dropped.
///
/// # Errors
/// When a part of it has another type.
pub fn from_json(of: &Type, json: &Json) -> Result<Value, JsonError> {
    read(of, json, "")
}

fn read(of: &Type, json: &Json, at: &str) -> Result<Value, JsonError> {
    let wrong = || JsonError::Type { at: if at.is_empty() { "the value".to_owned() } else { at.to_owned() }, expected: of.word() };
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let items = |element: &Type, items: &[Json]| -> Result<Vec<Value>, JsonError> {
        items.iter().enumerate().map(|(i, item)| read(element, item, &below(&i.to_string()))).collect()
    };
    match (of, json) {
        (_, Json::Null) => Ok(Value::Null),
        (Type::Bool, Json::Bool(truth)) => Ok(Value::Bool(*truth)),
        (Type::Number, Json::Number(number)) => number_of(number).map(Value::Number).ok_or_else(wrong),
        (Type::Number, Json::String(text)) => Number::parse(text).map(Value::Number).ok_or_else(wrong),
        (Type::String, Json::String(text)) => Ok(Value::String(text.clone())),
        (Type::List(element), Json::Array(all)) => Ok(Value::List(items(element, all)?)),
        (Type::Set(element), Json::Array(all)) => Ok(Value::Set(items(element, all)?)),
        (Type::Map(element), Json::Object(members)) => {
            let members = members.iter().map(|(name, member)| Ok((name.clone(), read(element, member, &below(name))?)));
            Ok(Value::Map(members.collect::<Result<_, _>>()?))
        }
        (Type::Object(attributes), Json::Object(members)) => {
            let members = attributes.iter().map(|(name, of)| {
                let value = read(of, members.get(name).unwrap_or(&Json::Null), &below(name))?;
                Ok((name.clone(), value))
            });
            Ok(Value::Object(members.collect::<Result<_, _>>()?))
        }
        (Type::Tuple(elements), Json::Array(all)) if elements.len() == all.len() => {
            let items = elements.iter().zip(all).enumerate().map(|(i, (of, item))| read(of, item, &below(&i.to_string())));
            Ok(Value::Tuple(items.collect::<Result<_, _>>()?))
        }
        (Type::Dynamic, Json::Object(parts)) => {
            let of = parts.get("type").and_then(Type::from_json).ok_or_else(wrong)?;
            let value = read(&of, parts.get("value").unwrap_or(&Json::Null), at)?;
            Ok(Value::Dynamic(Box::new(Dynamic { of, value })))
        }
        (
            Type::Bool | Type::Number | Type::String | Type::List(_) | Type::Set(_) | Type::Map(_) | Type::Object(_) | Type::Tuple(_) | Type::Dynamic,
            _,
        ) => Err(wrong()),
    }
}

fn number_of(number: &serde_json::Number) -> Option<Number> {
    number.as_i64().map(Number::from).or_else(|| number.as_u64().map(Number::from)).or_else(|| number.as_f64().map(Number::from))
}

/// The value as JSON; numbers beyond 64 bits become the nearest double, as JSON readers would have it.
///
/// # Errors
/// When something in it is unknown.
pub fn to_json(value: &Value) -> Result<Json, JsonError> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Unknown | Value::Refined(_) => return Err(JsonError::Unknown),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(Number::Int(number)) => Json::from(*number),
        Value::Number(Number::Uint(number)) => Json::from(*number),
        Value::Number(Number::Float(number)) => Json::from(*number),
        Value::Number(Number::Big(digits)) => digits.parse::<f64>().map_or(Json::Null, Json::from),
        Value::String(text) => Json::String(text.clone()),
        Value::List(items) | Value::Set(items) | Value::Tuple(items) => Json::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Value::Map(members) | Value::Object(members) => {
            let members = members.iter().map(|(name, member)| Ok((name.clone(), to_json(member)?)));
            Json::Object(members.collect::<Result<_, JsonError>>()?)
        }
        Value::Dynamic(dynamic) => json!({ "type": dynamic.of.to_json(), "value": to_json(&dynamic.value)? }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::tests::typed;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_known_value_survives_json((of, value) in typed(false)) {
            let text = serde_json::to_string(&to_json(&value).unwrap()).unwrap();
            let json: Json = serde_json::from_str(&text).unwrap();
            prop_assert!(roughly(&from_json(&of, &json).unwrap(), &value));
        }
    }

    /// Equal but for the last digit of a double, which a JSON reader may round.
    fn roughly(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => {
                let (a, b) = (a.to_string().parse::<f64>().unwrap(), b.to_string().parse::<f64>().unwrap());
                a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
            }
            (Value::List(a), Value::List(b)) | (Value::Set(a), Value::Set(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| roughly(a, b))
            }
            (Value::Map(a), Value::Map(b)) | (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((n, a), (m, b))| n == m && roughly(a, b))
            }
            (Value::Dynamic(a), Value::Dynamic(b)) => a.of == b.of && roughly(&a.value, &b.value),
            (a, b) => a == b,
        }
    }

    #[test]
    fn missing_is_null_and_surplus_is_dropped() {
        let of = Type::Object([("a".to_owned(), Type::Number), ("b".to_owned(), Type::String)].into());
        let value = from_json(&of, &json!({"a": 1, "gone": true})).unwrap();
        assert_eq!(value, Value::object([("a", Value::from(1)), ("b", Value::Null)]));
    }

    #[test]
    fn a_wrong_type_names_its_place() {
        let of = Type::Object([("a".to_owned(), Type::List(Box::new(Type::Bool)))].into());
        assert_eq!(from_json(&of, &json!({"a": [true, 7]})).unwrap_err().to_string(), "a.1: expected a bool");
        assert_eq!(to_json(&Value::Unknown), Err(JsonError::Unknown));
    }
}
