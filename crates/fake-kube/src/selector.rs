//! Label and field selectors, parsed once at the edge.
use crate::error::ApiError;
use serde_json::Value;

#[derive(Debug, Clone)]
enum Rule {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Field(String, String, bool),
}

/// Which objects of a kind are meant; the empty selector means all.
#[derive(Debug, Clone, Default)]
pub struct Selector(Vec<Rule>);

impl Selector {
    /// Every object.
    pub fn all() -> Self {
        Self::default()
    }

    /// Objects with this label.
    pub fn label(key: &str, value: &str) -> Self {
        Self::all().and_label(key, value)
    }

    /// Narrows to objects that have this label as well.
    #[must_use]
    pub fn and_label(mut self, key: &str, value: &str) -> Self {
        self.0.push(Rule::In(key.into(), vec![value.into()]));
        self
    }

    /// Reads the query parameters `labelSelector` and `fieldSelector`.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, ApiError> {
        let mut rules = Vec::new();
        for part in split_outside_parentheses(labels) {
            rules.push(label_rule(part)?);
        }
        for part in fields.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, value, equal) = match part.split_once("!=") {
                Some((path, value)) => (path, value, false),
                None => part
                    .split_once("==")
                    .or_else(|| part.split_once('='))
                    .map(|(path, value)| (path, value, true))
                    .ok_or_else(|| ApiError::BadRequest(format!("unable to parse field selector: {part}")))?,
            };
            rules.push(Rule::Field(format!("/{}", path.trim().replace('.', "/")), value.trim().into(), equal));
        }
        Ok(Self(rules))
    }

    /// Whether the object is meant.
    pub fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        self.0.iter().all(|rule| match rule {
            Rule::In(key, values) => label(key).is_some_and(|have| values.iter().any(|v| v == have)),
            Rule::NotIn(key, values) => label(key).is_none_or(|have| values.iter().all(|v| v != have)),
            Rule::Exists(key) => label(key).is_some(),
            Rule::Absent(key) => label(key).is_none(),
            Rule::Field(path, value, equal) => (object.pointer(path).and_then(Value::as_str).unwrap_or_default() == value) == *equal,
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn label_rule(part: &str) -> Result<Rule, ApiError> {
    let wrong = || ApiError::BadRequest(format!("unable to parse label selector: {part}"));
    let set = |list: &str| -> Result<Vec<String>, ApiError> {
        let inner = list.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
        Ok(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((key, values)) = part.split_once(" notin ") {
        return Ok(Rule::NotIn(key.trim().into(), set(values)?));
    }
    if let Some((key, values)) = part.split_once(" in ") {
        return Ok(Rule::In(key.trim().into(), set(values)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Rule::NotIn(key.trim().into(), vec![value.trim().into()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Rule::In(key.trim().into(), vec![value.trim().into()]));
    }
    if part.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(part.strip_prefix('!').map_or_else(|| Rule::Exists(part.into()), |key| Rule::Absent(key.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_as_kubernetes_reads_them() {
        let object = json!({ "metadata": { "name": "a", "labels": { "app": "db", "tier": "1" } } });
        for (labels, fields, expect) in [
            ("", "", true),
            ("app=db", "", true),
            ("app==db,tier!=2", "", true),
            ("app in (web, db),tier", "", true),
            ("app notin (db)", "", false),
            ("!app", "", false),
            ("gone notin (x)", "", true),
            ("app=web", "", false),
            ("", "metadata.name=a", true),
            ("", "metadata.name!=a", false),
            ("app=db", "metadata.name=b", false),
        ] {
            assert_eq!(Selector::parse(labels, fields).unwrap().matches(&object), expect, "{labels} {fields}");
        }
        assert!(Selector::parse("a b", "").is_err());
        assert!(Selector::parse("", "metadata.name").is_err());
    }
}
