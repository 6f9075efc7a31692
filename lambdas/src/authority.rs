//! The authority that signs the certificates of agents and relays. On AWS its key is in KMS and its own certificate is made anew
//! by each instance: whoever verifies uses its name and its key, which stay; nothing about it has to be stored.
use crate::config::AuthorityConfig;
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use kiven_aws::Sdk;
use kiven_aws::authority::KmsKey;
use kiven_model::api::EnrolResponse;
use kiven_model::enrolment::CERTIFICATE_BACKDATED;
use kiven_model::{Code, EnvironmentId, Problem};
use kiven_ports::PortError;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo,
};
use std::cell::RefCell;
use std::path::Path;

/// The authority's name; it never changes, as it is what certificates name as their issuer.
const NAME: &str = "Kiven agents";
/// How long an agent's certificate is good, in hours. A stolen one is soon worthless; agents renew at two thirds.
const AGENT_HOURS: i64 = 24;
/// How long a relay's is; a relay ends well before, and the next one asks again.
const RELAY_DAYS: i64 = 30;
/// How long the authority's own certificate is.
const AUTHORITY_DAYS: i64 = 3_650;

/// Where the key is.
enum Key {
    File(Box<KeyPair>),
    Kms(KmsKey),
}

/// The authority that signs certificates.
pub struct Authority {
    certificate: String,
    public: SubjectPublicKeyInfo,
    key: Key,
    relay_host: Option<String>,
}

impl Authority {
    /// Opens the authority: reads its files, or asks KMS for its public key and makes its certificate.
    ///
    /// # Errors
    /// When a file is not what it should be, or KMS does not answer.
    pub async fn open(config: &AuthorityConfig, sdk: &Sdk, now: Timestamp, serial: [u8; 16]) -> anyhow::Result<Self> {
        match config {
            AuthorityConfig::Files { certificate, key } => Self::read(certificate, key),
            AuthorityConfig::Kms { key_id, relay_host } => Self::in_kms(KmsKey::new(sdk, key_id), relay_host, now, serial).await,
        }
    }

    /// Reads certificate and key, PEM. It signs for agents only: where its key is a file, a relay's certificate is one too.
    fn read(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let certificate = read(certificate)?;
        let key = KeyPair::from_pem(&read(key)?).context("the authority's key is not a key")?;
        Issuer::from_ca_cert_pem(&certificate, &key).context("the authority's certificate is not one")?;
        let public = SubjectPublicKeyInfo::from_der(&key.subject_public_key_info()).context("the authority's key cannot be used")?;
        Ok(Self { certificate, public, key: Key::File(Box::new(key)), relay_host: None })
    }

    async fn in_kms(key: KmsKey, relay_host: &str, now: Timestamp, serial: [u8; 16]) -> anyhow::Result<Self> {
        let public = SubjectPublicKeyInfo::from_der(&key.public_key().await?).context("the authority's key cannot be used")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        good_from_to(&mut params, now, now + SignedDuration::from_hours(24 * AUTHORITY_DAYS), serial);
        let mut authority = Self { certificate: String::new(), public, key: Key::Kms(key), relay_host: Some(relay_host.to_owned()) };
        authority.certificate = authority.signed(|signer| params.self_signed(signer)).await?.pem();
        Ok(authority)
    }

