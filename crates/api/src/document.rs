//! The OpenAPI document as it is served: the committed file, which `cargo xtask gen` writes from the table of routes.
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// The committed document.
pub const DOCUMENT: &str = include_str!("../openapi.json");

/// `GET /v1/openapi.json`
pub(crate) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
