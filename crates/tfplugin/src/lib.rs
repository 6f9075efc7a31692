//! The Terraform plugin protocol, version 6, on tonic: a small framework for providers.
//!
//! Invariants of this crate:
//! - it knows nothing of Kiven: a provider is a value that implements [`Provider`];
//! - nothing forces replacement unless a resource asks for it in [`Planned::requires_replace`];
//! - a panic in a resource becomes a diagnostic, and the prior state is kept;
//! - only the process that started the provider can call it (mutual TLS on a private socket);
//! - no value is ever written to the log.
mod action;
mod call;
mod core;
mod decode;
mod diagnostics;
mod ephemeral;
mod function;
#[cfg(feature = "harness")]
pub mod harness;
mod identity;
mod json;
mod list;
mod log;
mod msgpack;
mod number;
mod panics;
mod path;
mod provider;
mod raw_state;
mod refinement;
mod resource;
mod schema;
mod serve;
mod service;
mod state_store;
mod tls;
mod types;
mod value;
mod wire;
#[cfg(test)]
mod wire_test;

pub use action::{Action, ActionPlanned, Progress};
pub use call::{Call, Client, Deferred};
pub use decode::{DecodeError, Given, decode};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use ephemeral::{Ephemeral, Opened};
pub use function::{Function, FunctionError, Parameter, Signature};
pub use identity::IdentitySchema;
pub use json::{JsonError, from_json, to_json};
pub use list::{Found, List, Listed, Query};
pub use log::{HclogLayer, install_log};
pub use msgpack::{MsgpackError, from_msgpack, to_msgpack};
pub use number::Number;
pub use path::{Path, Step};
pub use provider::{Named, Provider};
pub use raw_state::{RawState, to_json_text};
pub use refinement::Refinement;
pub use resource::{Applied, DataSource, ImportKey, MoveSource, PlanRequest, Planned, Read, Resource};
pub use schema::{Attr, BlockNesting, Modifier, Nesting, Rule, Schema, Validator, check};
pub use serve::{ServeError, Start, run_provider, serve};
pub use state_store::StateStore;
pub use tls::TlsError;
pub use tokio_util::sync::CancellationToken as Stop;
pub use tonic::async_trait;
pub use types::Type;
pub use value::{Dynamic, Value};
