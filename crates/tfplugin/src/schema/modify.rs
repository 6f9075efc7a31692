//! What the framework does to a plan before a resource sees it: unknowns, defaults and the modifiers of attributes.
use super::attr::Shape;
use super::{Attr, Schema, walk};
use crate::{Path, Value};
use std::fmt;
use std::sync::Arc;

type Same = Arc<dyn Fn(&Value, &Value) -> bool + Send + Sync>;

/// What happens to an attribute at plan. Without one, what the configuration leaves to the provider is unknown in a
/// create and stays as it is in an update: nothing is planned to change unless somebody says so.
#[derive(Clone)]
pub struct Modifier(Kind);

#[derive(Clone)]
enum Kind {
    UnknownWhen(Vec<&'static str>),
    EqualWhen(Same),
    RequiresReplace,
}

impl Modifier {
    /// It becomes unknown in an update that changes one of these neighbours.
    #[must_use]
    pub fn unknown_when_changed(names: impl Into<Vec<&'static str>>) -> Self {
        Self(Kind::UnknownWhen(names.into()))
    }
    /// The prior value is kept where the configured one means the same, such as `1h` and `60m`.
    #[must_use]
    pub fn equal_when(same: impl Fn(&Value, &Value) -> bool + Send + Sync + 'static) -> Self {
        Self(Kind::EqualWhen(Arc::new(same)))
    }
    /// A change of it replaces the object. Nothing is ever replaced without this, or [`crate::Planned::requires_replace`].
    #[must_use]
    pub fn requires_replace() -> Self {
        Self(Kind::RequiresReplace)
    }
}

impl fmt::Debug for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::UnknownWhen(names) => write!(f, "unknown when {names:?} change"),
            Kind::EqualWhen(_) => f.write_str("equal when it means the same"),
            Kind::RequiresReplace => f.write_str("requires replace"),
        }
    }
}

impl Schema {
    /// Makes every computed attribute that the configuration leaves out unknown: the plan of a create before the
    /// resource fills in what it knows already. The framework has done this to [`crate::PlanRequest::proposed`].
    pub fn mark_unknown(&self, proposed: &mut Value, config: &Value) {
        walk::plans(&self.attributes, proposed, &Value::Null, config, &mut |attribute, planned, _, config, _| {
            if attribute.computed && config.is_null() {
                *planned = Value::Unknown;
            }
        });
    }

    /// The whole of it, in order: unknowns of a create, defaults, modifiers of an update, and null for what is write-only.
    pub(crate) fn modify(&self, proposed: &mut Value, prior: &Value, config: &Value) {
        if prior.is_null() {
            self.mark_unknown(proposed, config);
        }
        walk::plans(&self.attributes, proposed, prior, config, &mut |attribute, planned, _, config, _| {
            if let (Some(default), true) = (&attribute.default, config.is_null()) {
                *planned = default.clone();
            }
        });
        let all_prior = prior;
        if !all_prior.is_null() {
            walk::plans(&self.attributes, proposed, prior, config, &mut |attribute, planned, prior, config, neighbours| {
                for Modifier(kind) in &attribute.modifiers {
                    match kind {
                        Kind::EqualWhen(same) if planned.is_wholly_known() && !prior.is_null() && same(planned, prior) => *planned = prior.clone(),
                        Kind::UnknownWhen(names) if config.is_null() && changes(names, neighbours, all_prior) => *planned = Value::Unknown,
                        Kind::EqualWhen(_) | Kind::UnknownWhen(_) | Kind::RequiresReplace => {}
                    }
                }
            });
        }
        self.forget_write_only(proposed);
    }

    /// Null for every write-only attribute: no plan and no state may hold its value.
    pub(crate) fn forget_write_only(&self, value: &mut Value) {
        walk::plans(&self.attributes, value, &Value::Null, &Value::Null, &mut |attribute, value, _, _, _| {
            if attribute.write_only {
                *value = Value::Null;
            }
        });
    }

    /// What the configuration of an existing object would be: its state without what only the provider sets.
    pub(crate) fn config_of(&self, state: &Value) -> Value {
        let mut config = state.clone();
        walk::plans(&self.attributes, &mut config, &Value::Null, &Value::Null, &mut |attribute, value, _, _, _| {
            if (attribute.computed && !attribute.optional) || attribute.write_only {
                *value = Value::Null;
            }
        });
        config
    }

    /// The attributes whose planned change replaces the object.
    pub(crate) fn replaced(&self, planned: &Value, prior: &Value) -> Vec<Path> {
        let mut found = Vec::new();
        if prior.is_null() || planned.is_null() {
            return found;
        }
        walk::values(&self.attributes, planned, &Path::default(), &mut |attribute, value, path| {
            let asked = attribute.modifiers.iter().any(|Modifier(kind)| matches!(kind, Kind::RequiresReplace));
            if asked && !value.same(prior_of(prior, path)) && !found.contains(path) {
                found.push(path.clone());
            }
            // What is replaced as a whole needs no mention of its parts.
            !asked && !matches!(&attribute.shape, Shape::Plain(_))
        });
        found
    }
}

