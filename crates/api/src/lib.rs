//! The HTTP application: REST under `/v1`, over ports; it runs under Lambda, on a laptop and in tests alike.
//!
//! Invariants of this crate:
//! - every route authenticates first; what another organization owns does not exist;
//! - input is parsed at the edge, inner functions take what is valid;
//! - a change is one transaction: record, operation, due time; the doorbell rings after it and may be lost.
mod answer;
mod auth;
mod change;
mod databases;
mod environments;
mod operations;
mod plans;
mod schedules;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use kiven_model::api::{BODY_BYTES_MAX, Backend};
use kiven_ports::Ports;
use std::sync::Arc;

pub use auth::key_digest;

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
    let app = App { ports, backend: Arc::new(backend) };
    Router::new()
        .route("/v1/me", get(plans::me::<P>))
        .route("/v1/plans", get(plans::list::<P>))
        .route("/v1/environments", get(environments::list::<P>))
        .route("/v1/environments/{id}", get(environments::show::<P>).put(environments::put::<P>).delete(environments::delete::<P>))
        .route("/v1/environments/{id}/connection", put(environments::connect::<P>).delete(environments::disconnect::<P>))
        .route("/v1/databases", get(databases::list::<P>))
        .route("/v1/databases/{id}", get(databases::show::<P>).put(databases::put::<P>).delete(databases::delete::<P>))
        .route("/v1/databases/{id}/pause", post(databases::pause::<P>))
        .route("/v1/databases/{id}/resume", post(databases::resume::<P>))
        .route("/v1/databases/{id}/power-events", get(schedules::power_events::<P>))
        .route("/v1/schedules", get(schedules::list::<P>))
        .route("/v1/schedules/{id}", get(schedules::show::<P>).put(schedules::put::<P>).delete(schedules::delete::<P>))
        .route("/v1/operations", get(operations::list::<P>))
        .route("/v1/operations/{id}", get(operations::show::<P>))
        .route("/v1/operations/{id}/cancel", post(operations::cancel::<P>))
        .fallback(answer::no_route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}
