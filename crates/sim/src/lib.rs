//! A deterministic world.

pub mod nodegroups;
