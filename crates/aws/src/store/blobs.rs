//! Payloads in S3 by digest: written once, never changed.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use kiven_ports::{Blobs, PortError};
use sha2::{Digest, Sha256};

use crate::Sdk;
use crate::error::{is, port_error};

/// Payloads of one bucket.
#[derive(Clone, Debug)]
pub struct S3Blobs {
    client: Client,
    bucket: String,
}

impl S3Blobs {
    /// Payloads of a bucket that exists.
    #[must_use]
    pub fn new(sdk: &Sdk, bucket: &str) -> Self {
        Self { client: sdk.s3(), bucket: bucket.to_owned() }
    }

    fn key(digest: &str) -> String {
        format!("payloads/{digest}")
    }
}

impl Blobs for S3Blobs {
    async fn blob_put(&self, bytes: Vec<u8>) -> Result<String, PortError> {
        let digest = hex::encode(Sha256::digest(&bytes));
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(Self::key(&digest))
            .content_type("application/octet-stream")
            .if_none_match("*")
            .body(ByteStream::from(bytes))
            .send()
            .await;
        match put {
            Ok(_) => Ok(digest),
            // The same bytes are there already.
            Err(error) if is(&error, &["PreconditionFailed"]) => Ok(digest),
            // Two writers of the same bytes at once: one of them wins, which one does not matter.
            Err(error) if is(&error, &["ConditionalRequestConflict"]) => Err(PortError::retry("s3:PutObject", "conflict")),
            Err(error) => Err(port_error("s3:PutObject", error)),
        }
    }

    async fn blob_get(&self, digest: &str) -> Result<Option<Vec<u8>>, PortError> {
        let got = self.client.get_object().bucket(&self.bucket).key(Self::key(digest)).send().await;
        match got {
            Ok(object) => {
                let bytes = object.body.collect().await.map_err(|_| PortError::retry("s3:GetObject", "the body ended early"))?.to_vec();
                if hex::encode(Sha256::digest(&bytes)) != digest {
                    return Err(PortError::retry("s3:GetObject", "the body does not match its digest"));
                }
                Ok(Some(bytes))
            }
            Err(error) if is(&error, &["NoSuchKey", "NotFound"]) => Ok(None),
            Err(error) => Err(port_error("s3:GetObject", error)),
        }
    }
}