    /// Signs an agent's certificate: for the request's public key and nothing else of it.
    ///
    /// # Errors
    /// When the request cannot be read, or KMS does not sign.
    pub async fn sign_agent(&self, environment: &EnvironmentId, request: &str, now: Timestamp, serial: [u8; 16]) -> Result<EnrolResponse, Problem> {
        let mut params = CertificateParams::new(Vec::new()).map_err(unreadable)?;
        params.distinguished_name.push(DnType::CommonName, environment.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let expires_at = now + SignedDuration::from_hours(AGENT_HOURS);
        good_from_to(&mut params, now, expires_at, serial);
        self.sign(&params, request, expires_at).await
    }

    /// Signs a relay's certificate, for the configured name.
    ///
    /// # Errors
    /// When the request cannot be read, KMS does not sign, or this authority signs for agents only.
    pub async fn sign_relay(&self, request: &str, now: Timestamp, serial: [u8; 16]) -> Result<EnrolResponse, Problem> {
        let host = self.relay_host.clone().ok_or_else(|| Problem::new(Code::ENROLMENT_REFUSED, "this authority signs for agents only"))?;
        let mut params = CertificateParams::new(vec![host]).map_err(unreadable)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let expires_at = now + SignedDuration::from_hours(24 * RELAY_DAYS);
        good_from_to(&mut params, now, expires_at, serial);
        self.sign(&params, request, expires_at).await
    }

    async fn sign(&self, params: &CertificateParams, request: &str, expires_at: Timestamp) -> Result<EnrolResponse, Problem> {
        let request = CertificateSigningRequestParams::from_pem(request).map_err(unreadable)?;
        let signed = self.signed(|signer| params.signed_by(&request.public_key, &Issuer::from_ca_cert_pem(&self.certificate, signer)?)).await;
        let certificate =
            signed.map_err(|error| Problem::new(Code::UNAVAILABLE, "the authority cannot sign right now").detail(format!("{error:#}")))?;
        Ok(EnrolResponse { certificate: certificate.pem(), authority: self.certificate.clone(), expires_at })
    }

    /// Builds a certificate twice: once to learn what is to be signed, and once with the signature, which may come from far away.
    async fn signed(&self, build: impl Fn(&Signer<'_>) -> Result<Certificate, rcgen::Error>) -> anyhow::Result<Certificate> {
        let message = {
            let signer = Signer { public: &self.public, message: RefCell::default(), signature: Vec::new() };
            build(&signer)?;
            signer.message.into_inner()
        };
        let signature = match &self.key {
            Key::File(pair) => pair.sign(&message)?,
            Key::Kms(key) => key.sign(&message).await.map_err(|error: PortError| anyhow::anyhow!("{error}"))?,
        };
        let signer = Signer { public: &self.public, message: RefCell::default(), signature };
        let certificate = build(&signer)?;
        anyhow::ensure!(signer.message.into_inner() == message, "the certificate changed while it was signed");
        Ok(certificate)
    }
}

/// A key whose signature is known already, or not needed yet.
struct Signer<'a> {
    public: &'a SubjectPublicKeyInfo,
    message: RefCell<Vec<u8>>,
    signature: Vec<u8>,
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        message.clone_into(&mut self.message.borrow_mut());
        Ok(self.signature.clone())
    }
}

fn good_from_to(params: &mut CertificateParams, from: Timestamp, to: Timestamp, serial: [u8; 16]) {
    params.not_before = std::time::SystemTime::from(from - CERTIFICATE_BACKDATED).into();
    params.not_after = std::time::SystemTime::from(to).into();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

fn unreadable(_: rcgen::Error) -> Problem {
    Problem::new(Code::ENROLMENT_REFUSED, "enrolment refused: the certificate request cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_signed_verifies_with_the_authority_and_carries_nothing_of_the_request() {
        let folder = std::env::temp_dir().join(format!("kiven-authority-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let files = [folder.join("ca.crt"), folder.join("ca.key")];
        std::fs::write(&files[0], params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        let authority = Authority::read(&files[0], &files[1]).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();

        let agent = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut wanted = CertificateParams::new(vec!["relay.example.com".to_owned()]).unwrap();
        wanted.distinguished_name.push(DnType::CommonName, "somebody else");
        let request = wanted.serialize_request(&agent).unwrap().pem().unwrap();
        let environment = EnvironmentId::from_random([7; 16]);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let answer = authority.sign_agent(&environment, &request, now, [5; 16]).await.unwrap();

        let [leaf, root] = [&answer.certificate, &answer.authority].map(|pem| x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1);
        let (leaf, root) = (leaf.parse_x509().unwrap(), root.parse_x509().unwrap());
        assert!(leaf.verify_signature(Some(root.public_key())).is_ok());
        assert_eq!(leaf.subject().to_string(), format!("CN={environment}"));
        assert_eq!(leaf.issuer().to_string(), format!("CN={NAME}"));
        assert!(leaf.subject_alternative_name().unwrap().is_none());
        assert_eq!(leaf.validity().not_after.timestamp(), 1_800_000_000 + 24 * 3600);
        assert_eq!(answer.expires_at, now + SignedDuration::from_hours(24));

        let refused = authority.sign_relay(&request, now, [5; 16]).await.unwrap_err();
        assert_eq!(refused.code, Code::ENROLMENT_REFUSED);
        assert!(authority.sign_agent(&environment, "nonsense", now, [5; 16]).await.is_err());
    }
}