/// Whether one of these attributes at the root is planned to change.
fn changes(names: &[&'static str], planned: &Value, prior: &Value) -> bool {
    names.iter().any(|name| !planned.get(name).same(prior.get(name)))
}

/// The part of a value at a path; null where there is none.
fn prior_of<'a>(value: &'a Value, path: &Path) -> &'a Value {
    static NULL: Value = Value::Null;
    path.steps().iter().fold(value, |value, step| match step {
        crate::Step::Attribute(name) | crate::Step::Key(name) => value.get(name),
        crate::Step::Index(index) => {
            let index = usize::try_from(*index).unwrap_or(usize::MAX);
            value.as_items().and_then(|items| items.get(index)).unwrap_or(&NULL)
        }
    })
}

impl Attr {
    /// Whether its value is taken from the configuration and kept nowhere.
    #[must_use]
    pub fn is_write_only(&self) -> bool {
        self.write_only
    }
}

#[cfg(test)]
mod tests {
    use super::super::Nesting;
    use super::*;

    fn schema() -> Schema {
        Schema::new(0)
            .attr(Attr::string("id").computed())
            .attr(Attr::string("name").required().plan(Modifier::requires_replace()))
            .attr(Attr::string("size").optional().computed().default("small"))
            .attr(Attr::string("cost").computed().plan(Modifier::unknown_when_changed(["size"])))
            .attr(Attr::string("every").optional().plan(Modifier::equal_when(|a, b| a.as_str().map(str::trim) == b.as_str().map(str::trim))))
            .attr(Attr::string("secret").optional().write_only())
            .attr(
                Attr::nested("pooler", Nesting::Single, vec![Attr::number("size").optional().computed(), Attr::string("mode").optional()]).optional(),
            )
            .attr(Attr::nested("rules", Nesting::List, vec![Attr::string("id").computed()]).optional())
            .attr(Attr::nested("peers", Nesting::Set, vec![Attr::string("to").required(), Attr::string("id").computed()]).optional())
    }

    fn config(given: &[(&str, Value)]) -> Value {
        let mut config = Value::Object(schema().names().map(|name| (name.to_owned(), Value::Null)).collect());
        given.iter().for_each(|(name, value)| config.set(name, value.clone()));
        config
    }

    fn peer(id: Value) -> Value {
        Value::object([("to", "b".into()), ("id", id)])
    }

    #[test]
    fn a_create_knows_the_configuration_and_the_defaults() {
        let config = config(&[
            ("name", "a".into()),
            ("secret", "s3".into()),
            ("pooler", Value::object([("size", Value::Null), ("mode", "session".into())])),
            ("rules", Value::List(vec![Value::object([("id", Value::Null)])])),
            ("peers", Value::Set(vec![peer(Value::Null)])),
        ]);
        let mut planned = config.clone();
        schema().modify(&mut planned, &Value::Null, &config);
        assert!(planned.get("id").is_unknown() && planned.get("cost").is_unknown());
        assert_eq!((planned.get("name").as_str(), planned.get("size").as_str()), (Some("a"), Some("small")));
        assert!(planned.get("secret").is_null(), "what is write-only is in no plan");
        assert!(planned.get("pooler").get("size").is_unknown());
        assert_eq!(planned.get("pooler").get("mode").as_str(), Some("session"));
        assert!(planned.get("rules").as_items().unwrap()[0].get("id").is_unknown());
        assert_eq!(planned.get("peers"), &Value::Set(vec![peer(Value::Unknown)]));
    }

    #[test]
    fn an_update_changes_what_the_configuration_changes_and_what_follows_from_it() {
        let prior = config(&[("id", "1".into()), ("name", "a".into()), ("size", "small".into()), ("cost", "9".into()), ("every", "1h".into())]);
        let plan = |given: &[(&str, Value)]| {
            let config = config(given);
            let mut proposed = prior.clone();
            for (name, value) in given {
                proposed.set(name, value.clone());
            }
            schema().modify(&mut proposed, &prior, &config);
            proposed
        };
        let same = plan(&[("name", "a".into()), ("every", " 1h ".into())]);
        assert_eq!(same, prior, "nothing has changed");
        let large = plan(&[("name", "a".into()), ("size", "large".into())]);
        assert!(large.get("cost").is_unknown() && large.get("id").as_str() == Some("1"));
        assert_eq!(schema().replaced(&large, &prior), []);
        let renamed = plan(&[("name", "b".into())]);
        assert_eq!(schema().replaced(&renamed, &prior), [Path::attribute("name")]);
        assert_eq!(schema().replaced(&renamed, &Value::Null), []);
    }

    #[test]
    fn the_configuration_of_a_state_lacks_what_the_provider_sets() {
        let state = config(&[("id", "1".into()), ("name", "a".into()), ("size", "small".into())]);
        assert_eq!(schema().config_of(&state), config(&[("name", "a".into()), ("size", "small".into())]));
    }
}
