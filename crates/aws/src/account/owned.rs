//! Whose a resource is: Kiven adopts what carries its tags and refuses everything else.

use std::collections::BTreeMap;

use kiven_model::{Code, Problem};
use kiven_ports::PortError;

/// Refuses a resource that does not carry every expected tag.
pub(super) fn check(kind: &str, name: &str, expected: &BTreeMap<String, String>, actual: impl Fn(&str) -> Option<String>) -> Result<(), PortError> {
    let differing = expected.iter().find(|(key, value)| actual(key).as_ref() != Some(*value));
    let Some((key, _)) = differing else { return Ok(()) };
    Err(PortError::Refused(
        Problem::new(Code::FOREIGN_RESOURCE, format!("The {kind} {name} exists and is not this environment's."))
            .detail(format!("its tag {key} is {}", actual(key).unwrap_or_else(|| "missing".to_owned())))
            .hint("Rename or remove it; Kiven changes only what it made for this environment."),
    ))
}
