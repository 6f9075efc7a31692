//! The server's certificate: signed by the CA Secret that the Cluster names, or by one made here.
use super::eckey;
use super::error::OperatorError;
use super::view::{Spec, decode, text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kiven_fake_kube::{Handle, kinds};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Life of a server certificate, as CNPG has it.
const CERTIFICATE_DAYS: i64 = 90;
const CA_DAYS: i64 = 3650;
/// So long before its end a server certificate is issued anew, as CNPG does.
const RENEWED_DAYS_BEFORE: i64 = 7;
const MARK: &str = "local.kiven.io/signed-for";
/// When the certificate ends.
const ENDS: &str = "local.kiven.io/ends-at";

/// PEM texts that a server needs.
pub(crate) struct Tls {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) ca: String,
    /// Name of the Secret whose CA signed.
    pub(crate) ca_secret: String,
    /// When the certificate ends.
    pub(crate) ends_at: Option<jiff::Timestamp>,
}

/// Finds or makes the CA and the certificate for every name of the Cluster.
pub(crate) fn ensure(kube: &Handle, spec: &Spec, owner: &Value, now: jiff::Timestamp) -> Result<Tls, OperatorError> {
    let ca_secret = spec.server_ca_secret.clone().unwrap_or_else(|| format!("{}-ca", spec.name));
    let found = kube.get(&kinds::SECRETS, &spec.namespace, &ca_secret);
    let ca = match found {
        Err(error) if error.is_not_found() && spec.server_ca_secret.is_none() => {
            let (certificate, key) = own_ca(&spec.name, now)?;
            kube.create(&kinds::SECRETS, secret(&ca_secret, spec, owner, "Opaque", &[("ca.crt", &certificate), ("ca.key", &key)], ""))?
        }
        other => other?,
    };
    let part = |secret: &Value, key: &str| decode(secret, key).ok_or_else(|| OperatorError::Missing(format!("{key} in a Secret of {}", spec.name)));
    let (ca_certificate, ca_key) = (part(&ca, "ca.crt")?, part(&ca, "ca.key")?);
    let names = names(spec);
    let mark = hex::encode(Sha256::digest(format!("{ca_certificate}{names:?}")));
    let server_secret = format!("{}-server", spec.name);
    let kept = match kube.get(&kinds::SECRETS, &spec.namespace, &server_secret) {
        Ok(kept) if text(&kept, "/metadata/annotations/local.kiven.io~1signed-for") == mark && !ending(&kept, now) => kept,
        Ok(_) => {
            let fresh = signed(&names, &ca_certificate, &ca_key, now)?;
            let data = json!({ "data": { "tls.crt": STANDARD.encode(fresh.0), "tls.key": STANDARD.encode(fresh.1) }, "metadata": { "annotations": { MARK: mark, ENDS: end(now) } } });
            kube.patch(&kinds::SECRETS, &spec.namespace, &server_secret, &data)?
        }
        Err(error) if error.is_not_found() => {
            let (certificate, key) = signed(&names, &ca_certificate, &ca_key, now)?;
            let data = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
            let mut object = secret(&server_secret, spec, owner, "kubernetes.io/tls", &data, &mark);
            object["metadata"]["annotations"][ENDS] = json!(end(now));
            kube.create(&kinds::SECRETS, object)?
        }
        Err(error) => return Err(error.into()),
    };
    let ends_at = ends(&kept);
    Ok(Tls { certificate: part(&kept, "tls.crt")?, key: part(&kept, "tls.key")?, ca: ca_certificate, ca_secret, ends_at })
}

/// The end of a certificate issued now, as [`validity`] has it: midnight.
fn end(now: jiff::Timestamp) -> String {
    let date = (now + jiff::SignedDuration::from_hours(24 * CERTIFICATE_DAYS)).to_zoned(jiff::tz::TimeZone::UTC).date();
    format!("{date}T00:00:00Z")
}

fn ends(secret: &Value) -> Option<jiff::Timestamp> {
    text(secret, "/metadata/annotations/local.kiven.io~1ends-at").parse().ok()
}

/// One that was issued before its end was written down ends within its life's days; that is told when it is issued anew.
fn ending(secret: &Value, now: jiff::Timestamp) -> bool {
    ends(secret).is_some_and(|ends| ends.duration_since(now) < jiff::SignedDuration::from_hours(24 * RENEWED_DAYS_BEFORE))
}

fn names(spec: &Spec) -> Vec<String> {
    let mut names = spec.server_names.clone();
    for kind in ["rw", "r", "ro"] {
        let service = format!("{}-{kind}", spec.name);
        names.extend([service.clone(), format!("{service}.{}", spec.namespace), format!("{service}.{}.svc", spec.namespace)]);
    }
    names.sort();
    names.dedup();
    names
}

fn secret(name: &str, spec: &Spec, owner: &Value, kind: &str, data: &[(&str, &str)], mark: &str) -> Value {
    let data: serde_json::Map<String, Value> = data.iter().map(|(key, value)| ((*key).into(), json!(value))).collect();
    json!({
        "metadata": { "name": name, "namespace": spec.namespace, "labels": { "cnpg.io/cluster": spec.name }, "annotations": { MARK: mark }, "ownerReferences": [owner] },
        "type": kind, "stringData": data })
}

fn validity(params: &mut CertificateParams, now: jiff::Timestamp, days: i64) {
    let day = |offset: i64| {
        let date = (now + jiff::SignedDuration::from_hours(24 * offset)).to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(-1), day(days));
}

fn own_ca(cluster: &str, now: jiff::Timestamp) -> Result<(String, String), OperatorError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("{cluster} CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, now, CA_DAYS);
    let text = eckey::written(&key).ok_or_else(|| OperatorError::Missing("the authority's key".to_owned()))?;
    Ok((params.self_signed(&key)?.pem(), text))
}

fn signed(names: &[String], ca_certificate: &str, ca_key: &str, now: jiff::Timestamp) -> Result<(String, String), OperatorError> {
    let issuer = Issuer::from_ca_cert_pem(ca_certificate, eckey::read(ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    validity(&mut params, now, CERTIFICATE_DAYS);
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}
