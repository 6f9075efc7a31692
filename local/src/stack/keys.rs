//! What is secret about the stack itself: made at its first start, kept in `secrets/` with mode 0600.
use super::folder::{Folder, write_whole};
use anyhow::Context;
use kiven_model::OrganizationId;
use kiven_model::ids::ApiKeyId;
use kiven_model::organization::{api_key_id, api_key_text};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use std::path::Path;

/// The stack's keys.
pub(crate) struct Keys {
    /// The one organization.
    pub(crate) organization_id: OrganizationId,
    /// Its API key.
    pub(crate) api_key: String,
    /// The local API server's administrator.
    pub(crate) admin_token: String,
}

impl Keys {
    /// Reads them, or makes them.
    pub(crate) fn open(folder: &Folder) -> anyhow::Result<Self> {
        let kept = |name: &str, make: &dyn Fn() -> anyhow::Result<String>| -> anyhow::Result<String> {
            let file = format!("secrets/{name}");
            match folder.read(&file) {
                Some(text) => Ok(text),
                None => {
                    let text = make()?;
                    folder.write(&file, &text, 0o600)?;
                    Ok(text)
                }
            }
        };
        let organization = kept("organization", &|| Ok(OrganizationId::from_random(random()?).to_string()))?;
        let api_key = kept("api-key", &|| Ok(api_key_text(&ApiKeyId::from_random(random()?), &hex::encode([random()?, random()?].concat()))))?;
        let admin_token = kept("admin-token", &|| Ok(hex::encode(random()?)))?;
        if folder.read("secrets/relay.key").is_none() {
            authority(folder)?;
        }
        Ok(Self { organization_id: OrganizationId::parse(&organization)?, api_key, admin_token })
    }

    /// The API key's public half.
    pub(crate) fn api_key_id(&self) -> anyhow::Result<ApiKeyId> {
        api_key_id(&self.api_key).context("the stack's API key is broken: remove `secrets/api-key` and start again")
    }

    /// Writes what provider and CLI look for.
    pub(crate) fn write_credentials(&self, path: &Path, endpoint: &str, state: &Path) -> anyhow::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let text = serde_json::json!({ "endpoint": endpoint, "api_key": self.api_key, "state": state });
        write_whole(path, &serde_json::to_string_pretty(&text)?, 0o600)
    }
}

pub(crate) fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

/// The agents' authority, and the relay's certificate by it.
fn authority(folder: &Folder) -> anyhow::Result<()> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Kiven agents (local)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    let relay_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let relay = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&relay_key, &Issuer::from_params(&params, &key))?;
    folder.write("secrets/ca.crt", &certificate.pem(), 0o600)?;
    folder.write("secrets/ca.key", &key.serialize_pem(), 0o600)?;
    folder.write("secrets/relay.crt", &relay.pem(), 0o600)?;
    folder.write("secrets/relay.key", &relay_key.serialize_pem(), 0o600)
}
