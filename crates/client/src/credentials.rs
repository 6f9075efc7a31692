//! Where the endpoint and the API key come from: arguments, then environment, then the credentials file.
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the API is and who calls it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The API's base URL, without a slash at its end.
    pub endpoint: String,
    /// The API key.
    pub api_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("endpoint", &self.endpoint).field("api_key", &"(hidden)").finish()
    }
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Nowhere a key.
    #[error("there is no API key: set KIVEN_API_KEY (and KIVEN_ENDPOINT), or start the local stack, which writes {}", .0.as_ref().map_or("the credentials file".to_owned(), |path| path.display().to_string()))]
    Missing(Option<PathBuf>),
    /// A key, but nobody says where to take it.
    #[error("there is an API key but no endpoint: set KIVEN_ENDPOINT")]
    NoEndpoint,
    /// The file is there and cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is not of the form {{\"endpoint\": …, \"api_key\": …}}", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The endpoint is no URL.
    #[error("`{0}` is no endpoint: it begins with http:// or https://")]
    Endpoint(String),
}

#[derive(Default, Deserialize)]
struct Stored {
    endpoint: Option<String>,
    api_key: Option<String>,
}

/// The credentials file: `$XDG_CONFIG_HOME/kiven/credentials.json`, or `~/.config/kiven/credentials.json`.
#[must_use]
pub fn credentials_path(lookup: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("kiven").join("credentials.json"))
}

impl Credentials {
    /// Finds endpoint and key: what is given, else `KIVEN_ENDPOINT` and `KIVEN_API_KEY`, else the credentials file.
    ///
    /// # Errors
    /// When there is no key, or the file cannot be read.
    pub fn find(endpoint: Option<String>, api_key: Option<String>, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, CredentialsError> {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let endpoint = endpoint.or_else(|| set("KIVEN_ENDPOINT"));
        let api_key = api_key.or_else(|| set("KIVEN_API_KEY"));
        let path = credentials_path(&lookup);
        let stored = match (&endpoint, &api_key, &path) {
            (Some(_), Some(_), _) | (_, _, None) => Stored::default(),
            (_, _, Some(path)) => read(path)?,
        };
        // A key goes only where it was meant to: the file's key to the file's endpoint, and no key to an endpoint nobody named.
        let own = stored.endpoint.as_deref().map(trim);
        let (endpoint, api_key) = match (endpoint, api_key) {
            (Some(endpoint), Some(key)) => (endpoint, key),
            (Some(endpoint), None) if own == Some(trim(&endpoint)) => (endpoint, stored.api_key.ok_or(CredentialsError::Missing(path))?),
            (Some(_), None) => return Err(CredentialsError::Missing(path)),
            (None, Some(key)) if stored.api_key.as_ref() == Some(&key) => (stored.endpoint.ok_or(CredentialsError::NoEndpoint)?, key),
            (None, Some(_)) => return Err(CredentialsError::NoEndpoint),
            (None, None) => {
                let key = stored.api_key.ok_or(CredentialsError::Missing(path))?;
                (stored.endpoint.ok_or(CredentialsError::NoEndpoint)?, key)
            }
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(CredentialsError::Endpoint(endpoint));
        }
        Ok(Self { endpoint: trim(&endpoint).to_owned(), api_key })
    }
}

fn trim(endpoint: &str) -> &str {
    endpoint.trim_end_matches('/')
}

fn read(path: &Path) -> Result<Stored, CredentialsError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| CredentialsError::Form { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Stored::default()),
        Err(source) => Err(CredentialsError::File { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(file: Option<&str>, given: (Option<&str>, Option<&str>), environment: &[(&str, &str)]) -> Result<(String, String), CredentialsError> {
        let home = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            std::fs::create_dir_all(home.path().join("kiven")).unwrap();
            std::fs::write(home.path().join("kiven/credentials.json"), text).unwrap();
        }
        let lookup = |name: &str| match name {
            "XDG_CONFIG_HOME" => Some(home.path().display().to_string()),
            _ => environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()),
        };
        Credentials::find(given.0.map(str::to_owned), given.1.map(str::to_owned), lookup).map(|c| (c.endpoint, c.api_key))
    }

    fn pair(endpoint: &str, key: &str) -> (String, String) {
        (endpoint.to_owned(), key.to_owned())
    }

    #[test]
    fn arguments_go_before_environment_before_file() {
        let file = Some(r#"{"endpoint":"http://file/","api_key":"f"}"#);
        let environment = [("KIVEN_ENDPOINT", "http://env"), ("KIVEN_API_KEY", "e")];
        assert_eq!(find(file, (Some("http://arg"), Some("a")), &environment).unwrap(), pair("http://arg", "a"));
        assert_eq!(find(file, (None, None), &environment).unwrap(), pair("http://env", "e"));
        assert_eq!(find(file, (None, None), &[]).unwrap(), pair("http://file", "f"));
    }

    #[test]
    fn the_files_key_goes_to_the_files_endpoint_only() {
        let file = Some(r#"{"endpoint":"http://file","api_key":"f"}"#);
        assert!(matches!(find(file, (Some("http://elsewhere"), None), &[]), Err(CredentialsError::Missing(_))));
        assert_eq!(find(file, (Some("http://file/"), None), &[]).unwrap(), pair("http://file", "f"));
        assert!(matches!(find(file, (None, Some("other")), &[]), Err(CredentialsError::NoEndpoint)));
        assert!(matches!(find(None, (None, Some("a")), &[]), Err(CredentialsError::NoEndpoint)));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        assert!(matches!(find(None, (None, None), &[]), Err(CredentialsError::Missing(Some(_)))));
        assert!(matches!(find(Some("[]"), (None, None), &[]), Err(CredentialsError::Form { .. })));
        assert!(matches!(find(None, (Some("file:x"), Some("k")), &[]), Err(CredentialsError::Endpoint(_))));
        let shown = format!("{:?}", Credentials { endpoint: "http://x".to_owned(), api_key: "hunter2".to_owned() });
        assert!(!shown.contains("hunter2"));
    }
}
