//! Items: typed values packed as JSON, small ones inline, large ones in S3 by digest.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use kiven_model::{Code, Problem};
use kiven_ports::{Blobs, PortError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::S3Blobs;

/// Largest document of a head: with keys and index attributes a head stays under 4 KB, one read unit.
pub(super) const HEAD_BYTES_MAX: usize = 3_500;
/// Largest document of any other item.
pub(super) const PAYLOAD_BYTES_MAX: usize = 32 * 1024;

/// The attribute of the table's time to live, in seconds since 1970.
pub(super) const EXPIRES_AT: &str = "expires_at";

pub(super) type Attributes = HashMap<String, AttributeValue>;

/// A string attribute.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// DynamoDB's own time to live: the item goes by itself some time after these days.
pub(super) fn expires(item: &mut Attributes, from: Timestamp, days: i64) {
    let at = from.as_second().saturating_add(days.saturating_mul(24 * 3600));
    item.insert(EXPIRES_AT.to_owned(), number(at));
}

/// The primary key.
pub(super) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Attributes {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// Packs a value into the item: inline up to `bytes_max`, else in S3.
pub(super) async fn pack<T: Serialize + Sync>(item: &mut Attributes, value: &T, bytes_max: usize, blobs: &S3Blobs) -> Result<(), PortError> {
    let document = serde_json::to_string(value).map_err(|error| broken(&error))?;
    if document.len() <= bytes_max {
        item.insert("doc".to_owned(), text(document));
    } else {
        let digest = blobs.blob_put(document.into_bytes()).await?;
        item.insert("doc_digest".to_owned(), text(digest));
    }
    Ok(())
}

/// Reads a packed value.
pub(super) async fn unpack<T: DeserializeOwned>(item: &Attributes, blobs: &S3Blobs) -> Result<T, PortError> {
    if let Some(AttributeValue::S(document)) = item.get("doc") {
        return serde_json::from_str(document).map_err(|error| broken(&error));
    }
    let Some(AttributeValue::S(digest)) = item.get("doc_digest") else {
        return Err(unreadable("it has no document"));
    };
    match blobs.blob_get(digest).await? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| broken(&error)),
        // The payload is written before the item that names it, so this is not a race but a loss.
        None => Err(unreadable("its payload is missing")),
    }
}

/// A string attribute's value.
pub(super) fn text_of<'a>(item: &'a Attributes, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
}

/// A number attribute's value.
pub(super) fn number_of(item: &Attributes, name: &str) -> Option<u64> {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok())
}

fn broken(error: &serde_json::Error) -> PortError {
    unreadable(&error.to_string())
}

fn unreadable(why: &str) -> PortError {
    PortError::Refused(Problem::new(Code::UNAVAILABLE, "A stored record cannot be read.").detail(why))
}
