//! The embedded default.
fn main() {}
