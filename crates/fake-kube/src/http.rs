//! HTTP: paths to kinds, verbs to the engine, errors to `Status` objects, watches to streams of lines.
use crate::engine::Target;
use crate::error::ApiError;
use crate::kinds::{self, Kind};
use crate::selector::Selector;
use crate::token::SECONDS_ASKED;
use crate::{Change, Shared, Watch, logs, patch};
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
const WATCH_SECONDS_MAX: u64 = 300;
const BOOKMARK_SECONDS: u64 = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Params {
    label_selector: String,
    field_selector: String,
    limit: usize,
    #[serde(rename = "continue")]
    page: String,
    watch: String,
    allow_watch_bookmarks: bool,
    resource_version: String,
    timeout_seconds: Option<u64>,
    field_manager: Option<String>,
    force: bool,
    propagation_policy: Option<String>,
    container: String,
    follow: bool,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    tail_lines: Option<usize>,
}

impl Params {
    fn log(&self) -> logs::Asked {
        let Self { container, follow, since_seconds, since_time, tail_lines, .. } = self;
        logs::Asked { container: container.clone(), follow: *follow, since_seconds: *since_seconds, since_time: *since_time, tail_lines: *tail_lines }
    }
}

/// What a path names.
struct Place<'a> {
    kind: &'static Kind,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    sub: Option<&'a str>,
}

pub(crate) fn router(shared: Arc<Shared>) -> axum::Router {
    axum::Router::new().fallback(serve).with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, Query(params): Query<Params>, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = dispatch(&shared, params, request).await;
    answer.unwrap_or_else(|error| {
        let (code, reason) = error.code();
        if code >= 500 {
            tracing::error!(%method, path, error = ?error, "request failed");
        } else {
            tracing::debug!(%method, path, code, reason, "request refused");
        }
        reply(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &error.status())
    })
}

fn reply(code: StatusCode, body: &Value) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn dispatch(shared: &Arc<Shared>, params: Params, request: Request) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/healthz" | "/livez" | "/readyz" => return Ok("ok".into_response()),
        "/version" => {
            return Ok(reply(StatusCode::OK, &json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux" })));
        }
        "/.well-known/openid-configuration" => return Ok(reply(StatusCode::OK, &shared.issuer.discovery())),
        "/openid/v1/jwks" => return Ok(reply(StatusCode::OK, &shared.issuer.keys())),
        _ => {}
    }
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let identity = shared.authenticate(bearer.and_then(|value| value.strip_prefix("Bearer ")).ok_or(ApiError::Unauthorized)?)?;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let place = locate(&segments).ok_or_else(|| ApiError::NotFound { resource: "path".into(), name: path.clone() })?;
    let manager = params.field_manager.clone().unwrap_or_else(|| {
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        agent.split('/').next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned()
    });
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let method = request.method().clone();
    let bytes = to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|_| ApiError::TooLarge(BODY_BYTES_MAX))?;
    tracing::trace!(%method, path, username = identity.username, "request");
    let target = Target {
        kind: place.kind,
        namespace: place.namespace.unwrap_or_default(),
        name: place.name.unwrap_or_default(),
        status: place.sub == Some("status"),
        manager: &manager,
    };
    match (place.name, place.sub) {
        (Some(name), Some("token")) if *place.kind == kinds::SERVICE_ACCOUNTS && method == Method::POST => {
            token_request(shared, target.namespace, name, &parse(&bytes)?)
        }
        (Some(_), Some("log")) if *place.kind == kinds::PODS && method == Method::GET => logs::answer(shared, target, &params.log()),
        (Some(_), None) => one(shared, method, target, &params, &media, &bytes),
        (Some(_), Some("status")) if place.kind.status => one(shared, method, target, &params, &media, &bytes),
        (None, None) => many(shared, method, place, target, &params, &bytes),
        _ => Err(ApiError::NotFound { resource: "path".into(), name: path }),
    }
}

