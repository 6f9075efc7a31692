//! The authority of a measurement: one key for all agents, a certificate for each.
use kiven_model::EnvironmentId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// Signs what is measured.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    key: KeyPair,
}

impl Authority {
    /// Makes it, and writes what the relay reads: its certificate and key, and the authority's certificate.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "measured");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let relay = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        std::fs::write(folder.join("ca.crt"), issuer.pem())?;
        std::fs::write(folder.join("relay.crt"), relay.pem())?;
        std::fs::write(folder.join("relay.key"), key.serialize_pem())?;
        Ok(Self { issuer, key })
    }

    /// The authority's own certificate.
    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// An agent's certificate and key.
    pub(crate) fn agent(&self, environment: &EnvironmentId) -> anyhow::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, environment.as_str());
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok((certificate.der().clone(), key))
    }
}
