//! The agents' authority in KMS: its key signs there and never leaves.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use kiven_ports::PortError;
use sha2::{Digest, Sha256};

use crate::Sdk;
use crate::error::port_error;

/// An elliptic key (NIST P-256) for signing.
#[derive(Clone, Debug)]
pub struct KmsKey {
    client: Client,
    id: String,
}

impl KmsKey {
    /// A key that exists, by its id or ARN.
    #[must_use]
    pub fn new(sdk: &Sdk, id: &str) -> Self {
        Self { client: sdk.kms(), id: id.to_owned() }
    }

    /// The public half: SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// When KMS does not answer, or refuses.
    pub async fn public_key(&self) -> Result<Vec<u8>, PortError> {
        let answer = self.client.get_public_key().key_id(&self.id).send().await.map_err(|error| port_error("kms:GetPublicKey", error))?;
        answer.public_key.map(Blob::into_inner).ok_or_else(|| PortError::retry("kms:GetPublicKey", "an answer without a key"))
    }

    /// An ECDSA signature of the message's SHA-256, DER, as X.509 wants it.
    ///
    /// # Errors
    /// When KMS does not answer, or refuses.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PortError> {
        let digest = Blob::new(Sha256::digest(message).to_vec());
        let sign = self.client.sign().key_id(&self.id).message(digest).message_type(MessageType::Digest);
        let answer = sign.signing_algorithm(SigningAlgorithmSpec::EcdsaSha256).send().await.map_err(|error| port_error("kms:Sign", error))?;
        answer.signature.map(Blob::into_inner).ok_or_else(|| PortError::retry("kms:Sign", "an answer without a signature"))
    }
}
