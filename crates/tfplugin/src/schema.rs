//! Schemas: what a resource, data source or provider configuration looks like.
use crate::{Path, Type, Value, wire};
use std::collections::BTreeMap;

/// The wire's number for text in Markdown.
const MARKDOWN: i32 = 1;

/// How nested attributes stand in their parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// One object.
    Single,
    /// Objects in order.
    List,
    /// Objects by text key.
    Map,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Plain(Type),
    Nested(Nesting, Vec<Attr>),
}

/// One attribute. Exactly one of required, optional, computed, optional and computed holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Attr {
    name: &'static str,
    shape: Shape,
    description: String,
    required: bool,
    optional: bool,
    computed: bool,
    sensitive: bool,
}

impl Attr {
    fn of(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, description: String::new(), required: false, optional: false, computed: false, sensitive: false }
    }
    /// An attribute of any type.
    #[must_use]
    pub fn new(name: &'static str, of: Type) -> Self {
        Self::of(name, Shape::Plain(of))
    }
    /// Text.
    #[must_use]
    pub fn string(name: &'static str) -> Self {
        Self::new(name, Type::String)
    }
    /// A number.
    #[must_use]
    pub fn number(name: &'static str) -> Self {
        Self::new(name, Type::Number)
    }
    /// A truth value.
    #[must_use]
    pub fn bool(name: &'static str) -> Self {
        Self::new(name, Type::Bool)
    }
    /// A list.
    #[must_use]
    pub fn list(name: &'static str, element: Type) -> Self {
        Self::new(name, Type::List(Box::new(element)))
    }
    /// A set.
    #[must_use]
    pub fn set(name: &'static str, element: Type) -> Self {
        Self::new(name, Type::Set(Box::new(element)))
    }
    /// A map.
    #[must_use]
    pub fn map(name: &'static str, element: Type) -> Self {
        Self::new(name, Type::Map(Box::new(element)))
    }
    /// Nested attributes.
    #[must_use]
    pub fn nested(name: &'static str, nesting: Nesting, attributes: Vec<Attr>) -> Self {
        Self::of(name, Shape::Nested(nesting, attributes))
    }
    /// Must be set.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
    /// May be set.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
    /// The provider sets it, or sets it where the configuration does not.
    #[must_use]
    pub fn computed(mut self) -> Self {
        self.computed = true;
        self
    }
    /// Not shown at the terminal. It still stands in the state: nothing secret belongs there.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
    /// What it is, in Markdown.
    #[must_use]
    pub fn describe(mut self, markdown: impl Into<String>) -> Self {
        self.description = markdown.into();
        self
    }
    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> Type {
        match &self.shape {
            Shape::Plain(of) => of.clone(),
            Shape::Nested(Nesting::Single, inner) => object_type(inner),
            Shape::Nested(Nesting::List, inner) => Type::List(Box::new(object_type(inner))),
            Shape::Nested(Nesting::Map, inner) => Type::Map(Box::new(object_type(inner))),
        }
    }
    fn to_wire(&self) -> wire::Attribute {
        let (of, nested_type) = match &self.shape {
            Shape::Plain(of) => (of.to_json().to_string().into_bytes(), None),
            Shape::Nested(nesting, inner) => {
                let nesting = match nesting {
                    Nesting::Single => 1,
                    Nesting::List => 2,
                    Nesting::Map => 4,
                };
                // Terraform refuses an attribute with both a type and a nested type.
                (Vec::new(), Some(wire::Object { attributes: inner.iter().map(Attr::to_wire).collect(), nesting }))
            }
        };
        wire::Attribute {
            name: self.name.to_owned(),
            r#type: of,
            description: self.description.clone(),
            required: self.required,
            optional: self.optional,
            computed: self.computed,
            sensitive: self.sensitive,
            description_kind: MARKDOWN,
            nested_type,
        }
    }
    /// What create must make known: null in the configuration and computed.
    fn mark(&self, proposed: &mut Value, config: &Value) {
        if self.computed && config.is_null() {
            *proposed = Value::Unknown;
            return;
        }
        let Shape::Nested(nesting, inner) = &self.shape else { return };
        match (nesting, proposed, config) {
            (Nesting::Single, Value::Object(members), config) => mark_all(inner, members, config),
            (Nesting::List, Value::List(items), Value::List(given)) => {
                for (item, given) in items.iter_mut().zip(given) {
                    if let Value::Object(members) = item {
                        mark_all(inner, members, given);
                    }
                }
            }
            (Nesting::Map, Value::Map(items), given) => {
                for (key, item) in items.iter_mut() {
                    if let Value::Object(members) = item {
                        mark_all(inner, members, given.get(key));
                    }
                }
            }
            (Nesting::Single | Nesting::List | Nesting::Map, _, _) => {}
        }
    }
}

