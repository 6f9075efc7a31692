//! The local stack's state folder, as the credentials file names it.
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Stored {
    endpoint: Option<String>,
    state: Option<PathBuf>,
}

/// The state folder of the stack behind this endpoint; `None` when the credentials file speaks of another one, or of none.
/// A credentials file that cannot be read has been complained of before.
pub(crate) fn state_folder(credentials: &Path, endpoint: &str) -> Option<PathBuf> {
    let stored: Stored = serde_json::from_slice(&std::fs::read(credentials).ok()?).ok()?;
    let same = stored.endpoint?.trim_end_matches('/') == endpoint.trim_end_matches('/');
    stored.state.filter(|_| same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_own_endpoint_has_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials.json");
        assert_eq!(state_folder(&file, "http://a"), None);
        std::fs::write(&file, r#"{"endpoint":"http://a/","api_key":"k","state":"/s"}"#).unwrap();
        assert_eq!(state_folder(&file, "http://a"), Some(PathBuf::from("/s")));
        assert_eq!(state_folder(&file, "http://b"), None);
        std::fs::write(&file, r#"{"endpoint":"http://a","api_key":"k"}"#).unwrap();
        assert_eq!(state_folder(&file, "http://a"), None);
    }
}
