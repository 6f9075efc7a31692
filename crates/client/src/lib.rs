//! The Rust SDK of Kiven.
