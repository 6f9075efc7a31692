//! Data sources, one file each.
pub(crate) mod plans;
