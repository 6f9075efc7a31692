//! The ImageCatalog: which PostgreSQL there is, from which registry. The customer's values say it, never Kiven.
use super::config::Config;
use crate::objects::cnpg;
use anyhow::Context;
use kiven_data_services::cnpg::IMAGE_CATALOG;
use kiven_model::names::DATABASE_NAMESPACE;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How long the operator's webhooks and the namespace may take to be there.
const WAIT_SECONDS_MAX: u64 = 120;
const LOOK: Duration = Duration::from_secs(2);

/// Applies the catalog; what stands in the way for a moment is waited for.
pub(super) async fn apply(client: &Client, config: &Config) -> anyhow::Result<()> {
    let images: Vec<_> = config.postgresql_images.iter().map(|(major, image)| json!({ "major": major, "image": image })).collect();
    anyhow::ensure!(!images.is_empty(), "KIVEN_POSTGRESQL_IMAGES names no image");
    let catalog = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "ImageCatalog",
        "metadata": { "name": IMAGE_CATALOG, "namespace": DATABASE_NAMESPACE, "labels": { "app.kubernetes.io/name": "kiven-agent" } },
        "spec": { "images": images },
    });
    let catalogs = cnpg(client, DATABASE_NAMESPACE, "ImageCatalog", "imagecatalogs");
    let deadline = Instant::now() + Duration::from_secs(WAIT_SECONDS_MAX);
    loop {
        match catalogs.patch(IMAGE_CATALOG, &PatchParams::apply("kiven-installer").force(), &Patch::Apply(&catalog)).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error).context("the ImageCatalog was not applied"),
            Err(error) => tracing::info!(%error, "the ImageCatalog is applied again"),
        }
        tokio::time::sleep(LOOK).await;
    }
}
