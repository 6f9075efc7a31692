//! Values into types of one's own: serde, with errors on the attribute that is wrong.
use crate::{Diagnostic, Number, Path, Value};
use serde::de::{self, DeserializeOwned, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::fmt;

/// The name under which [`Given`] asks for more than a plain value.
const GIVEN: &str = "$tfplugin::Given";

/// An attribute whose three states matter: not set, known after apply, or set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Given<T> {
    /// Not set.
    #[default]
    Null,
    /// Known after apply.
    Unknown,
    /// Set.
    Known(T),
}

impl<T> Given<T> {
    /// The value, when it is set and known.
    pub fn known(self) -> Option<T> {
        if let Self::Known(value) = self { Some(value) } else { None }
    }
}

/// A value that does not fit the type it is read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    path: Path,
    text: String,
}

impl DecodeError {
    fn at(text: impl Into<String>, path: &Path) -> Self {
        Self { path: path.clone(), text: text.into() }
    }
    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.steps().is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.path, self.text) }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { path: Path::default(), text: text.to_string() }
    }
}

impl From<DecodeError> for Diagnostic {
    fn from(error: DecodeError) -> Self {
        Diagnostic::error("This value cannot be used", format!("{}.", error.text)).at(error.path)
    }
}

/// Reads a value into a type. Null attributes are `None`, or left out where the field has a default; unknown ones are an
/// error unless the field is a [`Given`].
///
/// # Errors
/// When a part of the value does not fit, with its path.
pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, DecodeError> {
    T::deserialize(At { value, path: Path::default() })
}

/// A value with the way to it.
struct At<'a> {
    value: &'a Value,
    path: Path,
}

/// Puts an error that has no place yet where it arose.
fn placed<T>(result: Result<T, DecodeError>, path: &Path) -> Result<T, DecodeError> {
    result.map_err(|mut error| {
        if error.path.steps().is_empty() {
            error.path = path.clone();
        }
        error
    })
}

struct Items<'a>(std::iter::Enumerate<std::slice::Iter<'a, Value>>, Path, bool);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;
    fn next_element_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        let Some((index, value)) = self.0.next() else { return Ok(None) };
        // Elements of a set have no path: the set itself is named.
        let path = if self.2 { self.1.clone().index(i64::try_from(index).unwrap_or(i64::MAX)) } else { self.1.clone() };
        seed.deserialize(At { value, path }).map(Some)
    }
}

struct Members<'a> {
    left: std::collections::btree_map::Iter<'a, String, Value>,
    next: Option<(&'a Value, Path)>,
    path: Path,
    object: bool,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = DecodeError;
    fn next_key_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        for (name, value) in self.left.by_ref() {
            // An object's null attribute is an absent field, so that a default takes its place.
            if self.object && value.is_null() {
                continue;
            }
            let path = self.path.clone();
            self.next = Some((value, if self.object { path.attr(name) } else { path.key(name) }));
            return seed.deserialize(name.as_str().into_deserializer()).map(Some);
        }
        Ok(None)
    }
    fn next_value_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let (value, path) = self.next.take().ok_or_else(|| de::Error::custom("a value without a key"))?;
        seed.deserialize(At { value, path })
    }
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let path = self.path.clone();
        let result = match self.value.inner() {
            Value::Null => visitor.visit_unit(),
            Value::Unknown | Value::Refined(_) | Value::Dynamic(_) => Err(DecodeError::at("it is known only after apply", &path)),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(Number::Int(number)) => visitor.visit_i64(*number),
            Value::Number(Number::Uint(number)) => visitor.visit_u64(*number),
            Value::Number(Number::Float(number)) => visitor.visit_f64(*number),
            Value::Number(Number::Big(digits)) => match digits.parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(DecodeError::at("it is no number", &path)),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::List(items) | Value::Tuple(items) => visitor.visit_seq(Items(items.iter().enumerate(), path.clone(), true)),
            Value::Set(items) => visitor.visit_seq(Items(items.iter().enumerate(), path.clone(), false)),
            Value::Map(members) => visitor.visit_map(Members { left: members.iter(), next: None, path: path.clone(), object: false }),
            Value::Object(members) => visitor.visit_map(Members { left: members.iter(), next: None, path: path.clone(), object: true }),
        };
        placed(result, &path)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        if name != GIVEN {
            return visitor.visit_newtype_struct(self);
        }
        if self.value.is_null() {
            visitor.visit_none()
        } else if self.value.is_unknown() {
            visitor.visit_unit()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, all: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        let path = self.path.clone();
        let result = match self.value.as_str() {
            Some(text) => visitor.visit_enum(Variant(text)),
            None if self.value.is_unknown() => Err(DecodeError::at("it is known only after apply", &path)),
            None => Err(DecodeError::at(format!("expected the text of a {name}: {}", all.join(", ")), &path)),
        };
        placed(result, &path)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// A variant named by text: enums of this kind are what attributes with a few words are.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = DecodeError;
    type Variant = Self;
    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), DecodeError> {
        let variant = seed.deserialize(self.0.into_deserializer())?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = DecodeError;
    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }
    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, DecodeError> {
        Err(de::Error::custom("text names a variant without content"))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("text names a variant without content"))
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("text names a variant without content"))
    }
}

