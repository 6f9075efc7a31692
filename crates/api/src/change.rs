//! What may change in a database: a pure comparison, every refusal on its field.
use kiven_model::database::DatabaseSpec;
use kiven_model::{Code, Violation};

/// Compares what is with what is wanted.
///
/// # Errors
/// Every field that must not, or cannot yet, change.
pub(crate) fn check(is: &DatabaseSpec, wanted: &DatabaseSpec) -> Result<(), Vec<Violation>> {
    // Destructured without `..`, so that a new field cannot be forgotten.
    let DatabaseSpec {
        name,
        environment_id,
        plan,
        custom,
        postgres_version,
        storage_gb,
        instances,
        parameters,
        pooler,
        backup,
        allowed_namespaces,
        extensions,
        power: _,
        deletion_protection: _,
        deletion: _,
    } = is;
    let mut violations = Vec::new();
    for (field, changed) in [("name", *name != wanted.name), ("environment_id", *environment_id != wanted.environment_id)] {
        if changed {
            let hint = "Put it back. Nothing is ever replaced by surprise: make another database and move the data, then destroy this one.";
            violations.push(Violation::new(Code::NEVER_CHANGEABLE, field, format!("{field} can never be changed"), hint));
        }
    }
    if wanted.storage_gb < *storage_gb {
        let message = format!("{} GB is less than the {storage_gb} GB there are", wanted.storage_gb);
        violations.push(Violation::new(Code::STORAGE_SHRINKS, "storage_gb", message, "Volumes only grow."));
    }
    let later = [
        ("plan", *plan != wanted.plan),
        ("custom", *custom != wanted.custom),
        ("postgres_version", *postgres_version != wanted.postgres_version),
        ("storage_gb", wanted.storage_gb > *storage_gb),
        ("instances", *instances != wanted.instances),
        ("parameters", *parameters != wanted.parameters),
        ("pooler", *pooler != wanted.pooler),
        ("backup", *backup != wanted.backup),
        ("allowed_namespaces", *allowed_namespaces != wanted.allowed_namespaces),
        ("extensions", *extensions != wanted.extensions),
    ];
    for (field, _) in later.into_iter().filter(|(_, changed)| *changed) {
        let hint = "Put it back. Today power, deletion_protection, deletion and timeouts can be changed.";
        violations.push(Violation::new(Code::NOT_YET_CHANGEABLE, field, format!("{field} cannot be changed yet"), hint));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}
