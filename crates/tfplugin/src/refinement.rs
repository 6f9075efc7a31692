//! What is known about a value before it is known.
use crate::Number;

/// Facts about an unknown value. Terraform 1.6 and later use them: `!= null` and comparisons become known at plan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Refinement {
    /// It will not be null.
    pub not_null: bool,
    /// What the text will begin with.
    pub prefix: Option<String>,
    /// The least that the number can be, and whether it can be that.
    pub minimum: Option<(Number, bool)>,
    /// The most that the number can be, and whether it can be that.
    pub maximum: Option<(Number, bool)>,
    /// The fewest elements.
    pub length_min: Option<u64>,
    /// The most elements.
    pub length_max: Option<u64>,
}

impl Refinement {
    /// It will not be null.
    #[must_use]
    pub fn not_null() -> Self {
        Self { not_null: true, ..Self::default() }
    }
    /// The text will begin with this.
    #[must_use]
    pub fn starting_with(prefix: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), ..Self::not_null() }
    }
    /// The number will lie between these, both included.
    #[must_use]
    pub fn between(minimum: impl Into<Number>, maximum: impl Into<Number>) -> Self {
        Self { minimum: Some((minimum.into(), true)), maximum: Some((maximum.into(), true)), ..Self::not_null() }
    }
    /// There will be this many elements.
    #[must_use]
    pub fn of_length(length: std::ops::RangeInclusive<u64>) -> Self {
        Self { length_min: Some(*length.start()), length_max: Some(*length.end()), ..Self::not_null() }
    }
}