impl<'de, T: de::Deserialize<'de>> de::Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Three<T>(std::marker::PhantomData<T>);
        impl<'de, T: de::Deserialize<'de>> Visitor<'de> for Three<T> {
            type Value = Given<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, null or unknown")
            }
            fn visit_none<E: de::Error>(self) -> Result<Given<T>, E> {
                Ok(Given::Null)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Given<T>, E> {
                Ok(Given::Unknown)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given<T>, D::Error> {
                T::deserialize(deserializer).map(Given::Known)
            }
        }
        deserializer.deserialize_newtype_struct(GIVEN, Three(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        Session,
        Transaction,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Pooler {
        mode: Mode,
        #[serde(default)]
        size: Option<u32>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Thing {
        name: String,
        #[serde(default)]
        id: Given<String>,
        #[serde(default)]
        poolers: Vec<Pooler>,
        #[serde(default)]
        tags: BTreeSet<String>,
        #[serde(default)]
        parameters: BTreeMap<String, i64>,
    }

    fn pooler(mode: Value, size: Value) -> Value {
        Value::object([("mode", mode), ("size", size)])
    }

    fn thing(name: Value, id: Value, poolers: Vec<Value>) -> Value {
        let parameters = Value::Map([("a.b".to_owned(), Value::from(7))].into());
        let tags = Value::Set(vec!["x".into()]);
        Value::object([("name", name), ("id", id), ("poolers", Value::List(poolers)), ("tags", tags), ("parameters", parameters)])
    }

    #[test]
    fn null_unknown_and_known_are_three_things() {
        let read = |id: Value| decode::<Thing>(&thing("a".into(), id, vec![pooler("session".into(), Value::Null)])).unwrap();
        assert_eq!(read(Value::Null).id, Given::Null);
        assert_eq!(read(Value::Unknown).id, Given::Unknown);
        let thing = read("1".into());
        assert_eq!(thing.id, Given::Known("1".to_owned()));
        assert_eq!(thing.poolers, [Pooler { mode: Mode::Session, size: None }]);
        assert_eq!((thing.tags.len(), thing.parameters["a.b"]), (1, 7));
    }

    #[test]
    fn what_does_not_fit_is_on_its_path() {
        let told = |value: Value| decode::<Thing>(&value).unwrap_err().to_string();
        let known = || Value::from("a");
        let of = |pooler: Value| thing(known(), Value::Null, vec![pooler]);
        assert!(told(of(pooler("both".into(), Value::Null))).starts_with("poolers[0].mode: unknown variant `both`"));
        assert!(told(of(pooler("session".into(), (-1).into()))).starts_with("poolers[0].size: invalid value: integer `-1`"));
        assert_eq!(told(of(pooler(Value::Unknown, Value::Null))), "poolers[0].mode: it is known only after apply");
        assert_eq!(told(of(pooler(Value::from(true), Value::Null))), "poolers[0].mode: expected the text of a Mode: session, transaction");
        assert_eq!(told(thing(Value::Unknown, Value::Null, vec![])), "name: it is known only after apply");
        assert_eq!(told(thing(Value::Null, Value::Null, vec![])), "missing field `name`");
        let mut wrong = thing(known(), Value::Null, vec![]);
        wrong.set("parameters", Value::Map([("x".to_owned(), "y".into())].into()));
        assert!(told(wrong).starts_with("parameters[\"x\"]: invalid type"));
    }
}
