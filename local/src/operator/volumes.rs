//! Volumes whose claim has gone: the server stops, then Retain keeps the data and Delete removes it.
use super::Operator;
use super::error::OperatorError;
use super::instance::DRIVER;
use super::view::text;
use kiven_fake_kube::{Selector, kinds};
use serde_json::json;
use std::fs;

impl Operator {
    /// One pass over every volume that this operator made.
    pub(crate) async fn settle_volumes(&self) -> Result<(), OperatorError> {
        for volume in self.kube.list(&kinds::VOLUMES, None, &Selector::all()) {
            let claim = (text(&volume, "/spec/claimRef/namespace"), text(&volume, "/spec/claimRef/name"));
            let held = self.kube.get(&kinds::VOLUME_CLAIMS, claim.0, claim.1);
            let held = held.is_ok_and(|held| held["metadata"]["uid"] == volume["spec"]["claimRef"]["uid"]);
            if text(&volume, "/spec/csi/driver") != DRIVER || held {
                continue;
            }
            let name = text(&volume, "/metadata/name");
            let folder = self.volume_folder(name);
            self.processes.stop(&self.postgres, &folder.join("pgdata"), "immediate").await?;
            if text(&volume, "/spec/persistentVolumeReclaimPolicy") == "Delete" {
                match fs::remove_dir_all(&folder) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => {}
                }
                self.remove(&kinds::VOLUMES, "", name)?;
                tracing::info!(volume = name, "a volume was removed");
            } else if text(&volume, "/status/phase") != "Released" {
                self.kube.patch_status(&kinds::VOLUMES, "", name, &json!({ "phase": "Released" }))?;
                tracing::info!(volume = name, "a volume was released");
            }
        }
        Ok(())
    }
}
