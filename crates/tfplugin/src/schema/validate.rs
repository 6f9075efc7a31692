//! Validators: small values that check one attribute, and rules that span several.
use super::{Attr, walk};
use crate::{Diagnostic, Diagnostics, Path, Value};
use std::fmt;
use std::sync::Arc;

type Check = Arc<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;

/// Checks one value. It sees known values only: null and unknown ones are not judged.
#[derive(Clone)]
pub struct Validator {
    says: String,
    check: Check,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}

impl Validator {
    /// A validator of one's own. `says` completes "must …" in messages and documentation; the check answers what is wrong.
    pub fn new(says: impl Into<String>, check: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { says: says.into(), check: Arc::new(check) }
    }
    /// What it demands, completing "must …".
    #[must_use]
    pub fn says(&self) -> &str {
        &self.says
    }
    fn judge(&self, value: &Value) -> Result<(), String> {
        if value.is_null() || !value.is_wholly_known() { Ok(()) } else { (self.check)(value) }
    }
}

/// The validators that every provider needs.
pub mod check {
    use super::Validator;
    use crate::Value;
    use std::ops::RangeInclusive;

    /// Text that is one of these.
    #[must_use]
    pub fn one_of(words: &'static [&'static str]) -> Validator {
        let list = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        Validator::new(format!("be one of {list}"), move |value| match value.as_str() {
            Some(text) if words.contains(&text) => Ok(()),
            text => Err(format!("`{}` is not", text.unwrap_or_default())),
        })
    }

    /// Text of so many characters.
    #[must_use]
    pub fn length(characters: RangeInclusive<usize>) -> Validator {
        Validator::new(format!("have {} to {} characters", characters.start(), characters.end()), move |value| {
            let count = value.as_str().unwrap_or_default().chars().count();
            if characters.contains(&count) { Ok(()) } else { Err(format!("it has {count}")) }
        })
    }

    /// Text of these characters only.
    #[must_use]
    pub fn characters(says: &'static str, allowed: fn(char) -> bool) -> Validator {
        Validator::new(format!("consist of {says}"), move |value| {
            let wrong = value.as_str().unwrap_or_default().chars().find(|one| !allowed(*one));
            wrong.map_or(Ok(()), |wrong| Err(format!("{wrong:?} is none of them")))
        })
    }

    /// A whole number within bounds.
    #[must_use]
    pub fn between(range: RangeInclusive<i64>) -> Validator {
        Validator::new(format!("be a whole number from {} to {}", range.start(), range.end()), move |value| match value.as_i64() {
            Some(number) if range.contains(&number) => Ok(()),
            _ => Err(match value.inner() {
                Value::Number(number) => format!("{number} is not"),
                _ => "it is none".to_owned(),
            }),
        })
    }

    /// A list, set or map of so many elements.
    #[must_use]
    pub fn count(elements: RangeInclusive<usize>) -> Validator {
        Validator::new(format!("have {} to {} elements", elements.start(), elements.end()), move |value| {
            let count = value.as_items().map_or_else(|| value.as_members().map_or(0, |members| members.len()), <[Value]>::len);
            if elements.contains(&count) { Ok(()) } else { Err(format!("it has {count}")) }
        })
    }

    /// Each element passes this.
    #[must_use]
    pub fn each(inner: Validator) -> Validator {
        Validator::new(format!("have elements that each {}", inner.says()), move |value| {
            let mut elements: Box<dyn Iterator<Item = &Value>> = match value.as_items() {
                Some(items) => Box::new(items.iter()),
                None => Box::new(value.as_members().into_iter().flatten().map(|(_, member)| member)),
            };
            elements.try_for_each(|element| inner.judge(element))
        })
    }
}

/// A rule that spans attributes at the root.
#[derive(Debug, Clone)]
pub struct Rule {
    kind: RuleKind,
    names: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RuleKind {
    ExactlyOne,
    AtMostOne,
    AtLeastOne,
    Together,
}

impl Rule {
    fn of(kind: RuleKind, names: impl Into<Vec<&'static str>>) -> Self {
        Self { kind, names: names.into() }
    }
    /// One of these is set, and no other.
    #[must_use]
    pub fn exactly_one_of(names: impl Into<Vec<&'static str>>) -> Self {
        Self::of(RuleKind::ExactlyOne, names)
    }
    /// No two of these are set.
    #[must_use]
    pub fn at_most_one_of(names: impl Into<Vec<&'static str>>) -> Self {
        Self::of(RuleKind::AtMostOne, names)
    }
    /// One of these is set, or more.
    #[must_use]
    pub fn at_least_one_of(names: impl Into<Vec<&'static str>>) -> Self {
        Self::of(RuleKind::AtLeastOne, names)
    }
    /// All of these are set, or none.
    #[must_use]
    pub fn together(names: impl Into<Vec<&'static str>>) -> Self {
        Self::of(RuleKind::Together, names)
    }
    pub(super) fn names(&self) -> impl Iterator<Item = &&'static str> {
        self.names.iter()
    }
    pub(super) fn check(&self, config: &Value) -> Diagnostics {
        let set: Vec<&'static str> = self.names.iter().copied().filter(|name| !config.get(name).is_null()).collect();
        // An unknown value may turn out to be null, so it speaks for neither side.
        let open = self.names.iter().any(|name| config.get(name).is_unknown());
        let known = set.iter().filter(|name| !config.get(name).is_unknown()).count();
        let list = self.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let (wrong, demand) = match self.kind {
            RuleKind::ExactlyOne => (known > 1 || (set.is_empty() && !open), format!("Exactly one of {list} must be set")),
            RuleKind::AtMostOne => (known > 1, format!("At most one of {list} may be set")),
            RuleKind::AtLeastOne => (set.is_empty(), format!("At least one of {list} must be set")),
            RuleKind::Together => (!open && !set.is_empty() && set.len() < self.names.len(), format!("All of {list} must be set together")),
        };
        if !wrong {
            return Diagnostics::none();
        }
        let found = if set.is_empty() { "none is set".to_owned() } else { format!("set: {}", set.join(", ")) };
        let at = set.last().or(self.names.first()).copied().unwrap_or_default();
        Diagnostic::error(demand, format!("In this configuration {found}.")).at(Path::attribute(at)).into()
    }
}

