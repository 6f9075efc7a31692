//! From violations, problems and client errors to diagnostics: code and message first, then why and what to do.
use kiven_client::ClientError;
use kiven_model::{Code, Problem, Violation};
use kiven_tfplugin::{Diagnostic, Diagnostics, Schema};

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// One violation, on its attribute. Terraform finds the line of attributes at the root only: what is inside of one is
/// named in the summary and shown on the line where its attribute begins.
pub(crate) fn violation(schema: &Schema, violation: &Violation) -> Diagnostic {
    let root = violation.field.split('.').next().unwrap_or_default();
    let inside = if root == violation.field { String::new() } else { format!("`{}`: ", violation.field) };
    let message = if inside.is_empty() { sentence(&violation.message) } else { violation.message.clone() };
    Diagnostic::error(format!("{}: {inside}{message}", violation.code), violation.hint.clone()).at(schema.path_of(root))
}

/// Every violation, each on its attribute.
pub(crate) fn violations(schema: &Schema, all: &[Violation]) -> Diagnostics {
    all.iter().map(|one| violation(schema, one)).collect()
}

/// A change that is refused.
pub(crate) fn refused(schema: &Schema, code: Code, field: &str, hint: &str) -> Diagnostic {
    violation(schema, &Violation::new(code, field, code.title(), hint))
}

/// Detail and hint of a problem, as paragraphs.
pub(crate) fn details(problem: &Problem) -> String {
    let operation = problem.operation_id.as_ref().map(|id| format!("Operation: {id}."));
    let parts = [problem.detail.clone(), problem.hint.clone(), operation.unwrap_or_default()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// A problem as an error.
pub(crate) fn problem(problem: &Problem) -> Diagnostic {
    Diagnostic::error(format!("{}: {}", problem.code, sentence(&problem.message)), details(problem))
}

/// A failed request: violations on their attributes, anything else as one error.
pub(crate) fn failure(schema: &Schema, doing: &str, error: &ClientError) -> Diagnostics {
    match error.problem() {
        Some(refused) if !refused.violations.is_empty() => violations(schema, &refused.violations),
        Some(refused) => problem(refused).into(),
        None => Diagnostic::error(format!("{doing} failed"), format!("{}.", chain(error))).into(),
    }
}

/// Begins with a capital, as Terraform's own messages do.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
