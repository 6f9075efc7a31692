//! Prints the OpenAPI document: `cargo xtask gen` writes it into the tree.
fn main() {}