/// Runs every validator of every attribute.
pub(super) fn all(attributes: &[Attr], config: &Value) -> Diagnostics {
    let mut found = Diagnostics::none();
    walk::values(attributes, config, &Path::default(), &mut |attribute, value, path| {
        if let (Some(instead), false) = (&attribute.deprecated, value.is_null()) {
            found.push(Diagnostic::warning(format!("`{path}` is deprecated"), instead.clone()).at(path.clone()));
        }
        for validator in &attribute.validators {
            if let Err(why) = validator.judge(value) {
                let summary = format!("`{path}` must {}", validator.says);
                found.push(Diagnostic::error(summary, sentence(&why)).at(path.clone()));
            }
        }
        true
    });
    found
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// Values of write-only attributes in a configuration, for clients that cannot do them.
pub(crate) fn write_only(attributes: &[Attr], config: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    walk::values(attributes, config, &Path::default(), &mut |attribute, value, path| {
        if attribute.is_write_only() && !value.is_null() {
            found.push(path.clone());
        }
        true
    });
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Nesting, Schema};
    use super::*;

    fn told(schema: &Schema, config: &Value) -> Vec<String> {
        let found = schema.check(config);
        found.iter().map(|one| format!("{}: {} {}", one.path.as_ref().unwrap(), one.summary, one.detail)).collect()
    }

    #[test]
    fn what_is_wrong_is_said_where_it_is() {
        let schema = Schema::new(0)
            .attr(Attr::string("old").optional().deprecated("Use `mode`."))
            .attr(Attr::string("mode").optional().check(check::one_of(&["fast", "safe"])))
            .attr(Attr::set("tags", crate::Type::String).optional().check(check::count(1..=2)).check(check::each(check::length(1..=3))))
            .attr(Attr::nested("rules", Nesting::List, vec![Attr::number("port").required().check(check::between(1..=9))]).optional());
        let config = |mode: Value, tags: Value, port: Value| {
            Value::object([
                ("old", if tags.is_null() { "x".into() } else { Value::Null }),
                ("mode", mode),
                ("tags", tags),
                ("rules", Value::List(vec![Value::object([("port", port)])])),
            ])
        };
        let tags = |all: &[&str]| Value::Set(all.iter().map(|one| Value::from(*one)).collect());
        assert_eq!(told(&schema, &config("fast".into(), tags(&["a"]), 9.into())), Vec::<String>::new());
        assert_eq!(told(&schema, &config(Value::Unknown, Value::Null, Value::Unknown)), ["old: `old` is deprecated Use `mode`."]);
        assert_eq!(
            told(&schema, &config("slow".into(), tags(&["long", "b", "c"]), Value::from(0.5))),
            [
                "mode: `mode` must be one of `fast`, `safe` `slow` is not.",
                "tags: `tags` must have 1 to 2 elements It has 3.",
                "tags: `tags` must have elements that each have 1 to 3 characters It has 4.",
                "rules[0].port: `rules[0].port` must be a whole number from 1 to 9 0.5 is not.",
            ]
        );
    }

    #[test]
    fn rules_leave_open_what_is_unknown() {
        let check = |rule: &Rule, a: Value, b: Value| rule.check(&Value::object([("a", a), ("b", b)])).has_error();
        let (one, two) = (|| Value::from("x"), || Value::Unknown);
        let exactly = Rule::exactly_one_of(["a", "b"]);
        assert!(check(&exactly, Value::Null, Value::Null) && check(&exactly, one(), one()));
        assert!(!check(&exactly, one(), Value::Null) && !check(&exactly, one(), two()) && !check(&exactly, two(), Value::Null));
        let most = Rule::at_most_one_of(["a", "b"]);
        assert!(check(&most, one(), one()) && !check(&most, Value::Null, Value::Null));
        let least = Rule::at_least_one_of(["a", "b"]);
        assert!(check(&least, Value::Null, Value::Null) && !check(&least, two(), Value::Null));
        let together = Rule::together(["a", "b"]);
        assert!(check(&together, one(), Value::Null) && !check(&together, one(), two()) && !check(&together, Value::Null, Value::Null));
    }
}
