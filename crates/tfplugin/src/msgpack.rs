//! Values as msgpack, typed by the schema, the way Terraform sends them.
use crate::types::DEPTH_MAX;
use crate::{Dynamic, Number, Refinement, Type, Value};
use rmpv::Value as Pack;
use std::collections::BTreeMap;

/// The extension of an unknown value about which nothing is known.
const UNKNOWN: i8 = 0;
/// The extension of an unknown value with refinements.
const REFINED: i8 = 12;

/// Bytes that are not a value of the schema's type.
#[derive(Debug, thiserror::Error)]
pub enum MsgpackError {
    /// Not msgpack at all.
    #[error("the bytes are not msgpack")]
    Broken(#[source] rmpv::decode::Error),
    /// Another type than the schema says.
    #[error("expected a {expected}")]
    Type {
        /// The schema's word for it.
        expected: &'static str,
    },
    /// Nested too deeply.
    #[error("nested more than {DEPTH_MAX} levels deep")]
    Depth,
    /// The writer failed; with a buffer in memory it cannot.
    #[error("the value could not be written")]
    Write(#[source] rmpv::encode::Error),
}

/// Reads a value of the given type.
///
/// # Errors
/// When the bytes are not msgpack or not of that type.
pub fn from_msgpack(of: &Type, mut bytes: &[u8]) -> Result<Value, MsgpackError> {
    let pack = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH_MAX).map_err(MsgpackError::Broken)?;
    read(of, &pack, 0)
}

/// Writes a value.
///
/// # Errors
/// Only when the writer fails, which memory does not.
pub fn to_msgpack(value: &Value) -> Result<Vec<u8>, MsgpackError> {
    let mut bytes = Vec::new();
    let pack = pack(value).map_err(MsgpackError::Write)?;
    rmpv::encode::write_value(&mut bytes, &pack).map_err(MsgpackError::Write)?;
    Ok(bytes)
}

fn read(of: &Type, pack: &Pack, depth: usize) -> Result<Value, MsgpackError> {
    if depth > DEPTH_MAX {
        return Err(MsgpackError::Depth);
    }
    let wrong = || MsgpackError::Type { expected: of.word() };
    match (of, pack) {
        (_, Pack::Nil) => Ok(Value::Null),
        (_, Pack::Ext(REFINED, bytes)) => Ok(refined(bytes).map_or(Value::Unknown, Value::from)),
        (_, Pack::Ext(_, _)) => Ok(Value::Unknown),
        (Type::Bool, Pack::Boolean(truth)) => Ok(Value::Bool(*truth)),
        (Type::Number, _) => number(pack).map(Value::Number).ok_or_else(wrong),
        (Type::String, Pack::String(text)) => Ok(Value::String(text.as_str().ok_or_else(wrong)?.to_owned())),
        (Type::List(element), Pack::Array(items)) => Ok(Value::List(read_items(element, items, depth)?)),
        (Type::Set(element), Pack::Array(items)) => Ok(Value::Set(read_items(element, items, depth)?)),
        (Type::Map(element), Pack::Map(entries)) => {
            let members = entries.iter().map(|(key, value)| Ok((key.as_str().ok_or_else(wrong)?.to_owned(), read(element, value, depth + 1)?)));
            Ok(Value::Map(members.collect::<Result<_, _>>()?))
        }
        (Type::Object(attributes), Pack::Map(entries)) => {
            let given: BTreeMap<&str, &Pack> = entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value))).collect();
            let members = attributes.iter().map(|(name, of)| {
                let value = given.get(name.as_str()).map_or(Ok(Value::Null), |pack| read(of, pack, depth + 1));
                value.map(|value| (name.clone(), value))
            });
            Ok(Value::Object(members.collect::<Result<_, _>>()?))
        }
        (Type::Tuple(elements), Pack::Array(items)) if elements.len() == items.len() => {
            let items = elements.iter().zip(items).map(|(of, item)| read(of, item, depth + 1));
            Ok(Value::Tuple(items.collect::<Result<_, _>>()?))
        }
        (Type::Dynamic, Pack::Array(parts)) => match parts.as_slice() {
            [Pack::Binary(of), value] => {
                let of = serde_json::from_slice(of).ok().and_then(|json| Type::from_json(&json)).ok_or_else(wrong)?;
                let value = read(&of, value, depth + 1)?;
                Ok(Value::Dynamic(Box::new(Dynamic { of, value })))
            }
            _ => Err(wrong()),
        },
        (Type::Bool | Type::String | Type::List(_) | Type::Set(_) | Type::Map(_) | Type::Object(_) | Type::Tuple(_) | Type::Dynamic, _) => {
            Err(wrong())
        }
    }
}

