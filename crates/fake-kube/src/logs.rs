//! Logs of pods: whoever plays the kubelet says what a container wrote, and this serves it as the real server does.
use crate::error::ApiError;
use crate::kinds;
use crate::{Shared, engine::Target};
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A line of a container, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Without its end.
    pub text: String,
}

/// A container's log, read from its beginning on.
pub trait PodLog: Send {
    /// Lines written since the last call; nothing when there are none now.
    fn lines(&mut self) -> Vec<LogLine>;
}

/// Where containers' logs are.
pub trait PodLogs: Send + Sync {
    /// Opens the log of a pod's container; `None` when it has none.
    fn open(&self, namespace: &str, pod: &str, container: &str) -> Option<Box<dyn PodLog>>;
}

/// What is asked of a log.
pub(crate) struct Asked {
    pub(crate) container: String,
    pub(crate) follow: bool,
    pub(crate) since_seconds: Option<i64>,
    pub(crate) since_time: Option<Timestamp>,
    pub(crate) tail_lines: Option<usize>,
}

struct Stream {
    shared: Arc<Shared>,
    log: Option<Box<dyn PodLog>>,
    /// Namespace, name and uid of the pod: another pod of the same name has another log.
    pod: [String; 3],
    since: Option<Timestamp>,
    first: Option<Vec<LogLine>>,
    follow: bool,
    stopping: tokio::sync::watch::Receiver<bool>,
}

pub(crate) fn answer(shared: &Arc<Shared>, pod: Target<'_>, asked: &Asked) -> Result<Response, ApiError> {
    let (namespace, name) = (pod.namespace.to_owned(), pod.name.to_owned());
    let pod = shared.engine.get(pod)?;
    let containers: Vec<&str> = pod["spec"]["containers"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    let container = match (asked.container.as_str(), containers.as_slice()) {
        ("", [only]) => (*only).to_owned(),
        ("", _) => return Err(ApiError::BadRequest(format!("a container name must be specified for pod {name}, choose one of: {containers:?}"))),
        (named, known) if known.contains(&named) => named.to_owned(),
        (named, _) => return Err(ApiError::BadRequest(format!("container {named} is not valid for pod {name}"))),
    };
    let mut log = shared.logs.get().and_then(|logs| logs.open(&namespace, &name, &container));
    let since = asked.since_seconds.map(|seconds| shared.engine.now() - SignedDuration::from_secs(seconds)).or(asked.since_time);
    let mut first = log.as_mut().map(|log| log.lines()).unwrap_or_default();
    first.retain(|line| since.is_none_or(|since| line.at >= since));
    if let Some(most) = asked.tail_lines {
        first.drain(..first.len().saturating_sub(most));
    }
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let stream = Stream {
        shared: Arc::clone(shared),
        log,
        pod: [namespace, name, uid],
        since,
        first: Some(first),
        follow: asked.follow,
        stopping: shared.stopping.subscribe(),
    };
    let chunks = futures_util::stream::unfold(stream, |mut stream| async move {
        let lines = stream.next().await?;
        let text: String = lines.into_iter().map(|line| line.text + "\n").collect();
        Some((Ok::<_, std::convert::Infallible>(text), stream))
    });
    Ok(([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(chunks)).into_response())
}

impl Stream {
    async fn next(&mut self) -> Option<Vec<LogLine>> {
        if let Some(first) = self.first.take() {
            // Sent also when it is empty: the answer begins at once.
            return Some(first);
        }
        loop {
            // What was written last is read after the pod was seen to be gone.
            let goes_on = self.follow && self.is_there();
            let mut lines = self.log.as_mut().map(|log| log.lines()).unwrap_or_default();
            lines.retain(|line| self.since.is_none_or(|since| line.at >= since));
            if !lines.is_empty() {
                return Some(lines);
            }
            if !goes_on {
                return None;
            }
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => return None,
                () = sleep(LOOK) => {}
            }
        }
    }

    fn is_there(&self) -> bool {
        let [namespace, name, uid] = &self.pod;
        let target = Target { kind: &kinds::PODS, namespace, name, status: false, manager: "" };
        self.shared.engine.get(target).is_ok_and(|pod: Arc<Value>| pod["metadata"]["uid"] == uid.as_str())
    }
}
