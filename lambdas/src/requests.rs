//! The API's requests, told of: one wide event each, with the route instead of the path, since paths carry ids.
use crate::Observer;
use crate::telemetry::{Event, Unit, milliseconds};
use crate::world::WallClock;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use kiven_ports::Clock;
use tracing::Instrument;

/// Runs a request and tells of it.
pub async fn tell(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    observer.begin();
    let began = WallClock.now();
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", method, route);
    let response = next.run(request).instrument(span).await;
    let now = WallClock.now();
    let event = Event::new("request", now).field("method", method).field("route", route).field("status", response.status().as_u16()).metric(
        &[],
        "RequestMilliseconds",
        Unit::Milliseconds,
        milliseconds(began, now),
    );
    observer.end(event).await;
    response
}
