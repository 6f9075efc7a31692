//! The HTTP front: loopback requests become API Gateway v2 events of one function.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Function, InvokeError};
use crate::aws::NowMs;

/// Largest request body a function can be given.
pub const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;
/// How much of a refused body is read, so that the client sees the answer instead of a reset.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A listening front; dropping it ends it.
pub struct HttpFront {
    /// Its URL.
    pub url: String,
    task: JoinHandle<()>,
}

impl Drop for HttpFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Front {
    function: Arc<Function>,
    now_ms: NowMs,
}

impl HttpFront {
    /// Listens on a loopback port (0: any) for one function.
    pub async fn start(port: u16, function: Arc<Function>, now_ms: NowMs) -> std::io::Result<Self> {
        use axum::serve::ListenerExt;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let router = Router::new().fallback(handle).with_state(Front { function, now_ms });
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the HTTP front ended");
            }
        });
        Ok(Self { url, task })
    }
}

async fn handle(State(front): State<Front>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(body) = collect(body).await else {
        return problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "KV-413",
            "The request body is larger than 6 MB.",
            "Send a smaller body; no request of the API needs this much.",
        );
    };
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default();
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": header_map(&parts.headers),
        "queryStringParameters": query_map(query),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": front.function.name(),
            "domainName": "127.0.0.1",
            "domainPrefix": front.function.name(),
            "http": {"method": parts.method.as_str(), "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": ""},
            "requestId": "local",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": (front.now_ms)(),
        },
        "body": body_text(&body).0,
        "isBase64Encoded": body_text(&body).1,
    });
    match front.function.invoke(event.to_string().into()).await {
        Ok(answer) => {
            response(&answer).unwrap_or_else(|| problem(StatusCode::BAD_GATEWAY, "KV-299", "The function's answer has no HTTP shape.", "Try again."))
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &InvokeError) -> Response {
    tracing::warn!(error = error as &dyn std::error::Error, "invocation failed");
    match error {
        InvokeError::TimedOut(_) => problem(StatusCode::GATEWAY_TIMEOUT, "KV-299", "The function took too long.", "Try again."),
        InvokeError::Start(_) | InvokeError::Crashed | InvokeError::Function(_) | InvokeError::Closed => {
            problem(StatusCode::BAD_GATEWAY, "KV-299", "The function did not answer.", "Try again.")
        }
    }
}

/// The body, or `None` when it is too large.
async fn collect(body: Body) -> Option<Bytes> {
    let mut stream = body.into_data_stream();
    let mut collected = Vec::new();
    let mut seen = 0_usize;
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else { return None };
        seen += piece.len();
        if seen > DRAIN_BYTES_MAX {
            return None;
        }
        if seen <= BODY_BYTES_MAX {
            collected.extend_from_slice(&piece);
        } else {
            collected = Vec::new();
        }
    }
    (seen <= BODY_BYTES_MAX).then(|| collected.into())
}

fn body_text(body: &[u8]) -> (String, bool) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (STANDARD.encode(body), true),
    }
}

fn header_map(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for name in headers.keys() {
        let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        map.insert(name.to_string(), json!(values.join(",")));
    }
    map
}

fn query_map(query: &str) -> Map<String, Value> {
    let decode = |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut map = Map::new();
    for (key, value) in query.split('&').filter(|pair| !pair.is_empty()).map(|p| p.split_once('=').unwrap_or((p, ""))) {
        let value = decode(value);
        let joined = match map.get(&decode(key)).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value,
        };
        map.insert(decode(key), json!(joined));
    }
    map
}

fn response(answer: &[u8]) -> Option<Response> {
    let value: Value = serde_json::from_slice(answer).ok()?;
    let status = StatusCode::from_u16(u16::try_from(value["statusCode"].as_u64()?).ok()?).ok()?;
    let text = value["body"].as_str().unwrap_or_default();
    let body = match value["isBase64Encoded"].as_bool() {
        Some(true) => STANDARD.decode(text).ok()?,
        Some(false) | None => text.as_bytes().to_vec(),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let single = value["headers"].as_object().into_iter().flatten().filter_map(|(k, v)| Some((k, vec![v.as_str()?])));
    let multiple = value["multiValueHeaders"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, values)| Some((name, values.as_array()?.iter().filter_map(Value::as_str).collect())));
    let mut headers = HeaderMap::new();
    // Both maps carry single values; the multi-value one is complete, so it wins.
    for (name, values) in single.chain(multiple) {
        let Ok(name) = HeaderName::try_from(name.as_str()) else { continue };
        headers.remove(&name);
        for value in values {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(&name, value);
            }
        }
    }
    for cookie in value["cookies"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if let Ok(cookie) = HeaderValue::from_str(cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    *response.headers_mut() = headers;
    Some(response)
}

fn problem(status: StatusCode, code: &str, message: &str, hint: &str) -> Response {
    let body = json!({"code": code, "message": message, "hint": hint});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
