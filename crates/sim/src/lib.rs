//! A deterministic world.
