//! Schemas as the protocol carries them.
use super::attr::Shape;
use super::{Attr, BlockNesting, Nesting, Schema};
use crate::wire;

/// The wire's number for text in Markdown.
pub(crate) const MARKDOWN: i32 = 1;

impl Schema {
    pub(crate) fn to_wire(&self) -> wire::Schema {
        let block = wire::Block {
            version: self.version,
            description: self.description.clone(),
            deprecated: self.deprecated.is_some(),
            deprecation_message: self.deprecated.clone().unwrap_or_default(),
            ..block(&self.attributes)
        };
        wire::Schema { version: self.version, block: Some(block) }
    }
}

fn block(members: &[Attr]) -> wire::Block {
    let (blocks, attributes): (Vec<&Attr>, Vec<&Attr>) = members.iter().partition(|member| matches!(member.shape, Shape::Block(..)));
    wire::Block {
        attributes: attributes.into_iter().map(Attr::to_wire).collect(),
        block_types: blocks.into_iter().filter_map(Attr::to_block).collect(),
        description_kind: MARKDOWN,
        ..wire::Block::default()
    }
}

impl Attr {
    fn to_wire(&self) -> wire::Attribute {
        let (of, nested_type) = match &self.shape {
            Shape::Plain(of) => (of.to_json().to_string().into_bytes(), None),
            Shape::Nested(nesting, inner) => {
                let nesting = match nesting {
                    Nesting::Single => 1,
                    Nesting::List => 2,
                    Nesting::Set => 3,
                    Nesting::Map => 4,
                };
                // Terraform refuses an attribute with both a type and a nested type.
                (Vec::new(), Some(wire::Object { attributes: inner.iter().map(Attr::to_wire).collect(), nesting }))
            }
            // A block is no attribute: see `to_block`.
            Shape::Block(..) => (Vec::new(), None),
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
            deprecated: self.deprecated.is_some(),
            nested_type,
            write_only: self.write_only,
            deprecation_message: self.deprecated.clone().unwrap_or_default(),
        }
    }

    fn to_block(&self) -> Option<wire::NestedBlock> {
        let Shape::Block(nesting, members) = &self.shape else { return None };
        let nesting = match nesting {
            BlockNesting::Single => 1,
            BlockNesting::List => 2,
            BlockNesting::Set => 3,
            BlockNesting::Map => 4,
            BlockNesting::Group => 5,
        };
        let block = wire::Block {
            description: self.description.clone(),
            deprecated: self.deprecated.is_some(),
            deprecation_message: self.deprecated.clone().unwrap_or_default(),
            ..block(members)
        };
        let (min_items, max_items) = (i64::from(self.items.0), i64::from(self.items.1));
        Some(wire::NestedBlock { type_name: self.name.to_owned(), block: Some(block), nesting, min_items, max_items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Type;
    use prost::Message;

    #[test]
    fn the_wire_carries_type_or_nested_type_never_both() {
        let schema = Schema::new(3)
            .describe("A thing.")
            .deprecated("Use the other.")
            .attr(Attr::string("name").required().describe("Its *name*."))
            .attr(Attr::map("parameters", Type::String).optional())
            .attr(Attr::string("secret").optional().write_only())
            .attr(Attr::nested("pooler", Nesting::Single, vec![Attr::number("size").optional(), Attr::string("mode").optional()]).optional())
            .attr(Attr::nested("peers", Nesting::Set, vec![Attr::string("to").required()]).optional())
            .attr(Attr::block("rule", BlockNesting::List, vec![Attr::string("to").required()]).items(1, 2));
        let bytes = schema.to_wire().encode_to_vec();
        let sent = wire::Schema::decode(bytes.as_slice()).unwrap();
        assert_eq!(sent.version, 3);
        let block = sent.block.unwrap();
        assert_eq!((block.description.as_str(), block.description_kind, block.deprecation_message.as_str()), ("A thing.", 1, "Use the other."));
        let by_name = |name: &str| block.attributes.iter().find(|a| a.name == name).unwrap();
        assert_eq!(by_name("parameters").r#type, br#"["map","string"]"#);
        assert!(by_name("name").required && !by_name("name").computed && by_name("secret").write_only);
        for (name, nesting, members) in [("pooler", 1, 2), ("peers", 3, 1)] {
            let nested = by_name(name).nested_type.as_ref().unwrap();
            assert!(by_name(name).r#type.is_empty());
            assert_eq!((nested.nesting, nested.attributes.len()), (nesting, members));
        }
        let rule = &block.block_types[0];
        assert_eq!((rule.type_name.as_str(), rule.nesting, rule.min_items, rule.max_items), ("rule", 2, 1, 2));
    }
}
