//! Build, demo, test, bench, tidy.
fn main() {}
