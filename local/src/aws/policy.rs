//! IAM policy documents judged: principals, actions, resources, conditions. Pure.
//!
//! Anything this does not understand never allows and always denies, so a local "yes" is not
//! easier to get than the real one.

use std::collections::BTreeMap;

use serde_json::Value;

/// Condition context: lower-case key → values.
pub(crate) type Context = BTreeMap<String, Vec<String>>;

/// One question.
pub(crate) struct Ask<'a> {
    /// ARNs by which a policy may name the caller (role and session).
    pub(crate) principals: &'a [String],
    /// The caller's account.
    pub(crate) account: &'a str,
    /// `service:Action`.
    pub(crate) action: &'a str,
    /// The resource's ARN.
    pub(crate) resource: &'a str,
    /// Condition keys.
    pub(crate) context: &'a Context,
}

/// What one document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    Deny,
    Silent,
}

/// Parses a document; `None` when AWS would call it malformed.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let document: Value = serde_json::from_str(text).ok()?;
    let statements = list(document.get("Statement")?);
    let sound = |statement: &&Value| {
        matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) && (statement.get("Action").is_some() || statement.get("NotAction").is_some())
    };
    (!statements.is_empty() && statements.iter().all(sound)).then_some(document)
}

/// Judges a document whose statements have no principal (identity and session policies).
pub(crate) fn judge(document: &Value, ask: &Ask<'_>) -> Verdict {
    judge_with(document, ask, |_| true)
}

/// Judges a document whose statements name principals (trust and bucket policies).
pub(crate) fn judge_named(document: &Value, ask: &Ask<'_>) -> Verdict {
    judge_with(document, ask, |statement| names(statement, ask))
}

fn judge_with(document: &Value, ask: &Ask<'_>, named: impl Fn(&Value) -> bool) -> Verdict {
    let mut verdict = Verdict::Silent;
    for statement in list(&document["Statement"]) {
        let denies = statement["Effect"] == "Deny";
        let applies = named(statement)
            && covers(statement, "Action", "NotAction", ask.action, true)
            && (statement.get("Resource").is_none() && statement.get("NotResource").is_none() || covers_resource(statement, ask))
            && conditions_hold(&statement["Condition"], ask.context, denies);
        match (applies, denies) {
            (true, true) => return Verdict::Deny,
            (true, false) => verdict = Verdict::Allow,
            (false, _) => {}
        }
    }
    verdict
}

fn names(statement: &Value, ask: &Ask<'_>) -> bool {
    let principal = &statement["Principal"];
    if principal == "*" {
        return true;
    }
    let root = format!("arn:aws:iam::{}:root", ask.account);
    list(&principal["AWS"])
        .iter()
        .filter_map(|value| value.as_str())
        .any(|name| name == "*" || name == root || name == ask.account || ask.principals.iter().any(|known| known == name))
}

fn covers(statement: &Value, field: &str, negated: &str, value: &str, ignore_case: bool) -> bool {
    let fold = |text: &str| if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let any = |patterns: &Value| list(patterns).iter().filter_map(|p| p.as_str()).any(|p| wildcard(&fold(p), &fold(value)));
    match statement.get(field) {
        Some(patterns) => any(patterns),
        None => statement.get(negated).is_some_and(|patterns| !any(patterns)),
    }
}

fn covers_resource(statement: &Value, ask: &Ask<'_>) -> bool {
    let any = |patterns: &Value| list(patterns).iter().filter_map(|p| p.as_str()).any(|p| wildcard(&substitute(p, ask.context), ask.resource));
    match statement.get("Resource") {
        Some(patterns) => any(patterns),
        None => statement.get("NotResource").is_some_and(|patterns| !any(patterns)),
    }
}

fn conditions_hold(conditions: &Value, context: &Context, denies: bool) -> bool {
    let Some(operators) = conditions.as_object() else { return true };
    operators.iter().all(|(operator, keys)| {
        keys.as_object().is_some_and(|keys| {
            keys.iter().all(|(key, expected)| {
                let actual = context.get(&key.to_ascii_lowercase());
                holds(operator, actual, &strings(expected, context)).unwrap_or(denies)
            })
        })
    })
}