fn locate<'a>(segments: &[&'a str]) -> Option<Place<'a>> {
    let (group, version, rest) = match segments {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let find = |plural: &str| kinds::find(group, version, plural);
    let place = |kind, namespace, name, sub| Some(Place { kind, namespace, name, sub });
    match *rest {
        ["namespaces", name, sub @ ("status" | "finalize")] => place(find("namespaces")?, None, Some(name), Some(sub)),
        ["namespaces", ns, plural] => place(find(plural).filter(|k| k.namespaced)?, Some(ns), None, None),
        ["namespaces", ns, plural, name] => place(find(plural).filter(|k| k.namespaced)?, Some(ns), Some(name), None),
        ["namespaces", ns, plural, name, sub] => place(find(plural).filter(|k| k.namespaced)?, Some(ns), Some(name), Some(sub)),
        [plural] => place(find(plural)?, None, None, None),
        [plural, name] => place(find(plural).filter(|k| !k.namespaced)?, None, Some(name), None),
        [plural, name, sub] => place(find(plural).filter(|k| !k.namespaced)?, None, Some(name), Some(sub)),
        _ => None,
    }
}

fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::BadRequest(format!("the body is not JSON: {error}")))
}

fn token_request(shared: &Shared, namespace: &str, name: &str, body: &Value) -> Result<Response, ApiError> {
    let audiences = body["spec"]["audiences"].as_array();
    let audiences: Vec<String> = audiences.map(|list| list.iter().filter_map(|a| a.as_str().map(Into::into)).collect()).unwrap_or_default();
    let seconds = body["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let (token, expires) = shared.token(namespace, name, &audiences, seconds.clamp(*SECONDS_ASKED.start(), *SECONDS_ASKED.end()))?;
    let expires = jiff::Timestamp::from_second(expires).map_err(|_| ApiError::Issuer)?;
    let answer = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": { "name": name, "namespace": namespace },
        "spec": { "audiences": audiences, "expirationSeconds": seconds },
        "status": { "token": token, "expirationTimestamp": expires.to_string() } });
    Ok(reply(StatusCode::CREATED, &answer))
}

fn one(shared: &Shared, method: Method, target: Target<'_>, params: &Params, media: &str, bytes: &[u8]) -> Result<Response, ApiError> {
    let engine = &shared.engine;
    let object = match method {
        Method::GET => engine.get(target)?,
        Method::PUT => {
            let body = parse(bytes)?;
            engine.update(target, |_| Ok(body))?
        }
        Method::DELETE if !target.status => {
            let mut options = if bytes.is_empty() { json!({}) } else { parse(bytes)? };
            if let Some(policy) = &params.propagation_policy {
                options["propagationPolicy"] = json!(policy);
            }
            engine.delete(target, &options)?
        }
        Method::PATCH => match media.split(';').next().unwrap_or_default().trim() {
            "application/apply-patch+yaml" => {
                if params.field_manager.is_none() {
                    return Err(ApiError::BadRequest("fieldManager is required for apply patch".into()));
                }
                let body = parse(bytes)
                    .or_else(|_| serde_yaml_ng::from_slice(bytes).map_err(|e| ApiError::BadRequest(format!("the body is not YAML: {e}"))))?;
                let (object, new) = engine.apply(target, body, params.force)?;
                return Ok(reply(if new { StatusCode::CREATED } else { StatusCode::OK }, &object));
            }
            "application/merge-patch+json" => {
                let body = parse(bytes)?;
                engine.update(target, |live| {
                    let mut next = live.clone();
                    patch::merge(&mut next, &body);
                    Ok(next)
                })?
            }
            "application/json-patch+json" => {
                let body = parse(bytes)?;
                engine.update(target, |live| {
                    let mut next = live.clone();
                    patch::json_patch(&mut next, &body).map(|()| next)
                })?
            }
            other => return Err(ApiError::UnsupportedMediaType(other.into())),
        },
        _ => return Err(ApiError::MethodNotAllowed),
    };
    Ok(reply(StatusCode::OK, &object))
}

