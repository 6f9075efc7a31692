//! The Terraform provider of Kiven.
fn main() {}
