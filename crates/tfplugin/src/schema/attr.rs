//! One attribute or block: its shape, its flags, and the rules of its value.
use super::{Modifier, Validator};
use crate::{Path, Type, Value};

/// How nested attributes stand in their parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// One object.
    Single,
    /// Objects in order.
    List,
    /// Distinct objects without order.
    Set,
    /// Objects by text key.
    Map,
}

/// How blocks stand in their parent. New schemas do better with nested attributes, which can be null and computed;
/// blocks serve what people write as blocks, such as `timeouts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockNesting {
    /// At most one block; null without.
    Single,
    /// One object that is there even when nobody writes the block.
    Group,
    /// Any number in order.
    List,
    /// Any number without order.
    Set,
    /// Blocks with a label each.
    Map,
}

/// What an attribute holds.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Plain(Type),
    Nested(Nesting, Vec<Attr>),
    Block(BlockNesting, Vec<Attr>),
}

/// How the members of a shape are reached from its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    One,
    Items,
    Distinct,
    Keyed,
}

impl Shape {
    /// Members and the way to them; `None` for a plain type.
    pub(crate) fn members(&self) -> Option<(Way, &[Attr])> {
        match self {
            Self::Plain(_) => None,
            Self::Nested(Nesting::Single, all) | Self::Block(BlockNesting::Single | BlockNesting::Group, all) => Some((Way::One, all)),
            Self::Nested(Nesting::List, all) | Self::Block(BlockNesting::List, all) => Some((Way::Items, all)),
            Self::Nested(Nesting::Set, all) | Self::Block(BlockNesting::Set, all) => Some((Way::Distinct, all)),
            Self::Nested(Nesting::Map, all) | Self::Block(BlockNesting::Map, all) => Some((Way::Keyed, all)),
        }
    }
}

/// One attribute. Exactly one of required, optional, computed, optional and computed holds; a block has none of them.
#[derive(Debug, Clone)]
pub struct Attr {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) description: String,
    pub(super) required: bool,
    pub(super) optional: bool,
    pub(super) computed: bool,
    pub(super) sensitive: bool,
    pub(super) write_only: bool,
    pub(super) deprecated: Option<String>,
    pub(super) items: (u32, u32),
    pub(super) default: Option<Value>,
    pub(super) validators: Vec<Validator>,
    pub(super) modifiers: Vec<Modifier>,
}

