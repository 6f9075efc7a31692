//! Schemas: what a resource, data source or provider configuration looks like, and the rules its values keep.
mod attr;
mod modify;
mod validate;
mod walk;
mod wire_form;

pub use attr::{Attr, BlockNesting, Nesting};
pub use modify::Modifier;
pub use validate::{Rule, Validator, check};

pub(crate) use validate::write_only;
pub(crate) use wire_form::MARKDOWN;

use crate::{Path, Type, Value};

/// A versioned set of attributes and blocks, with rules that span them.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    version: i64,
    attributes: Vec<Attr>,
    description: String,
    deprecated: Option<String>,
    rules: Vec<Rule>,
}

impl Schema {
    /// A schema without attributes.
    #[must_use]
    pub fn new(version: i64) -> Self {
        Self { version, ..Self::default() }
    }
    /// Adds an attribute or block.
    #[must_use]
    pub fn attr(mut self, attribute: Attr) -> Self {
        self.attributes.push(attribute);
        self
    }
    /// What it is, in Markdown.
    #[must_use]
    pub fn describe(mut self, markdown: impl Into<String>) -> Self {
        self.description = markdown.into();
        self
    }
    /// Says what to use instead; clients warn whoever uses it.
    #[must_use]
    pub fn deprecated(mut self, instead: impl Into<String>) -> Self {
        self.deprecated = Some(instead.into());
        self
    }
    /// Adds a rule that spans several attributes.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }
    /// The version of states written with it.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }
    /// What it is, in Markdown.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }
    /// Its attributes and blocks in order.
    #[must_use]
    pub fn attributes(&self) -> &[Attr] {
        &self.attributes
    }
    /// The names of its attributes and blocks.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.attributes.iter().map(Attr::name)
    }
    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> Type {
        attr::object_type(&self.attributes)
    }
    /// Everything that makes the schema itself wrong: a provider with one of these does not start.
    #[must_use]
    pub fn defects(&self) -> Vec<String> {
        let mut found = Vec::new();
        attr::defects(&self.attributes, attr::Inside::Root, &Path::default(), &mut found);
        for name in self.rules.iter().flat_map(Rule::names).filter(|name| !self.names().any(|own| own == **name)) {
            found.push(format!("a rule names `{name}`, which the schema lacks"));
        }
        found
    }
    /// Checks a configuration against every validator and rule; what is unknown is not judged.
    #[must_use]
    pub fn check(&self, config: &Value) -> crate::Diagnostics {
        let mut found = validate::all(&self.attributes, config);
        self.rules.iter().for_each(|rule| found.extend(rule.check(config)));
        found
    }
    /// The typed path of a dotted one such as `pooler.pool_size` or `parameters.work_mem`. It ends where the schema
    /// does: at a set, whose elements have no path, or at the first name that the schema lacks.
    #[must_use]
    pub fn path_of(&self, dotted: &str) -> Path {
        let mut path = Path::default();
        let mut of = self.value_type();
        let mut rest = Some(dotted);
        while let Some(text) = rest {
            let (name, after) = text.split_once('.').map_or((text, None), |(name, after)| (name, Some(after)));
            match of {
                Type::Object(mut attributes) => {
                    let Some(inner) = attributes.remove(name) else { break };
                    path = path.attr(name);
                    of = inner;
                    rest = after;
                }
                // A map's key may itself hold dots (`pg_stat_statements.max`), so it is all that is left of a flat map.
                Type::Map(element) => match *element {
                    inner @ (Type::Object(_) | Type::Map(_) | Type::List(_) | Type::Tuple(_)) => {
                        path = path.key(name);
                        of = inner;
                        rest = after;
                    }
                    Type::Bool | Type::Number | Type::String | Type::Set(_) | Type::Dynamic => return path.key(text),
                },
                Type::List(element) => {
                    let Ok(index) = name.parse() else { break };
                    path = path.index(index);
                    of = *element;
                    rest = after;
                }
                Type::Bool | Type::Number | Type::String | Type::Set(_) | Type::Tuple(_) | Type::Dynamic => break,
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_paths_become_typed_ones() {
        let schema = Schema::new(0)
            .attr(Attr::string("name").required())
            .attr(Attr::map("parameters", Type::String).optional())
            .attr(Attr::set("tags", Type::String).optional())
            .attr(Attr::nested("pooler", Nesting::Single, vec![Attr::number("size").optional()]).optional())
            .attr(Attr::nested("rules", Nesting::List, vec![Attr::string("id").computed()]).optional());
        for (dotted, expected) in [
            ("name", "name"),
            ("pooler.size", "pooler.size"),
            ("parameters.pg_stat_statements.max", "parameters[\"pg_stat_statements.max\"]"),
            ("rules.1.id", "rules[1].id"),
            ("tags.2", "tags"),
            ("nothing.here", ""),
        ] {
            assert_eq!(schema.path_of(dotted).to_string(), expected, "{dotted}");
        }
    }

    #[test]
    fn a_schema_that_cannot_be_is_told_before_anybody_uses_it() {
        let found = |attribute: Attr| Schema::new(0).attr(attribute).defects();
        assert_eq!(found(Attr::string("good").optional().computed()), Vec::<String>::new());
        for (attribute, word) in [
            (Attr::string("a"), "neither required, optional nor computed"),
            (Attr::string("a").required().optional(), "both required and"),
            (Attr::string("A").required(), "is no name"),
            (Attr::string("count").required(), "reserved"),
            (Attr::string("a").computed().write_only(), "write-only"),
            (Attr::string("a").optional().default("x"), "default"),
            (Attr::nested("a", Nesting::Set, vec![Attr::string("b").required().write_only()]).optional(), "inside a set"),
            (Attr::nested("a", Nesting::List, vec![Attr::block("b", BlockNesting::List, vec![])]).optional(), "block"),
            (Attr::list("a", Type::Dynamic).optional(), "dynamic"),
        ] {
            let found = found(attribute);
            assert!(found.iter().any(|one| one.contains(word)), "{word}: {found:?}");
        }
        let twice = Schema::new(0).attr(Attr::string("a").optional()).attr(Attr::string("a").optional());
        assert!(twice.defects()[0].contains("twice"));
        assert!(Schema::new(0).rule(Rule::exactly_one_of(["x"])).defects()[0].contains("`x`"));
    }
}
