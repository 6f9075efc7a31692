//! Prints the OpenAPI document: `cargo xtask gen` writes it into the tree.
use kiven_sim::World;

fn main() -> Result<(), kiven_api::openapi::Flaw> {
    // The ports behind the routes do not matter here.
    print!("{}", kiven_api::openapi::text::<World>()?);
    Ok(())
}
