//! Objects: streamed to and from files, indexed in SQLite.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::super::query::{Fault, Form, element, escape, instant, xml_response};
use super::super::state::{ObjectRow, Put};
use super::body::{Decoder, is_chunked};
use super::{S3, empty, fault, kept};

/// Largest object of one PutObject (AWS allows 5 GiB; a local disk is smaller).
const OBJECT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Largest page of a listing.
const PAGE_KEYS_MAX: usize = 1_000;
/// Longest readable file name; longer keys are stored by digest.
const FILE_NAME_BYTES_MAX: usize = 180;
/// What is read from disk at once.
const READ_BYTES: usize = 64 * 1024;
/// What stays readable in file names and copy-safe in listings.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

struct Stored {
    size: u64,
    digest: String,
}

impl S3 {
    pub(super) async fn put(&self, bucket: &str, key: &str, request: Request) -> Result<Response, Fault> {
        let headers = request.headers().clone();
        let if_absent = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*");
        if if_absent && self.access.state.object_get(bucket, key)?.is_some() {
            return Err(exists());
        }
        let folder = self.folder.join(bucket);
        tokio::fs::create_dir_all(&folder).await.map_err(disk)?;
        let unique = crate::aws::random_hex(8)?;
        let temporary = folder.join(format!(".{unique}.part"));
        let stored = match receive(&temporary, request).await {
            Ok(stored) => stored,
            Err(error) => {
                let _ = tokio::fs::remove_file(&temporary).await;
                return Err(error);
            }
        };
        let file = format!("{}~{unique}", file_name(key));
        tokio::fs::rename(&temporary, folder.join(&file)).await.map_err(disk)?;
        let row = ObjectRow {
            key: key.to_owned(),
            file,
            size: stored.size,
            etag: format!("\"{}\"", &stored.digest[..32]),
            modified_ms: (self.access.now_ms)(),
            headers: serde_json::to_string(&kept(&headers)).unwrap_or_default(),
        };
        match self.access.state.object_put(bucket, &row, if_absent)? {
            Put::Exists => {
                let _ = tokio::fs::remove_file(folder.join(&row.file)).await;
                Err(exists())
            }
            Put::Done { replaced } => {
                if let Some(old) = replaced {
                    let _ = tokio::fs::remove_file(folder.join(old)).await;
                }
                let mut response = empty(StatusCode::OK);
                insert(&mut response, "etag", &row.etag);
                Ok(response)
            }
        }
    }

