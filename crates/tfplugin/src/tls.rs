//! Mutual TLS between Terraform and the provider: each trusts exactly one certificate of the other.
use p521::ecdsa::signature::Verifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, UnixTime, alg_id};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// Why no TLS could be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// PLUGIN_CLIENT_CERT is no certificate in PEM.
    #[error("PLUGIN_CLIENT_CERT is not a certificate")]
    ClientCertificate(#[source] rustls_pki_types::pem::Error),
    /// No own certificate could be made.
    #[error("the provider's certificate could not be made")]
    OwnCertificate(#[source] rcgen::Error),
    /// rustls refused the configuration.
    #[error("TLS could not be configured")]
    Config(#[source] rustls::Error),
}

/// ECDSA on P-521, which Terraform's client certificates use and ring cannot verify.
#[derive(Debug)]
struct P521;

impl SignatureVerificationAlgorithm for P521 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let der = p521::ecdsa::DerSignature::from_bytes(signature).map_err(|_| InvalidSignature)?;
        let signature = p521::ecdsa::Signature::try_from(der).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }
}

static P521_ONLY: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: &[&P521], mapping: &[(SignatureScheme::ECDSA_NISTP521_SHA512, &[&P521])] };

/// Accepts one certificate, byte for byte, and proof of its key.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    ring: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn algorithms(&self, scheme: SignatureScheme) -> &WebPkiSupportedAlgorithms {
        if scheme == SignatureScheme::ECDSA_NISTP521_SHA512 { &P521_ONLY } else { &self.ring }
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(&self, end: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, rustls::Error> {
        if end.as_ref() == self.certificate.as_ref() {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, self.algorithms(signed.scheme))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.algorithms(signed.scheme))
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = P521_ONLY.supported_schemes();
        schemes.extend(self.ring.supported_schemes());
        schemes
    }
}

/// A server that answers only the holder of the given certificate, and its own certificate in DER for the handshake line.
///
/// # Errors
/// When the PEM is no certificate or TLS cannot be configured.
pub(crate) fn server(client_pem: &str) -> Result<(Arc<rustls::ServerConfig>, Vec<u8>), TlsError> {
    let crypto: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(client_pem.as_bytes()).map_err(TlsError::ClientCertificate)?;
    let pinned = Pinned { certificate, ring: crypto.signature_verification_algorithms };
    // The peer compares the name with the address it dials, which for a plugin is always localhost.
    let mut own = rcgen::CertificateParams::new(["localhost".to_owned()]).map_err(TlsError::OwnCertificate)?;
    own.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(TlsError::OwnCertificate)?;
    let own = own.self_signed(&key).map_err(TlsError::OwnCertificate)?;
    let mut config = rustls::ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .with_client_cert_verifier(Arc::new(pinned))
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .map_err(TlsError::Config)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((Arc::new(config), own.der().to_vec()))
}
