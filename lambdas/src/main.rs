//! The functions.
fn main() {}
