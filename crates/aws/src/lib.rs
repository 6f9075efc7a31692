//! The shipped adapters: the store on DynamoDB, SQS and S3, and customers' AWS accounts.
//!
//! Invariants of this crate:
//! - nothing else in Kiven names an AWS SDK;
//! - no environment variable is read here: a binary's configuration says everything;
//! - every AWS error is classified: throttled or AWS' own trouble, not seen everywhere yet, of a session that is over, denied, a
//!   quota, not found, somebody else was first, or refused; and is told as one that may pass, one with a code, or a conflict;
//! - every call ends within [`config::CALL_SECONDS_MAX`].

pub mod config;
#[cfg(feature = "renewal")]
mod credentials;
mod error;
#[cfg(any(feature = "renewal", feature = "invoke"))]
mod http;
pub mod meter;

#[cfg(feature = "account")]
pub mod account;
#[cfg(feature = "authority")]
pub mod authority;
#[cfg(feature = "invoke")]
pub mod invoke;
#[cfg(feature = "store")]
pub mod store;

pub use config::{Config, Credentials, Endpoints, Sdk};
