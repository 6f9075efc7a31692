//! Terraform's values, null and unknown included.
use crate::{Number, Refinement, Type};
use std::collections::BTreeMap;

/// A value of configuration, plan or state.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Not set.
    #[default]
    Null,
    /// Known after apply.
    Unknown,
    /// Known after apply, and something is known about it already.
    Refined(Box<Refinement>),
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// Ordered elements.
    List(Vec<Value>),
    /// Distinct elements; their order says nothing.
    Set(Vec<Value>),
    /// Elements by key.
    Map(BTreeMap<String, Value>),
    /// Attributes by name.
    Object(BTreeMap<String, Value>),
    /// Ordered elements, each with a type of its own.
    Tuple(Vec<Value>),
    /// A value of an attribute without a fixed type, with the type that it has here.
    Dynamic(Box<Dynamic>),
}

/// A value that carries its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Dynamic {
    /// The type, never [`Type::Dynamic`] itself.
    pub of: Type,
    /// The value.
    pub value: Value,
}

/// What a missing attribute reads as.
static NULL: Value = Value::Null;

impl Value {
    /// An object of the given attributes.
    pub fn object<N: Into<String>>(attributes: impl IntoIterator<Item = (N, Value)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
    /// A value of an attribute without a fixed type. A null or unknown one needs none of it.
    #[must_use]
    pub fn dynamic(of: Type, value: impl Into<Value>) -> Self {
        Self::Dynamic(Box::new(Dynamic { of, value: value.into() }))
    }
    /// The value inside of one without a fixed type; every other value is itself.
    #[must_use]
    pub fn inner(&self) -> &Value {
        if let Self::Dynamic(dynamic) = self { dynamic.value.inner() } else { self }
    }
    /// An attribute of an object or an element of a map; null when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &Value {
        self.as_members().and_then(|members| members.get(name)).unwrap_or(&NULL)
    }
    /// Sets an attribute of an object or an element of a map; other values stay as they are.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        if let Self::Object(members) | Self::Map(members) = self {
            members.insert(name.to_owned(), value.into());
        }
    }
    /// Whether it is not set.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.inner(), Self::Null)
    }
    /// Whether it is known only after apply.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.inner(), Self::Unknown | Self::Refined(_))
    }
    /// Whether nothing in it is unknown.
    #[must_use]
    pub fn is_wholly_known(&self) -> bool {
        match self {
            Self::Unknown | Self::Refined(_) => false,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::List(items) | Self::Set(items) | Self::Tuple(items) => items.iter().all(Self::is_wholly_known),
            Self::Dynamic(dynamic) => dynamic.value.is_wholly_known(),
            Self::Map(members) | Self::Object(members) => members.values().all(Self::is_wholly_known),
        }
    }
    /// The text, when it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self.inner() { Some(text) } else { None }
    }
    /// The truth value, when it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self.inner() { Some(*truth) } else { None }
    }
    /// The integer, when it is one of 64 bits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self.inner() { number.as_i64() } else { None }
    }
    /// The elements of a list, set or tuple.
    #[must_use]
    pub fn as_items(&self) -> Option<&[Value]> {
        if let Self::List(items) | Self::Set(items) | Self::Tuple(items) = self.inner() { Some(items) } else { None }
    }
    /// The members of a map or object.
    #[must_use]
    pub fn as_members(&self) -> Option<&BTreeMap<String, Value>> {
        if let Self::Map(members) | Self::Object(members) = self.inner() { Some(members) } else { None }
    }
    /// Whether two values mean the same: sets without regard to order.
    #[must_use]
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Self::Set(a), Self::Set(b)) => a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| x.same(y))),
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.same(y)),
            (Self::Map(a), Self::Map(b)) | (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(name, x)| b.get(name).is_some_and(|y| x.same(y)))
            }
            (Self::Dynamic(a), Self::Dynamic(b)) => a.of == b.of && a.value.same(&b.value),
            (a, b) => a == b,
        }
    }
}

impl From<Refinement> for Value {
    fn from(refinement: Refinement) -> Self {
        Self::Refined(Box::new(refinement))
    }
}
impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Number::Int(number))
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(Number::from(number))
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
