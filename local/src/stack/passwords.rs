//! What lets a person at this machine connect: a password file and the authorities' certificates, from the cluster's own Secrets.
use super::folder::Folder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiven_fake_kube::{Handle, Selector, kinds};
use kiven_model::names::{AGENT_ROLE, DATABASE_NAMESPACE};
use serde_json::Value;

/// Keeps `pgpass` (0600) and `ca/NAME.crt` up to date until aborted.
pub(crate) async fn look_after(folder: Folder, kube: Handle) {
    let mut changes = kube.changes();
    let mut written = String::new();
    loop {
        changes.borrow_and_update();
        let text = pgpass(&kube);
        if text != written {
            match folder.write("pgpass", &text, 0o600) {
                Ok(()) => written = text,
                Err(error) => tracing::warn!(error = format!("{error:#}"), "the password file cannot be written"),
            }
        }
        write_authorities(&folder, &kube);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn entry(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// One line a role: `host:port:database:user:password`, with PostgreSQL's escapes.
fn pgpass(kube: &Handle) -> String {
    let escape = |text: String| text.replace('\\', "\\\\").replace(':', "\\:");
    let secrets = kube.list(&kinds::SECRETS, Some(DATABASE_NAMESPACE), &Selector::all());
    let clusters = kube.list(&kinds::CLUSTERS, Some(DATABASE_NAMESPACE), &Selector::all());
    let database = |object: &Value| object["metadata"]["labels"]["kiven.io/database"].as_str().map(ToOwned::to_owned);
    let retired: Vec<String> =
        clusters.iter().filter(|c| c["metadata"]["annotations"]["kiven.io/delete-after"].is_string()).filter_map(|c| database(c)).collect();
    let line = |secret: &Value| {
        // A retired database's name, and so its role's, may be another's by now.
        if database(secret).is_some_and(|id| retired.contains(&id)) {
            return None;
        }
        let (user, password) = (entry(secret, "username")?, entry(secret, "password")?);
        (user != AGENT_ROLE).then(|| format!("*:*:*:{}:{}\n", escape(user), escape(password)))
    };
    secrets.iter().filter_map(|secret| line(secret)).collect()
}

fn write_authorities(folder: &Folder, kube: &Handle) {
    for cluster in kube.list(&kinds::CLUSTERS, Some(DATABASE_NAMESPACE), &Selector::all()) {
        let certificates = &cluster["spec"]["certificates"];
        let name = certificates["serverAltDNSNames"][0].as_str().and_then(|name| name.strip_suffix("-rw"));
        let retired = cluster["metadata"]["annotations"]["kiven.io/delete-after"].is_string();
        let (Some(name), Some(secret), false) = (name, certificates["serverCASecret"].as_str(), retired) else { continue };
        let Ok(secret) = kube.get(&kinds::SECRETS, DATABASE_NAMESPACE, secret) else { continue };
        let Some(certificate) = entry(&secret, "ca.crt") else { continue };
        let file = format!("ca/{name}.crt");
        if folder.read(&file).as_deref() != Some(certificate.as_str())
            && let Err(error) = folder.write(&file, &certificate, 0o644)
        {
            tracing::warn!(error = format!("{error:#}"), name, "an authority's certificate cannot be written");
        }
    }
}