impl Attr {
    fn of(name: &'static str, shape: Shape) -> Self {
        Self {
            name,
            shape,
            description: String::new(),
            required: false,
            optional: false,
            computed: false,
            sensitive: false,
            write_only: false,
            deprecated: None,
            items: (0, 0),
            default: None,
            validators: Vec::new(),
            modifiers: Vec::new(),
        }
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
    /// A value whose type is the configuration's choice.
    #[must_use]
    pub fn dynamic(name: &'static str) -> Self {
        Self::new(name, Type::Dynamic)
    }
    /// Nested attributes.
    #[must_use]
    pub fn nested(name: &'static str, nesting: Nesting, attributes: Vec<Attr>) -> Self {
        Self::of(name, Shape::Nested(nesting, attributes))
    }
    /// A block.
    #[must_use]
    pub fn block(name: &'static str, nesting: BlockNesting, members: Vec<Attr>) -> Self {
        Self::of(name, Shape::Block(nesting, members))
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
    /// Not shown at the terminal. It still stands in the state: what is secret is write-only or ephemeral.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
    /// Taken from the configuration at plan and apply, and kept nowhere: plan and state hold null. Clients before
    /// Terraform 1.11 cannot do this, so a value is refused there. Pair it with a version attribute, whose change says
    /// that the value is another one.
    #[must_use]
    pub fn write_only(mut self) -> Self {
        self.write_only = true;
        self
    }
    /// Says what to use instead; clients warn whoever sets it.
    #[must_use]
    pub fn deprecated(mut self, instead: impl Into<String>) -> Self {
        self.deprecated = Some(instead.into());
        self
    }
    /// What it is, in Markdown.
    #[must_use]
    pub fn describe(mut self, markdown: impl Into<String>) -> Self {
        self.description = markdown.into();
        self
    }
    /// How many blocks of a list or set there may be; a maximum of 0 is none.
    #[must_use]
    pub fn items(mut self, fewest: u32, most: u32) -> Self {
        self.items = (fewest, most);
        self
    }
    /// What it is where the configuration does not say; known at plan. The attribute must be optional and computed.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
    /// Checks its value at validation; several may be given.
    #[must_use]
    pub fn check(mut self, validator: Validator) -> Self {
        self.validators.push(validator);
        self
    }
    /// What happens to it at plan; several are applied in order.
    #[must_use]
    pub fn plan(mut self, modifier: Modifier) -> Self {
        self.modifiers.push(modifier);
        self
    }
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// What it is, in Markdown.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }
    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> Type {
        let (way, members) = match (&self.shape, self.shape.members()) {
            (Shape::Plain(of), _) => return of.clone(),
            (_, Some(inside)) => inside,
            (_, None) => return Type::Dynamic,
        };
        let object = object_type(members);
        match way {
            Way::One => object,
            Way::Items => Type::List(Box::new(object)),
            Way::Distinct => Type::Set(Box::new(object)),
            Way::Keyed => Type::Map(Box::new(object)),
        }
    }
}

pub(super) fn object_type(attributes: &[Attr]) -> Type {
    Type::Object(attributes.iter().map(|attribute| (attribute.name.to_owned(), attribute.value_type())).collect())
}

/// Where an attribute stands, for what may not stand there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    Root,
    Block { set: bool },
    Nested { set: bool },
}

impl Inside {
    fn set(self) -> bool {
        matches!(self, Self::Block { set: true } | Self::Nested { set: true })
    }
}

/// Names that every resource has from Terraform itself.
const RESERVED: [&str; 7] = ["connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioner"];

/// Collects what is wrong with attributes, and with those inside of them.
pub(super) fn defects(attributes: &[Attr], inside: Inside, at: &Path, found: &mut Vec<String>) {
    for (index, attribute) in attributes.iter().enumerate() {
        let path = at.clone().attr(attribute.name);
        let mut wrong = |text: &str| found.push(format!("`{path}` {text}"));
        if attributes.iter().take(index).any(|other| other.name == attribute.name) {
            wrong("is there twice");
        }
        let first = attribute.name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !first || !attribute.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            wrong("is no name: lower-case letters, digits and `_`, beginning with no digit");
        }
        if inside == Inside::Root && RESERVED.contains(&attribute.name) {
            wrong("is reserved by Terraform");
        }
        attribute.flags(inside, &mut wrong);
        if let Some((way, members)) = attribute.shape.members() {
            let set = way == Way::Distinct || inside.set();
            let inside = if matches!(attribute.shape, Shape::Block(..)) { Inside::Block { set } } else { Inside::Nested { set } };
            defects(members, inside, &path, found);
        }
    }
}

impl Attr {
    fn flags(&self, inside: Inside, wrong: &mut impl FnMut(&str)) {
        if let Shape::Block(..) = self.shape {
            if matches!(inside, Inside::Nested { .. }) {
                wrong("is a block inside a nested attribute");
            }
            if self.required || self.optional || self.computed || self.write_only || self.default.is_some() {
                wrong("is a block, which is neither required, optional, computed, write-only nor has a default");
            }
            return;
        }
        if let Shape::Plain(Type::List(of) | Type::Set(of) | Type::Map(of)) = &self.shape
            && **of == Type::Dynamic
        {
            wrong("is a collection of dynamic values, which Terraform refuses: make the whole attribute dynamic");
        }
        match (self.required, self.optional, self.computed) {
            (false, false, false) => wrong("is neither required, optional nor computed"),
            (true, false, false) | (false, true | false, true) | (false, true, false) => {}
            (true, _, _) => wrong("is both required and optional or computed"),
        }
        if self.write_only && (self.computed || inside.set()) {
            wrong("is write-only, and so neither computed nor inside a set");
        }
        if self.default.is_some() && !(self.optional && self.computed) {
            wrong("has a default and must be optional and computed");
        }
    }
}
