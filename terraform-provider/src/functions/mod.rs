//! Functions, one file each, and how they read their arguments. All are pure: the same rules as the API's own, without a call.
pub(crate) mod connection_uri;
pub(crate) mod monthly_cost;
pub(crate) mod plan_for;
pub(crate) mod schedule_hours;

use kiven_tfplugin::{FunctionError, Value};
use std::ops::RangeInclusive;

/// A whole number within bounds.
fn whole(arguments: &[Value], position: usize, what: &str, range: RangeInclusive<u32>) -> Result<u32, FunctionError> {
    let number = arguments.get(position).and_then(Value::as_i64).and_then(|number| u32::try_from(number).ok());
    let wrong = || format!("{what} must be a whole number from {} to {}", range.start(), range.end());
    number.filter(|number| range.contains(number)).ok_or_else(|| FunctionError::of_argument(position, wrong()))
}

/// A text; the client has seen to it that it is one.
fn text(arguments: &[Value], position: usize) -> &str {
    arguments.get(position).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kiven_tfplugin::{Function, Value};

    /// What a call gives, or `ARGUMENT: what is wrong`.
    pub(super) fn called(function: &dyn Function, arguments: &[Value]) -> Result<Value, String> {
        function.call(arguments).map_err(|error| format!("{}: {}", error.argument.map_or("-".to_owned(), |at| at.to_string()), error.text))
    }
}