/// What is known about an unknown value; `None` when the bytes say nothing that this version understands.
fn refined(mut bytes: &[u8]) -> Option<Refinement> {
    let Ok(Pack::Map(entries)) = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH_MAX) else { return None };
    let mut refinement = Refinement::default();
    for (key, value) in &entries {
        let bound = || match value.as_array()?.as_slice() {
            [bound, inclusive] => Some((number(bound)?, inclusive.as_bool()?)),
            _ => None,
        };
        match key.as_u64()? {
            1 => refinement.not_null = value.as_bool() == Some(false),
            2 => refinement.prefix = value.as_str().map(str::to_owned),
            3 => refinement.minimum = bound(),
            4 => refinement.maximum = bound(),
            5 => refinement.length_min = value.as_u64(),
            6 => refinement.length_max = value.as_u64(),
            // A later version may know more about it.
            _ => {}
        }
    }
    (refinement != Refinement::default()).then_some(refinement)
}

fn pack_refined(refinement: &Refinement) -> Result<Pack, rmpv::encode::Error> {
    let Refinement { not_null, prefix, minimum, maximum, length_min, length_max } = refinement;
    let bound = |(bound, inclusive): &(Number, bool)| Pack::Array(vec![pack_number(bound), Pack::from(*inclusive)]);
    let known = [
        (1, not_null.then_some(Pack::from(false))),
        (2, prefix.as_deref().map(Pack::from)),
        (3, minimum.as_ref().map(bound)),
        (4, maximum.as_ref().map(bound)),
        (5, length_min.map(Pack::from)),
        (6, length_max.map(Pack::from)),
    ];
    let entries: Vec<(Pack, Pack)> = known.into_iter().filter_map(|(key, value)| Some((Pack::from(key), value?))).collect();
    if entries.is_empty() {
        return Ok(Pack::Ext(UNKNOWN, vec![0]));
    }
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &Pack::Map(entries))?;
    Ok(Pack::Ext(REFINED, bytes))
}

fn read_items(element: &Type, items: &[Pack], depth: usize) -> Result<Vec<Value>, MsgpackError> {
    items.iter().map(|item| read(element, item, depth + 1)).collect()
}

fn number(pack: &Pack) -> Option<Number> {
    if let Some(value) = pack.as_i64() {
        return Some(Number::Int(value));
    }
    if let Some(value) = pack.as_u64() {
        return Some(Number::Uint(value));
    }
    match pack {
        Pack::F32(value) => Some(Number::from(f64::from(*value))),
        Pack::F64(value) => Some(Number::from(*value)),
        // Decimal text is how Terraform sends what neither 64 bits nor a double holds.
        Pack::String(text) => Number::parse(text.as_str()?),
        _ => None,
    }
}

fn pack_number(number: &Number) -> Pack {
    match number {
        Number::Int(number) => Pack::from(*number),
        Number::Uint(number) => Pack::from(*number),
        Number::Float(number) => Pack::F64(*number),
        Number::Big(digits) => Pack::from(digits.as_str()),
    }
}

