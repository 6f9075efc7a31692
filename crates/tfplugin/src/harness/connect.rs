//! Ways to a provider: in this process, or a binary started with `-debug` and reattached to.
use super::{Harness, schemas::Types};
use crate::core::Core;
use crate::{Client, Provider, serve, wire};
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// Why the harness got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// The provider could not be started.
    #[error("the provider could not be started: {0}")]
    Start(String),
    /// No connection.
    #[error("there is no connection to the provider")]
    Transport(#[source] tonic::transport::Error),
    /// The RPC itself was refused.
    #[error("the provider refused the call: {}", .0.message())]
    Refused(#[source] tonic::Status),
    /// An answer that is none.
    #[error("the provider's answer makes no sense: {0}")]
    Answer(String),
}

/// A provider's process; it ends with the harness.
pub(super) struct Process {
    _child: tokio::process::Child,
}

pub(super) fn path(rpc: &str) -> Result<PathAndQuery, HarnessError> {
    PathAndQuery::try_from(format!("/tfplugin6.Provider/{rpc}")).map_err(|error| HarnessError::Answer(error.to_string()))
}

async fn dial(socket: PathBuf) -> Result<Channel, HarnessError> {
    let connect = move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(connect)).await.map_err(HarnessError::Transport)
}

impl Harness {
    async fn over(channel: Channel, process: Option<Process>) -> Result<Self, HarnessError> {
        let client = Client { deferral_allowed: true, write_only_allowed: true };
        let mut harness = Self { channel, types: Types::default(), client, _process: process };
        let schemas: wire::SchemaResponse = harness.ask("GetProviderSchema", wire::Empty {}).await?;
        if let Some(defect) = schemas.diagnostics.first() {
            return Err(HarnessError::Start(format!("{}: {}", defect.summary, defect.detail)));
        }
        let identities: wire::IdentitySchemasResponse = harness.ask("GetResourceIdentitySchemas", wire::Empty {}).await?;
        harness.types = Types::read(&schemas, &identities)?;
        Ok(harness)
    }

    /// Serves a provider in this process.
    ///
    /// # Errors
    /// When it cannot be reached or has a defect.
    pub async fn start(provider: Arc<dyn Provider>) -> Result<Self, HarnessError> {
        let listener = serve::Listener::bind((0, 0)).await.map_err(|error| HarnessError::Start(error.to_string()))?;
        let socket = PathBuf::from(listener.address());
        tokio::spawn(serve::run(Arc::new(Core::new(provider)), listener, None));
        Self::over(dial(socket).await?, None).await
    }

    /// Starts a provider's binary with `-debug` and reattaches to it.
    ///
    /// # Errors
    /// When it does not start, or prints nothing to reattach to.
    pub async fn spawn(binary: &Path) -> Result<Self, HarnessError> {
        let io = |error: std::io::Error| HarnessError::Start(error.to_string());
        let mut command = tokio::process::Command::new(binary);
        let mut child = command.arg("-debug").stdout(Stdio::piped()).kill_on_drop(true).spawn().map_err(io)?;
        let output = child.stdout.take().ok_or_else(|| HarnessError::Start("it has no output".to_owned()))?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.map_err(io)? {
            if let Some((_, json)) = line.split_once("TF_REATTACH_PROVIDERS='") {
                let socket = socket_of(json.trim_end_matches('\''))?;
                return Self::over(dial(socket).await?, Some(Process { _child: child })).await;
            }
        }
        Err(HarnessError::Start("it ended without saying how to reattach".to_owned()))
    }
}

fn socket_of(json: &str) -> Result<PathBuf, HarnessError> {
    let wrong = || HarnessError::Start("what it says of reattaching cannot be read".to_owned());
    let all: serde_json::Value = serde_json::from_str(json).map_err(|_| wrong())?;
    let one = all.as_object().and_then(|all| all.values().next()).ok_or_else(wrong)?;
    one["Addr"]["String"].as_str().map(PathBuf::from).ok_or_else(wrong)
}