    pub(super) async fn get(&self, bucket: &str, key: &str, headers: &HeaderMap, head: bool) -> Result<Response, Fault> {
        let row = self.access.state.object_get(bucket, key)?;
        let Some(row) = row else { return Err(fault(StatusCode::NOT_FOUND, "NoSuchKey", key)) };
        let range = match headers.get(header::RANGE).and_then(|value| value.to_str().ok()) {
            None => None,
            Some(text) => Some(
                parse_range(text, row.size)
                    .ok_or_else(|| fault(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The requested range is not satisfiable"))?,
            ),
        };
        let (from, length) = range.unwrap_or((0, row.size));
        let body = if head {
            Body::empty()
        } else {
            let mut file = File::open(self.folder.join(bucket).join(&row.file)).await.map_err(disk)?;
            file.seek(std::io::SeekFrom::Start(from)).await.map_err(disk)?;
            file_body(file, length)
        };
        let mut response = Response::new(body);
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = (from + length).saturating_sub(1);
            insert(&mut response, "content-range", &format!("bytes {from}-{last}/{}", row.size));
        }
        let stored: std::collections::BTreeMap<String, String> = serde_json::from_str(&row.headers).unwrap_or_default();
        for (name, value) in &stored {
            insert(&mut response, name, value);
        }
        insert(&mut response, "etag", &row.etag);
        insert(&mut response, "accept-ranges", "bytes");
        insert(&mut response, "content-length", &length.to_string());
        insert(&mut response, "last-modified", &http_date(row.modified_ms));
        Ok(response)
    }

    pub(super) async fn delete(&self, bucket: &str, key: &str) -> Result<Response, Fault> {
        if let Some(file) = self.access.state.object_delete(bucket, key)? {
            let _ = tokio::fs::remove_file(self.folder.join(bucket).join(file)).await;
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// ListObjectsV2.
    pub(super) fn list(&self, bucket: &str, query: &Form) -> Result<Response, Fault> {
        let prefix = query.get("prefix").unwrap_or_default();
        let delimiter = query.get("delimiter").filter(|text| !text.is_empty());
        let keys_max = query.get("max-keys").and_then(|text| text.parse().ok()).unwrap_or(PAGE_KEYS_MAX).min(PAGE_KEYS_MAX);
        let token = query.get("continuation-token").and_then(|text| String::from_utf8(hex::decode(text).ok()?).ok());
        let mut after = token.or_else(|| query.get("start-after").map(str::to_owned)).unwrap_or_default();
        let (mut contents, mut prefixes, mut count) = (String::new(), String::new(), 0);
        let mut truncated = false;
        // Each pass either fills the page or moves past a common prefix, so it ends.
        while count < keys_max {
            let rows = self.access.state.object_list(bucket, prefix, &after, 1)?;
            let Some(row) = rows.into_iter().next() else { break };
            let common = delimiter.and_then(|delimiter| {
                let rest = &row.key[prefix.len()..];
                rest.find(delimiter).map(|at| row.key[..prefix.len() + at + delimiter.len()].to_owned())
            });
            match common {
                Some(common) => {
                    prefixes.push_str(&format!("<CommonPrefixes>{}</CommonPrefixes>", element("Prefix", &common)));
                    after = format!("{common}\u{10FFFF}");
                }
                None => {
                    contents.push_str(&format!(
                        "<Contents>{}{}{}{}<StorageClass>STANDARD</StorageClass></Contents>",
                        element("Key", &row.key),
                        element("LastModified", &instant(row.modified_ms)),
                        element("ETag", &row.etag),
                        element("Size", &row.size.to_string())
                    ));
                    after = row.key;
                }
            }
            count += 1;
        }
        if count == keys_max {
            truncated = !self.access.state.object_list(bucket, prefix, &after, 1)?.is_empty();
        }
        let next = if truncated { element("NextContinuationToken", &hex::encode(&after)) } else { String::new() };
        let delimiter = delimiter.map(|text| element("Delimiter", text)).unwrap_or_default();
        Ok(xml_response(
            StatusCode::OK,
            format!(
                "<ListBucketResult>{}<Prefix>{}</Prefix>{delimiter}<KeyCount>{count}</KeyCount>\
                 <MaxKeys>{keys_max}</MaxKeys><IsTruncated>{truncated}</IsTruncated>{next}{contents}{prefixes}\
                 </ListBucketResult>",
                element("Name", bucket),
                escape(prefix)
            ),
        ))
    }
}

async fn receive(path: &std::path::Path, request: Request) -> Result<Stored, Fault> {
    let mut decoder = is_chunked(request.headers()).then(Decoder::default);
    let mut file = File::create(path).await.map_err(disk)?;
    let mut digest = Sha256::new();
    let mut size = 0_u64;
    let mut stream = request.into_body().into_data_stream();
    let mut plain = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| fault(StatusCode::BAD_REQUEST, "IncompleteBody", "the connection ended early"))?;
        let data: &[u8] = match &mut decoder {
            None => &piece,
            Some(decoder) => {
                plain.clear();
                decoder.push(&piece, &mut plain)?;
                &plain
            }
        };
        size += data.len() as u64;
        if size > OBJECT_BYTES_MAX {
            return Err(fault(StatusCode::BAD_REQUEST, "EntityTooLarge", "the object is too large"));
        }
        digest.update(data);
        file.write_all(data).await.map_err(disk)?;
    }
    if let Some(decoder) = &decoder {
        decoder.finish()?;
    }
    file.flush().await.map_err(disk)?;
    Ok(Stored { size, digest: hex::encode(digest.finalize()) })
}

fn file_body(file: File, length: u64) -> Body {
    let stream = futures_util::stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        let mut buffer = vec![0; READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES))];
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(read);
        Ok(Some((Bytes::from(buffer), (file, left - read as u64))))
    });
    Body::from_stream(stream)
}

fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (from, last) = match (from.parse::<u64>().ok(), to.parse::<u64>().ok()) {
        (Some(from), Some(to)) => (from, to.min(size.checked_sub(1)?)),
        (Some(from), None) => (from, size.checked_sub(1)?),
        (None, Some(tail)) => (size.saturating_sub(tail), size.checked_sub(1)?),
        (None, None) => return None,
    };
    (from <= last).then(|| (from, last - from + 1))
}

fn file_name(key: &str) -> String {
    let name = utf8_percent_encode(key, PLAIN).to_string();
    if name.len() <= FILE_NAME_BYTES_MAX { name } else { hex::encode(Sha256::digest(key)) }
}

fn insert(response: &mut Response, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

fn http_date(milliseconds: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn exists() -> Fault {
    fault(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "At least one of the preconditions did not hold")
}

fn disk(error: std::io::Error) -> Fault {
    tracing::error!(error = &error as &dyn std::error::Error, "blob storage failed");
    fault(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "the blobs folder failed")
}
