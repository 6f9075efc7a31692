//! A graceful stop: Lambda ends a sandbox with SIGTERM, and sends it only to functions with an extension. What has been collected and
//! not sent yet goes out before the process does.
use crate::Observer;
use axum::http::Request;
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{BoxError, PooledClient};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The extension that asks for no event and is there for the signal alone; a name is once in a function.
const NAME: &str = "kiven-graceful-stop";
const NAME_HEADER: &str = "lambda-extension-name";
const ID_HEADER: &str = "lambda-extension-identifier";
const REGISTER: &str = "/2020-01-01/extension/register";
const NEXT: &str = "/2020-01-01/extension/event/next";
/// Lambda kills 500 ms after the signal.
const LAST_WORDS_MAX: Duration = Duration::from_millis(400);
/// A runtime API that does not answer at once has no extensions.
const REGISTER_MAX: Duration = Duration::from_millis(500);

/// Lets the function end well. Called once, before it asks for work: Lambda closes the list of extensions then. Where a runtime
/// has none, as the local ones have, the signal alone does it.
pub async fn graceful(observer: &Observer) {
    let asked = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(terminate), Ok(interrupt)) = asked else {
        tracing::warn!("signals cannot be heard: the function ends as it is");
        return;
    };
    tokio::spawn(end(observer.clone(), terminate, interrupt));
    match tokio::time::timeout(REGISTER_MAX, register()).await {
        Ok(Ok(Some((client, id)))) => {
            tokio::spawn(idle(client, id));
        }
        Ok(Ok(None)) => tracing::debug!("this runtime has no extensions"),
        Ok(Err(error)) => tracing::warn!(error, "the extension for a graceful stop was not registered"),
        Err(_) => tracing::warn!("the extension for a graceful stop was not registered in time"),
    }
}

#[expect(clippy::exit, reason = "this is where a function ends")]
async fn end(observer: Observer, mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // What does not fit into the time is lost either way.
    let _ = tokio::time::timeout(LAST_WORDS_MAX, observer.stop()).await;
    std::process::exit(0);
}

/// Registers the extension; `None` where the runtime knows no such call.
async fn register() -> Result<Option<(PooledClient, String)>, BoxError> {
    let client = PooledClient::builder().build();
    let events = Body::from(r#"{"events":[]}"#);
    let request = Request::post(REGISTER).header(NAME_HEADER, NAME).header("content-type", "application/json").body(events)?;
    let answer = client.call(request).await?;
    let id = answer.headers().get(ID_HEADER).and_then(|id| id.to_str().ok());
    Ok(id.filter(|_| answer.status().is_success()).map(str::to_owned).map(|id| (client, id)))
}

/// Asks for the first event: Lambda begins with the work when every extension has. None ever comes.
async fn idle(client: PooledClient, id: String) {
    let asked = Request::get(NEXT).header(ID_HEADER, id).body(Body::empty()).map_err(BoxError::from);
    let ended = match asked {
        Ok(request) => client.call(request).await.map(drop),
        Err(error) => Err(error),
    };
    tracing::debug!(?ended, "the extension has nothing to wait for any more");
}