fn mark_all(attributes: &[Attr], members: &mut BTreeMap<String, Value>, config: &Value) {
    for attribute in attributes {
        if let Some(member) = members.get_mut(attribute.name) {
            attribute.mark(member, config.get(attribute.name));
        }
    }
}

fn object_type(attributes: &[Attr]) -> Type {
    Type::Object(attributes.iter().map(|attribute| (attribute.name.to_owned(), attribute.value_type())).collect())
}

/// A versioned set of attributes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schema {
    version: i64,
    attributes: Vec<Attr>,
    description: String,
}

impl Schema {
    /// A schema without attributes.
    #[must_use]
    pub fn new(version: i64) -> Self {
        Self { version, ..Self::default() }
    }
    /// Adds an attribute.
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
    /// The version of states written with it.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }
    /// The names of its attributes.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.attributes.iter().map(|attribute| attribute.name)
    }
    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> Type {
        object_type(&self.attributes)
    }
    /// Makes every computed attribute that the configuration leaves out unknown: the plan of a create before the
    /// resource fills in what it knows already. The framework has done this to [`crate::PlanRequest::proposed`].
    pub fn mark_unknown(&self, proposed: &mut Value, config: &Value) {
        if let Value::Object(members) = proposed {
            mark_all(&self.attributes, members, config);
        }
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
                    inner @ (Type::Object(_) | Type::Map(_) | Type::List(_)) => {
                        path = path.key(name);
                        of = inner;
                        rest = after;
                    }
                    Type::Bool | Type::Number | Type::String | Type::Set(_) => return path.key(text),
                },
                Type::List(element) => {
                    let Ok(index) = name.parse() else { break };
                    path = path.index(index);
                    of = *element;
                    rest = after;
                }
                Type::Bool | Type::Number | Type::String | Type::Set(_) => break,
            }
        }
        path
    }
    pub(crate) fn to_wire(&self) -> wire::Schema {
        let block = wire::Block {
            version: self.version,
            attributes: self.attributes.iter().map(Attr::to_wire).collect(),
            description: self.description.clone(),
            description_kind: MARKDOWN,
        };
        wire::Schema { version: self.version, block: Some(block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn schema() -> Schema {
        Schema::new(3)
            .describe("A thing.")
            .attr(Attr::string("id").computed())
            .attr(Attr::string("name").required().describe("Its *name*."))
            .attr(Attr::map("parameters", Type::String).optional())
            .attr(Attr::set("tags", Type::String).optional())
            .attr(
                Attr::nested("pooler", Nesting::Single, vec![Attr::number("size").optional().computed(), Attr::string("mode").optional()]).optional(),
            )
            .attr(Attr::nested("rules", Nesting::List, vec![Attr::string("id").computed()]).optional())
    }

    #[test]
    fn the_wire_carries_type_or_nested_type_never_both() {
        let bytes = schema().to_wire().encode_to_vec();
        let sent = wire::Schema::decode(bytes.as_slice()).unwrap();
        assert_eq!(sent.version, 3);
        let block = sent.block.unwrap();
        assert_eq!((block.description.as_str(), block.description_kind), ("A thing.", 1));
        let by_name = |name: &str| block.attributes.iter().find(|a| a.name == name).unwrap();
        assert_eq!(by_name("parameters").r#type, br#"["map","string"]"#);
        assert!(by_name("name").required && !by_name("name").computed);
        for name in ["pooler", "rules"] {
            assert!(by_name(name).r#type.is_empty() && by_name(name).nested_type.is_some());
        }
        let pooler = by_name("pooler").nested_type.as_ref().unwrap();
        assert_eq!((pooler.nesting, pooler.attributes.len()), (1, 2));
    }

    #[test]
    fn dotted_paths_become_typed_ones() {
        for (dotted, expected) in [
            ("name", "name"),
            ("pooler.size", "pooler.size"),
            ("parameters.pg_stat_statements.max", "parameters[\"pg_stat_statements.max\"]"),
            ("rules.1.id", "rules[1].id"),
            ("tags.2", "tags"),
            ("nothing.here", ""),
        ] {
            assert_eq!(schema().path_of(dotted).to_string(), expected, "{dotted}");
        }
    }

    #[test]
    fn a_create_knows_only_what_the_configuration_says() {
        let config = Value::object([
            ("id", Value::Null),
            ("name", "a".into()),
            ("pooler", Value::object([("size", Value::Null), ("mode", "session".into())])),
            ("rules", Value::List(vec![Value::object([("id", Value::Null)])])),
        ]);
        let mut proposed = config.clone();
        schema().mark_unknown(&mut proposed, &config);
        assert!(proposed.get("id").is_unknown());
        assert_eq!(proposed.get("name").as_str(), Some("a"));
        assert!(proposed.get("pooler").get("size").is_unknown());
        assert_eq!(proposed.get("pooler").get("mode").as_str(), Some("session"));
        assert!(proposed.get("rules").as_items().unwrap()[0].get("id").is_unknown());
    }
}
