//! Plain HTTP for whoever runs the relay: is it alive, does it take sessions, and what it has counted. Never for agents.
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What is asked about.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sessions: Sessions,
}

/// Answers for as long as the process lives.
pub(crate) async fn serve(listener: TcpListener, health: Health) {
    let routes = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).route("/metrics", get(metrics)).with_state(health);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::warn!(%error, "nobody can ask for the relay's health any more");
    }
}

/// It answers: it lives.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether new sessions are welcome: not while it stops, and not while the records cannot be read.
async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    match (health.sessions.is_draining(), health.sessions.sees()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "the records cannot be read\n"),
        (false, true) => (StatusCode::OK, "ready\n"),
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics.text())
}
