//! The archive of statistics: packs in a bucket of its own, each under its environment and its time.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use kiven_ports::statistics::Pack;
use kiven_ports::{PortError, StatisticsArchive};

use crate::Sdk;
use crate::error::{is, port_error};

/// Packs of one bucket.
#[derive(Clone, Debug)]
pub struct S3Packs {
    client: Client,
    bucket: String,
}

impl S3Packs {
    /// Packs of a bucket that exists.
    #[must_use]
    pub fn new(sdk: &Sdk, bucket: &str) -> Self {
        Self { client: sdk.s3(), bucket: bucket.to_owned() }
    }
}

impl StatisticsArchive for S3Packs {
    async fn pack_put(&self, pack: &Pack) -> Result<(), PortError> {
        let body = ByteStream::from(pack.body.clone());
        let put = self.client.put_object().bucket(&self.bucket).key(pack.key()).content_type("application/gzip").body(body).send().await;
        put.map(|_| ()).map_err(|error| port_error("s3:PutObject", error))
    }

    async fn pack_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => {
                let bytes = object.body.collect().await.map_err(|_| PortError::retry("s3:GetObject", "the body ended early"))?;
                Ok(Some(bytes.to_vec()))
            }
            Err(error) if is(&error, &["NoSuchKey", "NotFound"]) => Ok(None),
            Err(error) => Err(port_error("s3:GetObject", error)),
        }
    }
}
