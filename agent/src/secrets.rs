//! Secrets that the agent makes itself: a command says which, never what is in it. An existing one is never changed.
use crate::guardrails::judge_secret;
use crate::objects::{api, resource};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use kiven_model::Problem;
use kiven_model::command::{SecretContent, SecretRequest};
use kiven_model::names::DATABASE_NAMESPACE;
use kube::api::{Api, DynamicObject, PostParams};
use kube::{Client, ResourceExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How long a database's own authority is good for. Clients pin it, so it outlives generations.
const AUTHORITY_YEARS: i32 = 10;
/// Random bytes in a password: 192 bits.
const PASSWORD_BYTES: usize = 24;

/// Why a Secret could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("the API server did not take a Secret")]
    Kube(#[from] kube::Error),
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    #[error("a key is not as it was expected")]
    Key,
    #[error("there is no randomness")]
    Randomness,
    #[error("a Secret of that name is another database's")]
    Refused(Problem),
}

fn secrets(client: &Client) -> Api<DynamicObject> {
    api(client, DATABASE_NAMESPACE, &resource("", "v1", "Secret", "secrets"))
}

/// Makes the missing ones; answers the public certificates of authorities, by Secret.
pub(crate) async fn ensure(client: &Client, requests: &[SecretRequest]) -> Result<BTreeMap<String, String>, SecretError> {
    let api = secrets(client);
    let mut certificates = BTreeMap::new();
    for request in requests {
        let present = match api.get_opt(&request.name).await? {
            Some(found) => found,
            None => create(&api, request).await?,
        };
        judge_secret(present.labels(), request).map_err(SecretError::Refused)?;
        if matches!(request.content, SecretContent::CertificateAuthority { .. }) {
            certificates.insert(request.name.clone(), decoded(&present.data, "ca.crt"));
        }
    }
    Ok(certificates)
}

/// Reads one entry of a Secret for use inside the cluster.
pub(crate) async fn read(client: &Client, name: &str, key: &str) -> kube::Result<String> {
    Ok(decoded(&secrets(client).get(name).await?.data, key))
}

/// One entry of a Secret; empty when there is none.
pub(crate) fn decoded(object: &Value, key: &str) -> String {
    let text = object["data"][key].as_str().unwrap_or_default();
    let bytes: Result<k8s_openapi::ByteString, _> = serde_json::from_value(json!(text));
    bytes.ok().and_then(|bytes| String::from_utf8(bytes.0).ok()).unwrap_or_default()
}

async fn create(api: &Api<DynamicObject>, request: &SecretRequest) -> Result<DynamicObject, SecretError> {
    let (kind, data) = match &request.content {
        SecretContent::Password { username } => ("kubernetes.io/basic-auth", json!({ "username": username, "password": password()? })),
        SecretContent::CertificateAuthority { common_name } => {
            let (certificate, key) = authority(common_name)?;
            ("Opaque", json!({ "ca.crt": certificate, "ca.key": key }))
        }
    };
    let encoded: BTreeMap<String, k8s_openapi::ByteString> = match data {
        Value::Object(map) => {
            map.into_iter().map(|(k, v)| (k, k8s_openapi::ByteString(v.as_str().unwrap_or_default().as_bytes().to_vec()))).collect()
        }
        _ => BTreeMap::new(),
    };
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": { "name": request.name, "namespace": DATABASE_NAMESPACE, "labels": request.labels },
        "data": encoded,
    });
    let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &object).await {
        Ok(made) => Ok(made),
        // Another run of this command was first; what it made stays.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(api.get(&request.name).await?),
        Err(error) => Err(error.into()),
    }
}

fn password() -> Result<String, SecretError> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0u8; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| SecretError::Randomness)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect())
}

fn authority(common_name: &str) -> Result<(String, String), SecretError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whole days: a day earlier than now, so that clocks may differ.
    let day = (crate::now() - SignedDuration::from_hours(24)).to_zoned(jiff::tz::TimeZone::UTC).date();
    let (month, date) = (day.month().unsigned_abs(), day.day().min(28).unsigned_abs());
    params.not_before = rcgen::date_time_ymd(i32::from(day.year()), month, date);
    params.not_after = rcgen::date_time_ymd(i32::from(day.year()) + AUTHORITY_YEARS, month, date);
    let text = ec_key(&key).ok_or(SecretError::Key)?;
    Ok((params.self_signed(&key)?.pem(), text))
}

/// Of a P-256 key in PKCS#8, what stands before its 32 secret bytes: the version and the length of them (RFC 5915).
const SECRET_FOLLOWS: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];
/// The sequence, version and length of an `ECPrivateKey` on P-256, and its curve, in DER.
const EC_BEGINS: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const ON_P256: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What stands before its public point.
const POINT_FOLLOWS: [u8; 6] = [0xa1, 0x44, 0x03, 0x42, 0x00, 0x04];

/// A P-256 key as `EC PRIVATE KEY` (RFC 5915): the only form in which the operator takes an authority's key. It refuses PKCS#8.
fn ec_key(key: &KeyPair) -> Option<String> {
    let whole = key.serialize_der();
    let at = whole.windows(SECRET_FOLLOWS.len()).position(|window| window == SECRET_FOLLOWS)? + SECRET_FOLLOWS.len();
    let (secret, point) = (whole.get(at..at + 32)?, key.public_key_raw().strip_prefix(&[0x04])?);
    let der = [&EC_BEGINS, secret, &ON_P256, &POINT_FOLLOWS, point].concat();
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Some(format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::PrivateSec1KeyDer;
    use rustls_pki_types::pem::PemObject;

    #[test]
    fn an_authoritys_key_is_what_the_operator_takes() {
        let (certificate, key) = authority("Kiven shop").unwrap();
        assert!(key.starts_with("-----BEGIN EC PRIVATE KEY-----\n") && key.lines().all(|line| line.len() <= 64), "only this form");
        let der = PrivateSec1KeyDer::from_pem_slice(key.as_bytes()).unwrap();
        // The provider checks that the public point is the secret's own.
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&der.into()).unwrap();
        let certificate = rustls_pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let certified = rustls::sign::CertifiedKey::new(vec![certificate], key);
        certified.keys_match().unwrap();
    }
}
