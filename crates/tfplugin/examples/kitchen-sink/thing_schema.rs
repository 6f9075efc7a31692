//! `sink_thing`: every kind of attribute there is.
use kiven_tfplugin::{Attr, BlockNesting, Modifier, Nesting, Rule, Schema, Type, check};

/// The schema, in its third version.
pub(crate) fn schema() -> Schema {
    Schema::new(2)
        .describe("A thing with every kind of attribute.")
        .attr(Attr::string("id").computed().describe("Its id: `thing-` and its name."))
        .attr(Attr::string("name").required().check(check::length(1..=20)).plan(Modifier::requires_replace()).describe("What it is called."))
        .attr(Attr::string("size").optional().computed().default("small").check(check::one_of(&["small", "large"])).describe("How large."))
        .attr(Attr::number("cost").computed().plan(Modifier::unknown_when_changed(["size"])).describe("What it costs."))
        .attr(Attr::string("every").optional().plan(Modifier::equal_when(|a, b| a.as_str().map(str::trim) == b.as_str().map(str::trim))))
        .attr(Attr::number("precise").optional().describe("A number of any size."))
        .attr(Attr::dynamic("anything").optional().describe("A value of any type."))
        .attr(Attr::new("pair", Type::Tuple(vec![Type::String, Type::Number])).optional())
        .attr(Attr::set("tags", Type::String).optional().check(check::count(0..=3)))
        .attr(Attr::map("labels", Type::String).optional().computed())
        .attr(Attr::string("secret").optional().write_only().describe("Kept nowhere; only its length is."))
        .attr(Attr::number("secret_version").optional().describe("Another number says that the secret is another one."))
        .attr(Attr::number("secret_length").computed().plan(Modifier::unknown_when_changed(["secret_version"])))
        .attr(Attr::string("old_name").optional().deprecated("Use `name`."))
        .attr(Attr::string("fail").optional().describe("Makes it fail on purpose: `validate`, `plan`, `create`, `panic`, `wait` or `defer`."))
        .attr(Attr::number("pace_ms").optional().describe("How long a create takes, in milliseconds."))
        .attr(
            Attr::nested("pooler", Nesting::Single, vec![Attr::number("size").optional().computed().default(5), Attr::string("mode").optional()])
                .optional(),
        )
        .attr(
            Attr::nested(
                "rules",
                Nesting::List,
                vec![Attr::number("port").required().check(check::between(1..=65_535)), Attr::string("id").computed()],
            )
            .optional(),
        )
        .attr(Attr::nested("peers", Nesting::Set, vec![Attr::string("to").required(), Attr::string("id").computed()]).optional())
        .attr(Attr::nested("by_zone", Nesting::Map, vec![Attr::string("subnet").required()]).optional())
        .attr(Attr::block("timeouts", BlockNesting::Single, vec![Attr::string("create").optional()]))
        .attr(Attr::block("note", BlockNesting::List, vec![Attr::string("text").required()]).items(0, 2))
        .rule(Rule::together(["secret", "secret_version"]))
}
