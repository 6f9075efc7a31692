//! What can go wrong, and how Kubernetes says it: a `Status` object with code and reason.
use serde_json::{Value, json};

/// A refused or failed request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// No such object, kind or path.
    #[error("{resource} \"{name}\" not found")]
    NotFound {
        /// Resource as `plural.group`.
        resource: String,
        /// Object's name.
        name: String,
    },
    /// The name is taken.
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists {
        /// Resource as `plural.group`.
        resource: String,
        /// Object's name.
        name: String,
    },
    /// The object has changed since it was read, or another manager owns a field.
    #[error("{message}")]
    Conflict {
        /// What conflicts.
        message: String,
        /// Field and its present owner, for server-side apply.
        causes: Vec<(String, String)>,
    },
    /// A field's value is not acceptable.
    #[error("{field}: {message}")]
    Invalid {
        /// Path of the field.
        field: &'static str,
        /// Why.
        message: String,
    },
    /// The request cannot be read.
    #[error("{0}")]
    BadRequest(String),
    /// No or unknown credentials.
    #[error("Unauthorized")]
    Unauthorized,
    /// Understood and refused.
    #[error("{0}")]
    Forbidden(String),
    /// The asked history is no longer kept.
    #[error("too old resource version: {asked} ({oldest})")]
    Gone {
        /// Version asked for.
        asked: u64,
        /// Oldest version still kept.
        oldest: u64,
    },
    /// Patch type that is not served.
    #[error("the patch type {0} is not served")]
    UnsupportedMediaType(String),
    /// Verb that is not served at this path.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// The request's body is over the limit.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// SQLite refused.
    #[error("the object store failed")]
    Store(#[from] rusqlite::Error),
    /// A file could not be read or written.
    #[error("a file of the object store failed")]
    File(#[from] std::io::Error),
    /// A key could not be made or used.
    #[error("the token issuer failed")]
    Issuer,
}

impl ApiError {
    /// HTTP code and Kubernetes reason.
    pub fn code(&self) -> (u16, &'static str) {
        match self {
            Self::NotFound { .. } => (404, "NotFound"),
            Self::AlreadyExists { .. } => (409, "AlreadyExists"),
            Self::Conflict { .. } => (409, "Conflict"),
            Self::Invalid { .. } => (422, "Invalid"),
            Self::BadRequest(_) => (400, "BadRequest"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden(_) => (403, "Forbidden"),
            Self::Gone { .. } => (410, "Expired"),
            Self::UnsupportedMediaType(_) => (415, "UnsupportedMediaType"),
            Self::MethodNotAllowed => (405, "MethodNotAllowed"),
            Self::TooLarge(_) => (413, "RequestEntityTooLarge"),
            Self::Store(_) | Self::File(_) | Self::Issuer => (500, "InternalError"),
        }
    }

    /// Whether the object is not there: the one error that callers of the handle often expect.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// The `Status` object that clients get.
    pub fn status(&self) -> Value {
        let (code, reason) = self.code();
        let mut details = json!({});
        match self {
            Self::NotFound { resource, name } | Self::AlreadyExists { resource, name } => {
                details = json!({ "name": name, "kind": resource.split('.').next().unwrap_or_default() });
            }
            Self::Invalid { field, message } => {
                details = json!({ "causes": [{ "reason": "FieldValueInvalid", "message": message, "field": field }] });
            }
            Self::Conflict { causes, .. } if !causes.is_empty() => {
                let list: Vec<Value> = causes
                    .iter()
                    .map(
                        |(field, owner)| json!({ "reason": "FieldManagerConflict", "field": field, "message": format!("conflict with \"{owner}\"") }),
                    )
                    .collect();
                details = json!({ "causes": list });
            }
            _ => {}
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "reason": reason, "details": details, "code": code,
        })
    }
}