/// `None` for an operator this does not know.
fn holds(operator: &str, actual: Option<&Vec<String>>, expected: &[String]) -> Option<bool> {
    if operator == "Null" {
        let wants_absent = expected.first().is_some_and(|text| text == "true");
        return Some(actual.is_none() == wants_absent);
    }
    let (set, rest) = match operator.split_once(':') {
        Some((set @ ("ForAllValues" | "ForAnyValue"), rest)) => (set, rest),
        Some(_) => return None,
        None => ("", operator),
    };
    let (name, if_exists) = match rest.strip_suffix("IfExists") {
        Some(name) => (name, true),
        None => (rest, false),
    };
    let (negated, matches): (bool, fn(&str, &str) -> bool) = match name {
        "StringEquals" => (false, |pattern, value| pattern == value),
        "StringNotEquals" => (true, |pattern, value| pattern == value),
        "StringEqualsIgnoreCase" | "Bool" => (false, |pattern, value| pattern.eq_ignore_ascii_case(value)),
        "StringLike" | "ArnLike" | "ArnEquals" => (false, wildcard),
        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (true, wildcard),
        _ => return None,
    };
    let Some(values) = actual else {
        // A negated operator holds for a key that is absent, and so does the empty set for "all".
        return Some(if_exists || negated || set == "ForAllValues");
    };
    let one = |value: &String| expected.iter().any(|pattern| matches(pattern, value)) != negated;
    Some(match set {
        "ForAllValues" => values.iter().all(one),
        _ => values.iter().any(one),
    })
}

fn strings(value: &Value, context: &Context) -> Vec<String> {
    list(value)
        .iter()
        .filter_map(|value| match value {
            Value::String(text) => Some(substitute(text, context)),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
        .collect()
}

/// Replaces `${key}` by the context's single value; an unknown key leaves the text, which then matches nothing.
fn substitute(pattern: &str, context: &Context) -> String {
    let mut text = pattern.to_owned();
    for (key, values) in context {
        if let [value] = values.as_slice() {
            let lower = text.to_ascii_lowercase();
            let name = format!("${{{key}}}");
            if let Some(at) = lower.find(&name) {
                text.replace_range(at..at + name.len(), value);
            }
        }
    }
    text
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
    }
}

/// `*` and `?` patterns, in linear time with one step back.
pub(crate) fn wildcard(pattern: &str, value: &str) -> bool {
    let (pattern, value) = (pattern.as_bytes(), value.as_bytes());
    let (mut p, mut v) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while v < value.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            back = Some((p, v));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == value[v]) {
            p += 1;
            v += 1;
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            p = star + 1;
            v = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: Value, action: &str, resource: &str, context: &[(&str, &str)], expected: Verdict) {
        let context: Context = context.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
        let principals = ["arn:aws:iam::1:role/kiven".to_owned()];
        let ask = Ask { principals: &principals, account: "1", action, resource, context: &context };
        assert_eq!(judge_named(&document, &ask), expected, "{document}");
    }

    fn allow(condition: Value) -> Value {
        json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:role/kiven"},
            "Action": "sts:AssumeRole", "Condition": condition}})
    }

    #[test]
    fn the_external_id_decides() {
        let needs = allow(json!({"StringEquals": {"sts:ExternalId": "x-1"}}));
        check(needs.clone(), "sts:AssumeRole", "r", &[("sts:externalid", "x-1")], Verdict::Allow);
        check(needs.clone(), "sts:AssumeRole", "r", &[("sts:externalid", "x-2")], Verdict::Silent);
        check(needs.clone(), "sts:AssumeRole", "r", &[], Verdict::Silent);
        check(needs, "sts:TagSession", "r", &[("sts:externalid", "x-1")], Verdict::Silent);
    }

    #[test]
    fn what_is_not_understood_never_allows_and_always_denies() {
        check(allow(json!({"DateLessThan": {"aws:CurrentTime": "2026"}})), "sts:AssumeRole", "r", &[], Verdict::Silent);
        let mut denies = allow(json!({"DateLessThan": {"aws:CurrentTime": "2026"}}));
        denies["Statement"]["Effect"] = json!("Deny");
        check(denies, "sts:AssumeRole", "r", &[], Verdict::Deny);
    }

    #[test]
    fn wildcards_and_variables_cover_resources() {
        let policy = json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:Get*",
            "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/organization}/*"}]});
        let context = [("aws:principaltag/organization", "o1")];
        check(policy.clone(), "s3:GetObject", "arn:aws:s3:::b/o1/k", &context, Verdict::Allow);
        check(policy.clone(), "s3:GetObject", "arn:aws:s3:::b/o2/k", &context, Verdict::Silent);
        check(policy, "s3:PutObject", "arn:aws:s3:::b/o1/k", &context, Verdict::Silent);
        assert!(wildcard("a*b?d*", "axxbcd") && !wildcard("a*b", "axc") && wildcard("*", ""));
    }
}
