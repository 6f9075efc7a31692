//! DynamoDB: dynoxide over one SQLite file.

use std::path::Path;

use dynoxide::Database;
use tokio::net::TcpListener;

use super::StartError;

/// Serves the file (or, without one, memory) on the listener until the task is dropped.
pub(crate) fn serve(listener: TcpListener, file: Option<&Path>) -> Result<tokio::task::JoinHandle<()>, StartError> {
    let database = match file {
        Some(path) => Database::new(&path.to_string_lossy()),
        None => Database::memory(),
    }
    .map_err(|error| StartError::Dynamodb(error.to_string()))?;
    Ok(tokio::spawn(async move {
        if let Err(error) = dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await {
            tracing::error!(%error, "DynamoDB endpoint ended");
        }
    }))
}
