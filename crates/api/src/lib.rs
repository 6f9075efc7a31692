//! The HTTP application: REST under `/v1`, over ports; it runs under Lambda, on a laptop and in tests alike.
//!
//! Invariants of this crate:
//! - every route stands in the table of `routes` with its least role; the gate before the handlers authenticates and checks it;
//! - what another organization owns does not exist;
//! - input is parsed at the edge, inner functions take what is valid;
//! - a change is one transaction: record, operation, due time; the doorbell rings after it and may be lost.
mod agent_tokens;
mod answer;
mod auth;
mod databases;
mod disconnect;
mod document;
mod environments;
mod examples;
mod extract;
mod log_sessions;
#[cfg(feature = "openapi")]
pub mod openapi;
mod operations;
mod plans;
mod route;
mod routes;
mod schedules;
mod upgrades;

use axum::Router;
use kiven_model::api::Backend;
use kiven_ports::Ports;
use std::sync::Arc;

pub use auth::key_digest;
pub use document::DOCUMENT;
pub use route::{Access, Body, Route, Shape, Success};
pub use routes::routes;

/// What every handler works with.
pub struct App<P> {
    ports: Arc<P>,
    backend: Arc<Backend>,
}

impl<P> Clone for App<P> {
    fn clone(&self) -> Self {
        Self { ports: Arc::clone(&self.ports), backend: Arc::clone(&self.backend) }
    }
}

/// The application over ports.
pub fn router<P: Ports>(ports: Arc<P>, backend: Backend) -> Router {
    routes::mount(App { ports, backend: Arc::new(backend) })
}
