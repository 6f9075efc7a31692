//! Following an operation to its end: conditional requests at the pace that the server chooses.
use crate::http::jittered;
use crate::{Client, ClientError};
use kiven_model::OperationId;
use kiven_model::api::OperationView;
use kiven_model::operation::OperationEvent;
use reqwest::{Method, StatusCode};
use std::time::Duration;
use tokio::time::Instant;

/// The pace before the server has named one, and its bounds.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(10);
/// How many events the API answers at most in one go.
const EVENTS_PAGE: usize = 200;

/// How following ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The operation is over: succeeded, failed or stuck.
    Over(Box<OperationView>),
    /// Time was up first; what was last seen, if anything.
    TimedOut(Option<Box<OperationView>>),
}

impl Client {
    /// Follows an operation until it is over or `within` has passed; `seen` gets each event once, in order. While the API
    /// cannot be reached it keeps asking until time is up. Dropping the future stops following at once.
    ///
    /// # Errors
    /// When the API refuses: there is no such operation, or the key is no longer good.
    pub async fn operation_follow(&self, id: &OperationId, within: Duration, mut seen: impl FnMut(&OperationEvent)) -> Result<Followed, ClientError> {
        let deadline = Instant::now() + within;
        let mut after = 0;
        let mut last: Option<Box<OperationView>> = None;
        let mut pause = POLL_MIN;
        // Bounded by the deadline: every turn waits at least POLL_MIN.
        loop {
            let path = format!("/v1/operations/{id}?after={after}");
            let asked = tokio::time::timeout_at(deadline, self.send::<()>(Method::GET, &path, None)).await;
            let Ok(answer) = asked else { return Ok(Followed::TimedOut(last)) };
            match answer {
                Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => {
                    if let Some(view) = last.take_if(|view| view.status.over()) {
                        return Ok(Followed::Over(view));
                    }
                    pause = answer.retry_after.unwrap_or(pause);
                }
                Ok(answer) => {
                    let view: OperationView = self.read(&answer)?;
                    for event in view.events.iter().filter(|event| event.sequence > after) {
                        seen(event);
                    }
                    let more = view.events.last().map_or(after, |event| event.sequence.max(after));
                    // A full page may hide the last events: the end counts only once they have been seen.
                    let full = view.events.len() >= EVENTS_PAGE;
                    if view.status.over() && !full {
                        return Ok(Followed::Over(Box::new(view)));
                    }
                    pause = if full { POLL_MIN } else { Duration::from_millis(view.retry_after_ms) };
                    after = more;
                    last = Some(Box::new(view));
                }
                Err(error) if error.transient() => pause = POLL_MAX / 10,
                Err(error) => return Err(error),
            }
            let pause = pause.clamp(POLL_MIN, POLL_MAX);
            let wait = if pause > Duration::from_secs(1) { jittered(pause) } else { pause };
            if tokio::time::timeout_at(deadline, tokio::time::sleep(wait)).await.is_err() {
                return Ok(Followed::TimedOut(last));
            }
        }
    }
}
