//! The Rust SDK of Kiven's REST API, used by the Terraform provider and the command line.
//!
//! Invariants of this crate:
//! - it reads no environment variable: a binary passes a look-up to [`Credentials::find`];
//! - every request that changes something carries one idempotency key through all its attempts;
//! - every retry and every wait has a bound;
//! - an API key is never written anywhere: [`Credentials`] hides it from `Debug`.
mod credentials;
mod error;
mod follow;
mod http;

pub use credentials::{Credentials, CredentialsError, credentials_path};
pub use error::ClientError;
pub use follow::Followed;
pub use http::Client;
