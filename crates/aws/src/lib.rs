//! The only crate that names an AWS SDK.
