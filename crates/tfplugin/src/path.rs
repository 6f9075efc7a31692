//! Where in a value something is: what puts a diagnostic on its line.
use crate::wire;
use std::fmt;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an object's attribute.
    Attribute(String),
    /// Into a map's element.
    Key(String),
    /// Into a list's element.
    Index(i64),
}

/// A way from the root of a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Vec<Step>);

impl Path {
    /// The path of an attribute at the root.
    pub fn attribute(name: impl Into<String>) -> Self {
        Self::default().attr(name)
    }
    /// One attribute further.
    #[must_use]
    pub fn attr(mut self, name: impl Into<String>) -> Self {
        self.0.push(Step::Attribute(name.into()));
        self
    }
    /// One map key further.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.push(Step::Key(key.into()));
        self
    }
    /// One list index further.
    #[must_use]
    pub fn index(mut self, index: i64) -> Self {
        self.0.push(Step::Index(index));
        self
    }
    /// The steps from the root.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
    pub(crate) fn to_wire(&self) -> wire::AttributePath {
        let selector = |step: &Step| match step {
            Step::Attribute(name) => wire::Selector::AttributeName(name.clone()),
            Step::Key(key) => wire::Selector::ElementKeyString(key.clone()),
            Step::Index(index) => wire::Selector::ElementKeyInt(*index),
        };
        wire::AttributePath { steps: self.0.iter().map(|step| wire::PathStep { selector: Some(selector(step)) }).collect() }
    }
}

impl FromIterator<Step> for Path {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Attribute(name) if position == 0 => f.write_str(name)?,
                Step::Attribute(name) => write!(f, ".{name}")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
