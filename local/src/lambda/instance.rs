//! One process of a function and the runtime API that it polls.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::{FunctionConfig, locked};

/// Largest answer of a function.
const ANSWER_BYTES_MAX: usize = 6 * 1024 * 1024 + 64 * 1024;

static INVOCATIONS: AtomicU64 = AtomicU64::new(1);

/// The process is gone.
pub(super) struct Ended;

type Answer = Result<Bytes, Bytes>;

struct Invocation {
    id: String,
    payload: Bytes,
    deadline_ms: i64,
}

#[derive(Clone)]
struct Api {
    next: Arc<tokio::sync::Mutex<mpsc::Receiver<Invocation>>>,
    running: Arc<Mutex<BTreeMap<String, oneshot::Sender<Answer>>>>,
    arn: Arc<str>,
}

/// A running process; dropping it kills the process.
pub(super) struct Instance {
    send: mpsc::Sender<Invocation>,
    running: Arc<Mutex<BTreeMap<String, oneshot::Sender<Answer>>>>,
    alive: Arc<AtomicBool>,
    server: AbortHandle,
    process: AbortHandle,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.abort();
        // The task owns the child, which is killed when the task is dropped.
        self.process.abort();
    }
}

impl Instance {
    pub(super) async fn start(config: &FunctionConfig, pids: Arc<Mutex<Vec<u32>>>) -> std::io::Result<Self> {
        use axum::serve::ListenerExt;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (send, receive) = mpsc::channel(1);
        let running: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
        let api = Api {
            next: Arc::new(tokio::sync::Mutex::new(receive)),
            running: running.clone(),
            arn: format!("arn:aws:lambda:local:000000000000:function:{}", config.name).into(),
        };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answer))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX))
            .with_state(api);
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let server = tokio::spawn(async move {
            // Ends with the instance, by being aborted.
            let _ = axum::serve(listener, router).await;
        });
        let errors = match &config.log {
            Some(path) => Stdio::from(std::fs::OpenOptions::new().create(true).append(true).open(path)?),
            None => Stdio::inherit(),
        };
        let mut child = Command::new(&config.binary)
            .args(&config.arguments)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", &config.name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "local")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "local")
            .envs(&config.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .inspect_err(|_| server.abort())?;
        let pid = child.id();
        locked(&pids).extend(pid);
        let alive = Arc::new(AtomicBool::new(true));
        let process = tokio::spawn({
            let watch = Watch { pid, pids, alive: alive.clone(), running: running.clone() };
            let name = config.name.clone();
            async move {
                let _watch = watch;
                let status = child.wait().await;
                tracing::warn!(function = name, ?status, "function process ended");
            }
        });
        Ok(Self { send, running, alive, server: server.abort_handle(), process: process.abort_handle() })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    pub(super) async fn invoke(&mut self, payload: Bytes, deadline_ms: i64) -> Result<Answer, Ended> {
        let id = format!("00000000-0000-4000-8000-{:012x}", INVOCATIONS.fetch_add(1, Ordering::Relaxed));
        // Registered before it is handed over, so that a crash at any time finds and drops it.
        let (answer, answered) = oneshot::channel();
        locked(&self.running).insert(id.clone(), answer);
        if !self.is_alive() {
            return Err(Ended);
        }
        self.send.send(Invocation { id, payload, deadline_ms }).await.map_err(|_| Ended)?;
        answered.await.map_err(|_| Ended)
    }
}

/// Runs when the process has ended or the instance is dropped.
struct Watch {
    pid: Option<u32>,
    pids: Arc<Mutex<Vec<u32>>>,
    alive: Arc<AtomicBool>,
    running: Arc<Mutex<BTreeMap<String, oneshot::Sender<Answer>>>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Release);
        locked(&self.pids).retain(|pid| Some(*pid) != self.pid);
        locked(&self.running).clear();
    }
}

async fn next(State(api): State<Api>) -> Response {
    let invocation = api.next.lock().await.recv().await;
    let Some(Invocation { id, payload, deadline_ms }) = invocation else {
        return status(StatusCode::GONE);
    };
    Response::builder()
        .header("lambda-runtime-aws-request-id", id)
        .header("lambda-runtime-deadline-ms", deadline_ms.to_string())
        .header("lambda-runtime-invoked-function-arn", &*api.arn)
        .header("lambda-runtime-trace-id", "Root=1-0-0")
        .header("content-type", "application/json")
        .body(Body::from(payload))
        .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn answer(State(api): State<Api>, Path((id, kind)): Path<(String, String)>, body: Bytes) -> StatusCode {
    let waiting = locked(&api.running).remove(&id);
    match waiting {
        // A caller that timed out no longer listens; the answer is dropped as on Lambda.
        Some(waiting) => {
            let _ = waiting.send(if kind == "response" { Ok(body) } else { Err(body) });
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}

async fn init_error(body: Bytes) -> StatusCode {
    tracing::error!(error = %String::from_utf8_lossy(&body), "function failed to initialise");
    StatusCode::ACCEPTED
}

fn status(code: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}
