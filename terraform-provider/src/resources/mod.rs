//! Resources, one file each, and what they share.
pub(crate) mod database;
mod database_plan;
mod database_schema;
pub(crate) mod environment;
pub(crate) mod environment_connection;
pub(crate) mod power_schedule;

use kiven_model::{Code, EnvironmentId, Violation};
use kiven_tfplugin::{Applied, Diagnostic, Diagnostics, Read, Schema, Value, from_json};
use serde::Serialize;

/// An answer of the API as a value of the schema, before names that differ are put right.
fn value_of<T: Serialize>(schema: &Schema, view: &T) -> Result<Value, Diagnostic> {
    let unreadable = |text: String| Diagnostic::error("The API's answer does not fit this provider's version", text);
    let json = serde_json::to_value(view).map_err(|error| unreadable(error.to_string()))?;
    from_json(&schema.value_type(), &json).map_err(|error| unreadable(error.to_string()))
}

/// What the plan has promised, and the answer for everything it left open: what differs shows at the next refresh, while
/// an answer that breaks a promise would end the apply.
fn conform(answer: &Value, planned: &Value) -> Value {
    match (answer, planned) {
        (answer, Value::Unknown) => answer.clone(),
        (Value::Object(answers), Value::Object(plans)) => {
            Value::Object(plans.iter().map(|(name, plan)| (name.clone(), conform(answers.get(name).unwrap_or(&Value::Null), plan))).collect())
        }
        (Value::Map(answers), Value::Map(plans)) => {
            Value::Map(plans.iter().map(|(key, plan)| (key.clone(), conform(answers.get(key).unwrap_or(&Value::Null), plan))).collect())
        }
        (_, planned) if planned.is_wholly_known() => planned.clone(),
        (answer, _) => answer.clone(),
    }
}

/// What to say of an environment that this organization does not have.
fn no_environment(schema: &Schema, id: &EnvironmentId) -> Diagnostic {
    let hint = "Use the `id` of a kiven_environment of this organization.";
    crate::diagnose::violation(schema, &Violation::new(Code::NOT_FOUND, "environment_id", format!("there is no environment `{id}`"), hint))
}

/// 128 random bits for an id.
fn random() -> Result<[u8; 16], Diagnostic> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Diagnostic::error("The system gives no randomness", error.to_string()))?;
    Ok(bytes)
}

/// Either half of an answer that is complete already.
fn done(result: Result<Applied, Applied>) -> Applied {
    match result {
        Ok(applied) | Err(applied) => applied,
    }
}

/// What a read or import has found, or what is kept with the reason why it has not.
fn found(result: Result<Value, Diagnostics>, kept: Value) -> Read {
    result.map_or_else(|refused| Read::with(kept, refused), Read::of)
}

/// The text of an attribute; empty when it is not set.
fn text(value: &Value, name: &str) -> String {
    value.get(name).as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_of_the_plan_is_kept_and_the_rest_answered() {
        let planned = Value::object([("id", Value::Unknown), ("host", "a".into()), ("gone", Value::Null)]);
        let answer = Value::object([("id", "1".into()), ("host", "b".into()), ("gone", "c".into())]);
        assert_eq!(conform(&answer, &planned), Value::object([("id", "1".into()), ("host", "a".into()), ("gone", Value::Null)]));
    }
}
