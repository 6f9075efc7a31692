//! The Terraform plugin protocol, version 6, on tonic: a small framework for providers.
//!
//! Invariants of this crate:
//! - it knows nothing of Kiven: a provider is a value that implements [`Provider`];
//! - nothing forces replacement unless a resource asks for it in [`Planned::requires_replace`];
//! - a panic in a resource becomes a diagnostic, and the prior state is kept;
//! - only the process that started the provider can call it (mutual TLS on a private socket);
//! - no value is ever written to the log.
mod core;
mod diagnostics;
mod json;
mod log;
mod msgpack;
mod number;
mod path;
mod provider;
mod schema;
mod serve;
mod service;
mod tls;
mod types;
mod value;
mod wire;
#[cfg(test)]
mod wire_test;

pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use json::{JsonError, from_json, to_json};
pub use log::{HclogLayer, install_log};
pub use msgpack::{MsgpackError, from_msgpack, to_msgpack};
pub use number::Number;
pub use path::{Path, Step};
pub use provider::{Applied, DataSource, PlanRequest, Planned, Provider, Read, Resource};
pub use schema::{Attr, Nesting, Schema};
pub use serve::{ServeError, Start, serve};
pub use tls::TlsError;
pub use tokio_util::sync::CancellationToken as Stop;
pub use tonic::async_trait;
pub use types::Type;
pub use value::Value;
