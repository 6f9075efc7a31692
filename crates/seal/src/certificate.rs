//! The customer's word for a reader's key: an Ed25519 signature over database, session, key and end.
use crate::SealError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiven_model::logs::ReaderCertificate;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public key of the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey([u8; 32]);

impl TrustedKey {
    /// Reads one as it stands in a PEM file, without its first and last line.
    ///
    /// # Errors
    /// When it is no Ed25519 key.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SealError::TrustedKey)?;
        let key = bytes.strip_prefix(PREFIX.as_slice()).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(SealError::TrustedKey)
    }
}

/// Whether one of these keys has signed a statement.
#[must_use]
pub fn is_certified(trusted: &[TrustedKey], certificate: Option<&ReaderCertificate>, statement: &str) -> bool {
    let Some(certificate) = certificate else { return false };
    let (Ok(key), Ok(signature)) = (TrustedKey::parse(&certificate.public_key), hex::decode(&certificate.signature)) else { return false };
    trusted.contains(&key) && UnparsedPublicKey::new(&ED25519, key.0).verify(statement.as_bytes(), &signature).is_ok()
}

/// A private key of the customer.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads one from a PEM file's text.
    ///
    /// # Errors
    /// When it is no Ed25519 key in PKCS #8.
    pub fn parse(pem: &[u8]) -> Result<Self, SealError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| SealError::SigningKey)?;
        // OpenSSL writes the private half alone; the public one is computed from it.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).map(Self).map_err(|_| SealError::SigningKey)
    }

    /// Its public half, as `trustedReaders` takes it.
    #[must_use]
    pub fn public_key(&self) -> String {
        STANDARD.encode([PREFIX.as_slice(), self.0.public_key().as_ref()].concat())
    }

    /// Signs a statement.
    #[must_use]
    pub fn certify(&self, statement: &str) -> ReaderCertificate {
        ReaderCertificate { public_key: self.public_key(), signature: hex::encode(self.0.sign(statement.as_bytes())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The private key of RFC 8032's first example, in the form in which `openssl genpkey -algorithm ed25519` writes one.
    const PRIVATE: &str =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    /// Its public half there.
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn a_key_of_openssl_signs_and_is_trusted_by_its_public_half() {
        let key = SigningKey::parse(PRIVATE.as_bytes()).unwrap();
        let trusted = TrustedKey::parse(&key.public_key()).unwrap();
        assert_eq!(hex::encode(trusted.0), PUBLIC);
        let certificate = key.certify("this reader");
        assert!(is_certified(std::slice::from_ref(&trusted), Some(&certificate), "this reader"));
        assert!(!is_certified(std::slice::from_ref(&trusted), Some(&certificate), "another reader"));
        assert!(!is_certified(std::slice::from_ref(&trusted), None, "this reader"));
        assert!(!is_certified(&[], Some(&certificate), "this reader"));
        let forged = ReaderCertificate { signature: "00".repeat(64), ..certificate };
        assert!(!is_certified(&[trusted], Some(&forged), "this reader"));
    }

    #[test]
    fn a_key_that_nobody_trusts_certifies_nothing() {
        let fresh = || {
            let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
            SigningKey(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
        };
        let (ours, theirs) = (fresh(), fresh());
        let trusted = TrustedKey::parse(&ours.public_key()).unwrap();
        assert!(is_certified(std::slice::from_ref(&trusted), Some(&ours.certify("x")), "x"));
        assert!(!is_certified(&[trusted], Some(&theirs.certify("x")), "x"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in ["", "AAAA", "not base64", "MCowBQYDK2VwAyEA"] {
            assert!(TrustedKey::parse(wrong).is_err(), "{wrong}");
        }
        assert!(SigningKey::parse(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
        assert!(SigningKey::parse(b"nothing").is_err());
    }
}
