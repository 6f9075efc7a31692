//! What can be described in the API's document: with the feature `schema` whatever has a JSON schema, without it everything.

/// A type that the API's document can describe.
#[cfg(feature = "schema")]
pub trait Described: schemars::JsonSchema {}
#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> Described for T {}

/// A type that the API's document can describe.
#[cfg(not(feature = "schema"))]
pub trait Described {}
#[cfg(not(feature = "schema"))]
impl<T> Described for T {}

/// Describes a type that is a text of a pattern.
#[cfg(feature = "schema")]
macro_rules! text {
    ($type:ty, $name:expr, $says:expr, $pattern:expr, $example:expr) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $says, "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}
#[cfg(feature = "schema")]
pub(crate) use text;
