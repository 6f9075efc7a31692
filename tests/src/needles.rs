//! Secrets in a haystack: plain, base64 at every alignment, URL-encoded.
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Shorter parts than this would be found by chance.
const PART_MIN: usize = 10;

/// A form of a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needle {
    /// Which secret, in words.
    pub what: String,
    /// Which form.
    pub form: &'static str,
    bytes: Vec<u8>,
}

/// Where a secret was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Which secret.
    pub what: String,
    /// In which form.
    pub form: &'static str,
    /// Where.
    pub place: String,
}

/// Base64 of a secret that begins at one of the three places in a group, without the characters its neighbours decide.
#[must_use]
pub fn base64_at(secret: &[u8], offset: usize, url_safe: bool) -> String {
    let mut padded = vec![0; offset];
    padded.extend(secret);
    let engine = if url_safe { URL_SAFE_NO_PAD } else { STANDARD_NO_PAD };
    let text = engine.encode(&padded);
    let first = (offset * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    text.get(first..last).unwrap_or_default().to_owned()
}

/// Every byte as `%XX`.
#[must_use]
pub fn percent_all(secret: &[u8]) -> String {
    secret.iter().map(|byte| format!("%{byte:02X}")).collect()
}

/// Every form of a secret. Long secrets are looked for by their halves too: a database file may break a value over two pages.
#[must_use]
pub fn forms(what: &str, secret: &str) -> BTreeSet<Needle> {
    let halves = secret.split_at_checked(secret.len() / 2).filter(|(half, _)| half.len() >= PART_MIN);
    let parts = std::iter::once(secret).chain(halves.into_iter().flat_map(|(a, b)| [a, b]));
    let mut needles = BTreeSet::new();
    let mut add = |form: &'static str, text: String| {
        if text.len() >= PART_MIN {
            needles.insert(Needle { what: what.to_owned(), form, bytes: text.into_bytes() });
        }
    };
    for part in parts {
        add("plain", part.to_owned());
        for offset in 0..3 {
            add("base64", base64_at(part.as_bytes(), offset, false));
            add("base64", base64_at(part.as_bytes(), offset, true));
        }
        add("URL-encoded", utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
        add("URL-encoded", percent_all(part.as_bytes()));
    }
    needles
}

/// Looks for needles in bytes, in one pass: files may be hundreds of megabytes of WAL.
#[must_use]
pub fn search(place: &str, haystack: &[u8], needles: &BTreeSet<Needle>) -> BTreeSet<Found> {
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut begins = vec![false; 1 << 16];
    needles.iter().for_each(|needle| begins[pair(&needle.bytes)] = true);
    let mut found = BTreeSet::new();
    for (at, two) in haystack.windows(2).enumerate() {
        if !begins[pair(two)] {
            continue;
        }
        for needle in needles.iter().filter(|needle| haystack[at..].starts_with(&needle.bytes)) {
            found.insert(Found { what: needle.what.clone(), form: needle.form, place: place.to_owned() });
        }
    }
    found
}

/// Looks for needles in files; answers what was found and how many files were read.
///
/// # Errors
/// When a file cannot be read, except that one may vanish meanwhile.
pub fn search_files(files: &[PathBuf], needles: &BTreeSet<Needle>) -> anyhow::Result<(BTreeSet<Found>, usize)> {
    let (mut found, mut read) = (BTreeSet::new(), 0);
    for file in files {
        match std::fs::read(file) {
            Ok(bytes) => {
                read += 1;
                found.extend(search(&file.display().to_string(), &bytes, needles));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(anyhow::Error::new(error).context(file.display().to_string())),
        }
    }
    Ok((found, read))
}

/// Every file below a folder.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    // Ends: links are not followed, and a tree has an end.
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}