fn many(shared: &Arc<Shared>, method: Method, place: Place<'_>, target: Target<'_>, params: &Params, bytes: &[u8]) -> Result<Response, ApiError> {
    let selector = Selector::parse(&params.label_selector, &params.field_selector)?;
    let kind = place.kind;
    match method {
        Method::GET if params.watch == "true" || params.watch == "1" => watch(shared, kind, place.namespace, selector, params),
        Method::GET => {
            let limit = if params.limit == 0 { usize::MAX } else { params.limit };
            let page = shared.engine.list(kind, place.namespace, &selector, (limit, &params.page));
            let mut metadata = json!({ "resourceVersion": page.version.to_string() });
            if let Some(next) = page.next {
                metadata["continue"] = json!(next);
            }
            let list = json!({ "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(), "metadata": metadata, "items": page.items });
            Ok(reply(StatusCode::OK, &list))
        }
        Method::POST if kind.namespaced && place.namespace.is_none() => Err(ApiError::MethodNotAllowed),
        Method::POST => Ok(reply(StatusCode::CREATED, &*shared.engine.create(target, parse(bytes)?)?)),
        _ => Err(ApiError::MethodNotAllowed),
    }
}

struct Stream {
    watch: Watch,
    kind: &'static Kind,
    first: VecDeque<String>,
    ends: Instant,
    bookmark: Option<Instant>,
    told: u64,
    stopping: tokio::sync::watch::Receiver<bool>,
    over: bool,
}

fn line(change: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": change, "object": object }))
}

fn watch(shared: &Arc<Shared>, kind: &'static Kind, namespace: Option<&str>, selector: Selector, params: &Params) -> Result<Response, ApiError> {
    let mut first = VecDeque::new();
    let from = match params.resource_version.as_str() {
        "" | "0" => {
            let page = shared.engine.list(kind, namespace, &selector, (usize::MAX, ""));
            first.extend(page.items.iter().map(|object| line("ADDED", object)));
            page.version
        }
        version => version.parse().map_err(|_| ApiError::BadRequest(format!("invalid resource version: {version}")))?,
    };
    let seconds = params.timeout_seconds.unwrap_or(WATCH_SECONDS_MAX).min(WATCH_SECONDS_MAX);
    let stream = Stream {
        watch: Watch::new(shared.clone(), kind, namespace, selector, from),
        kind,
        first,
        ends: Instant::now() + Duration::from_secs(seconds),
        bookmark: params.allow_watch_bookmarks.then(|| Instant::now() + Duration::from_secs(BOOKMARK_SECONDS)),
        told: from,
        stopping: shared.stopping.subscribe(),
        over: false,
    };
    let lines = futures_util::stream::unfold(stream, |mut stream| async move {
        let line = stream.line().await?;
        Some((Ok::<_, std::convert::Infallible>(line), stream))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

impl Stream {
    async fn line(&mut self) -> Option<String> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        while !self.over {
            let bookmark = self.bookmark.unwrap_or(self.ends);
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stop| *stop) => self.over = true,
                () = sleep_until(self.ends) => self.over = true,
                event = self.watch.next() => return Some(match event {
                    Ok(event) => line(match event.change {
                        Change::Added => "ADDED",
                        Change::Modified => "MODIFIED",
                        Change::Deleted => "DELETED",
                    }, &event.object),
                    Err(error) => {
                        self.over = true;
                        line("ERROR", &error.status())
                    }
                }),
                () = sleep_until(bookmark) => {
                    self.bookmark = Some(Instant::now() + Duration::from_secs(BOOKMARK_SECONDS));
                    let version = self.watch.version();
                    if std::mem::replace(&mut self.told, version) != version {
                        return Some(line("BOOKMARK", &json!({ "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
                            "metadata": { "resourceVersion": version.to_string() } })));
                    }
                }
            }
        }
        None
    }
}
