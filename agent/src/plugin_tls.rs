//! The TLS Secrets of the backup plugin: made and renewed here, so that no cert-manager is needed.
//!
//! Operator and plugin each take the other's certificate file as what they trust. Both certificates are therefore of one authority
//! of the cluster's own, whose certificate stands in each file: who has read the file before a renewal still trusts what comes
//! after it. Certificates are good for 90 days and renewed when two thirds of that are over.
use crate::objects::{api, resource};
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::operators::Component;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The authority's Secret: nobody but the agent reads it.
const AUTHORITY: &str = "kiven-plugin-authority";
/// The Secrets that the plugin's manifest mounts and its Service names.
const SERVER: &str = "barman-cloud-server-tls";
const CLIENT: &str = "barman-cloud-client-tls";
/// How long a certificate is good for.
const LEAF_DAYS: i64 = 90;
/// How long the authority is: renewed after two thirds of it.
const AUTHORITY_DAYS: i64 = 3650;
/// Clocks may differ by so much.
const EARLIER: SignedDuration = SignedDuration::from_hours(24);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(3600);
/// The label of Secrets that are Kiven's; others are the customer's and left alone.
const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "kiven-agent");

/// A certificate with what it is signed by, and its key; PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What is in a Secret's place.
pub(crate) enum Kept {
    /// Nothing.
    Missing,
    /// Somebody else's Secret.
    Foreign,
    /// Kiven's.
    Own(Pair),
}

/// Where the Secrets are.
pub(crate) trait Keep {
    async fn read(&self, name: &str) -> anyhow::Result<Kept>;
    async fn write(&self, name: &str, pair: &Pair) -> anyhow::Result<()>;
    /// The plugin reads its files when it starts.
    async fn restart_plugin(&self, at: Timestamp) -> anyhow::Result<()>;
}

/// Keeps them good for as long as the process lives.
pub(crate) async fn keep(client: Client) {
    let secrets = InSecrets { client, may_create: false };
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        match look(&secrets, crate::now()).await {
            Ok(renewed) if renewed.is_empty() => {}
            Ok(renewed) => tracing::info!(secrets = renewed.join(", "), "the plugin's certificates were renewed"),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the plugin's certificates could not be looked at"),
        }
    }
}

/// Makes what is missing and renews what is old; answers the names of what was written.
pub(crate) async fn look(keep: &impl Keep, now: Timestamp) -> anyhow::Result<Vec<&'static str>> {
    let mut written = Vec::new();
    let authority = match keep.read(AUTHORITY).await? {
        Kept::Own(pair) if !due(&pair, now) => pair,
        Kept::Foreign => anyhow::bail!("the Secret {AUTHORITY} is not Kiven's"),
        Kept::Own(_) | Kept::Missing => {
            let fresh = authority(now)?;
            keep.write(AUTHORITY, &fresh).await?;
            written.push(AUTHORITY);
            fresh
        }
    };
    let mut restart = false;
    for name in [SERVER, CLIENT] {
        let kept = keep.read(name).await?;
        match &kept {
            Kept::Own(pair) if !due(pair, now) && pair.certificate.ends_with(&authority.certificate) => continue,
            Kept::Foreign => continue,
            Kept::Own(_) | Kept::Missing => keep.write(name, &leaf(name, &authority, now)?).await?,
        }
        restart |= matches!(kept, Kept::Own(_));
        written.push(name);
    }
    if restart {
        keep.restart_plugin(now).await?;
    }
    Ok(written)
}

/// Whether two thirds of a certificate's life are over, or it cannot be read.
fn due(pair: &Pair, now: Timestamp) -> bool {
    let Some((from, until)) = validity(&pair.certificate) else { return true };
    now.as_second() >= from + (until - from) * 2 / 3
}

/// From and until when the first certificate of a file is good, in seconds of Unix time.
fn validity(certificate: &str) -> Option<(i64, i64)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let parsed = pem.parse_x509().ok()?;
    Some((parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()))
}

fn params(common_name: &str, names: Vec<String>, now: Timestamp, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Whole days are enough, and what the library can say.
    let day = |at: Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(now - EARLIER);
    params.not_after = day(now + SignedDuration::from_hours(24 * days));
    Ok(params)
}

fn authority(now: Timestamp) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params("Kiven backup plugin", Vec::new(), now, AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn leaf(name: &str, authority: &Pair, now: Timestamp) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let service = Component::Plugin.deployment();
    let (common_name, names, usage) = if name == SERVER {
        let names = ["", ".kiven-system", ".kiven-system.svc", ".kiven-system.svc.cluster.local"].map(|rest| format!("{service}{rest}"));
        (service.to_owned(), names.to_vec(), ExtendedKeyUsagePurpose::ServerAuth)
    } else {
        (format!("{service}-client"), Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)
    };
    let mut params = params(&common_name, names, now, LEAF_DAYS)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(Pair { certificate: format!("{certificate}{}", authority.certificate), key: key.serialize_pem() })
}

/// In the agent's own namespace.
pub(crate) struct InSecrets {
    client: Client,
    may_create: bool,
}

impl InSecrets {
    /// The installer's: it makes them. The agent has no right to, so that it can make no other Secret either.
    pub(crate) fn create(client: &Client) -> Self {
        Self { client: client.clone(), may_create: true }
    }
    fn secrets(&self) -> Api<DynamicObject> {
        api(&self.client, SYSTEM_NAMESPACE, &resource("", "v1", "Secret", "secrets"))
    }
}

impl Keep for InSecrets {
    async fn read(&self, name: &str) -> anyhow::Result<Kept> {
        let Some(found) = self.secrets().get_opt(name).await? else { return Ok(Kept::Missing) };
        if found.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED.0)).is_none_or(|value| value != MANAGED.1) {
            return Ok(Kept::Foreign);
        }
        let entry = |key| crate::secrets::decoded(&found.data, key);
        Ok(Kept::Own(Pair { certificate: entry("tls.crt"), key: entry("tls.key") }))
    }
    async fn write(&self, name: &str, pair: &Pair) -> anyhow::Result<()> {
        let data: BTreeMap<&str, ByteString> =
            [("tls.crt", &pair.certificate), ("tls.key", &pair.key)].map(|(key, text)| (key, ByteString(text.as_bytes().to_vec()))).into();
        let written = if self.may_create {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": { "name": name, "namespace": SYSTEM_NAMESPACE, "labels": { MANAGED.0: MANAGED.1 } },
                "data": data,
            });
            self.secrets().patch(name, &PatchParams::apply(crate::objects::MANAGER).force(), &Patch::Apply(&secret)).await
        } else {
            self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(&json!({ "data": data }))).await
        };
        written.map(drop).with_context(|| format!("the Secret {name} cannot be written; an upgrade of the chart makes it anew"))
    }
    async fn restart_plugin(&self, at: Timestamp) -> anyhow::Result<()> {
        let deployments = api(&self.client, SYSTEM_NAMESPACE, &resource("apps", "v1", "Deployment", "deployments"));
        let patch: Value = json!({ "spec": { "template": { "metadata": { "annotations": { "kiven.io/certificates-of": at.to_string() } } } } });
        match deployments.patch(Component::Plugin.deployment(), &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            // Not there yet: it will read the new ones.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).context("the plugin could not be restarted"),
        }
    }
}

#[cfg(test)]
#[path = "plugin_tls_tests.rs"]
mod tests;
