//! What can keep the operator from the state it was asked for.

/// A failure of one reconcile pass; the next pass tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The API server refused.
    #[error("the API server refused")]
    Kube(#[from] kiven_fake_kube::ApiError),
    /// A file or process could not be reached.
    #[error("a file or process could not be reached")]
    Io(#[from] std::io::Error),
    /// A program failed.
    #[error("{program} failed: {said}")]
    Command {
        /// Program.
        program: String,
        /// Its last words.
        said: String,
    },
    /// PostgreSQL refused.
    #[error("PostgreSQL refused")]
    Sql(#[from] tokio_postgres::Error),
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// Something needed is not there.
    #[error("missing: {0}")]
    Missing(String),
    /// A wait reached its bound.
    #[error("waited too long for {0}")]
    Timeout(String),
    /// The S3 endpoint refused.
    #[error("the S3 endpoint answered {0}")]
    Storage(String),
}

impl OperatorError {
    /// The error and everything beneath it, for the log line where it is handled.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut below = std::error::Error::source(self);
        while let Some(error) = below {
            text = format!("{text}: {error}");
            below = error.source();
        }
        text
    }
}