fn pack(value: &Value) -> Result<Pack, rmpv::encode::Error> {
    Ok(match value {
        Value::Null => Pack::Nil,
        Value::Unknown => Pack::Ext(UNKNOWN, vec![0]),
        Value::Refined(refinement) => pack_refined(refinement)?,
        Value::Bool(truth) => Pack::Boolean(*truth),
        Value::Number(number) => pack_number(number),
        Value::String(text) => Pack::from(text.as_str()),
        Value::List(items) | Value::Set(items) | Value::Tuple(items) => Pack::Array(items.iter().map(pack).collect::<Result<_, _>>()?),
        Value::Map(members) | Value::Object(members) => {
            let entries = members.iter().map(|(name, member)| Ok((Pack::from(name.as_str()), pack(member)?)));
            Pack::Map(entries.collect::<Result<_, rmpv::encode::Error>>()?)
        }
        Value::Dynamic(dynamic) => {
            let of = Pack::Binary(dynamic.of.to_json().to_string().into_bytes());
            Pack::Array(vec![of, pack(&dynamic.value)?])
        }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::Index;

    fn types() -> impl Strategy<Value = Type> {
        let leaf = prop_oneof![Just(Type::Bool), Just(Type::Number), Just(Type::String), Just(Type::Dynamic)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|of| Type::List(Box::new(of))),
                inner.clone().prop_map(|of| Type::Set(Box::new(of))),
                inner.clone().prop_map(|of| Type::Map(Box::new(of))),
                vec(inner.clone(), 0..4).prop_map(Type::Tuple),
                btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(Type::Object),
            ]
        })
    }

    fn numbers() -> impl Strategy<Value = Number> {
        prop_oneof![any::<i64>().prop_map(Number::from), any::<u64>().prop_map(Number::from), (-1e12..1e12_f64).prop_map(Number::from),]
    }

    fn known(of: &Type) -> BoxedStrategy<Value> {
        match of {
            Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            Type::Number => numbers().prop_map(Value::Number).boxed(),
            Type::String => ".{0,12}".prop_map(Value::String).boxed(),
            Type::List(element) => vec(values(element, false), 0..4).prop_map(Value::List).boxed(),
            Type::Set(element) => vec(values(element, false), 0..4).prop_map(Value::Set).boxed(),
            Type::Map(element) => btree_map(".{0,6}", values(element, false), 0..4).prop_map(Value::Map).boxed(),
            Type::Object(attributes) => {
                let empty = Just(BTreeMap::new()).boxed();
                let filled = attributes.iter().fold(empty, |all, (name, of)| {
                    let name = name.clone();
                    (all, values(of, false))
                        .prop_map(move |(mut all, value)| {
                            all.insert(name.clone(), value);
                            all
                        })
                        .boxed()
                });
                filled.prop_map(Value::Object).boxed()
            }
            Type::Tuple(elements) => {
                let items: Vec<_> = elements.iter().map(|of| values(of, false)).collect();
                items.prop_map(Value::Tuple).boxed()
            }
            // What a dynamic attribute holds here is of a plain type: any type would nest without end.
            Type::Dynamic => prop_oneof![Just(Type::Bool), Just(Type::Number), Just(Type::String)]
                .prop_flat_map(|of| {
                    let value = values(&of, false);
                    (Just(of), value)
                })
                .prop_map(|(of, value)| Value::dynamic(of, value))
                .boxed(),
        }
    }

    fn refinements() -> impl Strategy<Value = Refinement> {
        let bound = || proptest::option::of((numbers(), any::<bool>()));
        let length = || proptest::option::of(any::<u64>());
        (any::<bool>(), proptest::option::of(".{1,4}"), bound(), bound(), length(), length()).prop_map(
            |(not_null, prefix, minimum, maximum, length_min, length_max)| Refinement { not_null, prefix, minimum, maximum, length_min, length_max },
        )
    }

    fn unknowns() -> impl Strategy<Value = Value> {
        refinements().prop_map(|refinement| if refinement == Refinement::default() { Value::Unknown } else { Value::from(refinement) })
    }

    /// Values of a type: now and then null, and unknown when asked for.
    pub(crate) fn values(of: &Type, unknown: bool) -> BoxedStrategy<Value> {
        if unknown {
            return prop_oneof![8 => known(of), 1 => Just(Value::Null), 1 => unknowns()].boxed();
        }
        prop_oneof![9 => known(of), 1 => Just(Value::Null)].boxed()
    }

    /// A type and a value of it.
    pub(crate) fn typed(unknown: bool) -> impl Strategy<Value = (Type, Value)> {
        types().prop_flat_map(move |of| {
            let value = values(&of, unknown);
            (Just(of), value)
        })
    }

    /// Something that happens to bytes on their way.
    #[derive(Debug, Clone)]
    pub(crate) enum Damage {
        /// One becomes another.
        Set(Index, u8),
        /// One is there too much.
        Insert(Index, u8),
        /// One is missing.
        Remove(Index),
        /// The rest is missing.
        Cut(Index),
    }

    /// A few damages, so that what comes out is nearly what went in.
    pub(crate) fn damages() -> impl Strategy<Value = Vec<Damage>> {
        let one = prop_oneof![
            4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
            2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
            2 => any::<Index>().prop_map(Damage::Remove),
            1 => any::<Index>().prop_map(Damage::Cut),
        ];
        vec(one, 1..4)
    }

    pub(crate) fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
        for damage in damages {
            if bytes.is_empty() {
                break;
            }
            let length = bytes.len();
            match damage {
                Damage::Set(at, byte) => bytes[at.index(length)] = *byte,
                Damage::Insert(at, byte) => bytes.insert(at.index(length), *byte),
                Damage::Remove(at) => drop(bytes.remove(at.index(length))),
                Damage::Cut(at) => bytes.truncate(at.index(length)),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_value_survives_msgpack((of, value) in typed(true)) {
            prop_assert_eq!(from_msgpack(&of, &to_msgpack(&value).unwrap()).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..64), (of, _) in typed(false)) {
            let _ = from_msgpack(&of, &bytes);
        }

        #[test]
        fn what_is_nearly_a_value_is_read_or_refused((of, value) in typed(true), damage in damages()) {
            let bytes = damaged(to_msgpack(&value).unwrap(), &damage);
            // What is taken for a value is one: it can be written, and reads as itself.
            if let Ok(read) = from_msgpack(&of, &bytes) {
                prop_assert_eq!(from_msgpack(&of, &to_msgpack(&read).unwrap()).unwrap(), read);
            }
        }
    }

    #[test]
    fn numbers_keep_every_digit() {
        let digits = "123456789012345678901234567890.5";
        let big = Value::Number(Number::Big(digits.to_owned()));
        assert_eq!(from_msgpack(&Type::Number, &to_msgpack(&big).unwrap()).unwrap(), big);
        let whole = to_msgpack(&Value::Number(Number::Float(3.0))).unwrap();
        assert_eq!(from_msgpack(&Type::Number, &whole).unwrap(), Value::from(3));
    }

    #[test]
    fn another_type_is_refused_with_the_expected_word() {
        let bytes = to_msgpack(&Value::from("x")).unwrap();
        assert_eq!(from_msgpack(&Type::Bool, &bytes).unwrap_err().to_string(), "expected a bool");
    }

    #[test]
    fn a_refined_unknown_says_what_is_known() {
        let read = |ext: Vec<u8>| {
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, &Pack::Ext(12, ext)).unwrap();
            from_msgpack(&Type::String, &bytes).unwrap()
        };
        let not_null = read(vec![0x81, 1, 0xc2]);
        assert_eq!(not_null, Value::from(Refinement::not_null()));
        assert!(not_null.is_unknown() && !not_null.is_wholly_known());
        assert_eq!(read(vec![0x81, 99, 0xc2]), Value::Unknown, "a refinement of a later version");
        assert_eq!(read(vec![0xc1]), Value::Unknown, "broken refinements");
    }
}
