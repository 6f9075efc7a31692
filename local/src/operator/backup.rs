//! Backups: a real base backup to the ObjectStore's bucket, and the first of a ScheduledBackup that asks for one at once.
use super::Operator;
use super::archive::Bucket;
use super::error::OperatorError;
use super::instance::Instance;
use super::settings::socket;
use super::view::{Spec, text};
use kiven_fake_kube::{Selector, kinds};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const SEGMENT_BYTES: u64 = 16 << 20;

/// Running backups, by the Backup's uid.
#[derive(Default)]
pub(crate) struct Backups(HashMap<String, JoinHandle<()>>);

impl Drop for Backups {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

impl Operator {
    /// One pass: starts what can start, and tells what cannot yet.
    pub(crate) fn settle_backups(self: &Arc<Self>, backups: &mut Backups) -> Result<(), OperatorError> {
        self.settle_schedules()?;
        backups.0.retain(|_, task| !task.is_finished());
        for backup in self.kube.list(&kinds::BACKUPS, None, &Selector::all()) {
            let uid = text(&backup, "/metadata/uid").to_owned();
            let over = matches!(text(&backup, "/status/phase"), "completed" | "failed");
            if over || backups.0.contains_key(&uid) {
                continue;
            }
            let (namespace, name) = (text(&backup, "/metadata/namespace").to_owned(), text(&backup, "/metadata/name").to_owned());
            let cluster = self.kube.get(&kinds::CLUSTERS, &namespace, text(&backup, "/spec/cluster/name"));
            let ready = cluster.ok().and_then(|cluster| {
                let (spec, current) = (Spec::of(&cluster), text(&cluster, "/status/currentPrimary").to_owned());
                let primary = self.instances(&spec).into_iter().find(|i| i.name == current && i.server().is_up())?;
                Some((spec, primary, text(&cluster, "/status/phase") == super::cluster::HEALTHY))
            });
            match ready {
                Some((spec, primary, true)) => {
                    let op = self.clone();
                    backups.0.insert(uid, tokio::spawn(async move { op.back_up(&spec, &primary, &namespace, &name).await }));
                }
                _ => drop(self.kube.patch_status(&kinds::BACKUPS, &namespace, &name, &json!({ "phase": "pending" }))?),
            }
        }
        Ok(())
    }

    /// Runs one backup and tells how it went.
    async fn back_up(&self, spec: &Spec, primary: &Instance, namespace: &str, name: &str) {
        let (began, started) = (Instant::now(), self.stamp());
        let id = format!("{}T{}", &started[..10].replace('-', ""), &started[11..19].replace(':', ""));
        let tell = |patch: Value| {
            if let Err(error) = self.kube.patch_status(&kinds::BACKUPS, namespace, name, &patch) {
                tracing::warn!(backup = name, %error, "a backup's status was not written");
            }
        };
        let server = spec.object_store.as_ref().map(|(_, server)| server.clone());
        tell(
            json!({ "phase": "running", "startedAt": started, "backupId": id, "method": "plugin", "serverName": server, "instanceID": { "podName": primary.name } }),
        );
        let scratch = self.state_dir.join("backups").join(format!("{namespace}.{name}"));
        let done = self.base_backup(spec, primary, &scratch, &id).await;
        fs::remove_dir_all(&scratch).ok();
        match done {
            Ok((begin, end)) => {
                tracing::info!(backup = name, cluster = spec.name, elapsed_ms = began.elapsed().as_millis(), "backup completed");
                tell(
                    json!({ "phase": "completed", "stoppedAt": self.stamp(), "beginLSN": begin.lsn, "endLSN": end.lsn, "beginWal": begin.wal, "endWal": end.wal }),
                );
            }
            Err(error) => {
                tracing::warn!(backup = name, cluster = spec.name, error = error.chain(), "backup failed");
                tell(json!({ "phase": "failed", "stoppedAt": self.stamp(), "error": error.chain() }));
            }
        }
    }

    async fn base_backup(&self, spec: &Spec, primary: &Instance, scratch: &Path, id: &str) -> Result<(Point, Point), OperatorError> {
        let bucket = spec.bucket(&self.kube, &self.s3_endpoint)?;
        let bucket = bucket.ok_or_else(|| OperatorError::Missing(format!("a backup plugin in Cluster {}", spec.name)))?;
        fs::remove_dir_all(scratch).ok();
        self.postgres.folder(scratch)?;
        let (folder, source) = (scratch.join("base").display().to_string(), socket(primary, "streaming_replica"));
        // Without WAL in it the backup ends only when the server has archived all that it needs.
        let args = ["-D", &folder, "-d", &source, "-F", "tar", "-X", "none", "-c", "fast"];
        self.postgres.run("pg_basebackup", &args).await?;
        let manifest: Value = serde_json::from_slice(&fs::read(scratch.join("base/backup_manifest"))?).map_err(std::io::Error::from)?;
        let points = points(&manifest).ok_or_else(|| OperatorError::Missing("the WAL range of a base backup".into()))?;
        let id = id.to_owned();
        let upload = tokio::task::spawn_blocking(move || upload(&bucket, Path::new(&folder), &id));
        upload.await.map_err(|_| OperatorError::Timeout("an upload".into()))??;
        Ok(points)
    }

    fn settle_schedules(&self) -> Result<(), OperatorError> {
        for schedule in self.kube.list(&kinds::SCHEDULED_BACKUPS, None, &Selector::all()) {
            let wanted = schedule["spec"]["immediate"] == true && schedule["spec"]["suspend"] != true;
            let cluster = self.kube.get(&kinds::CLUSTERS, text(&schedule, "/metadata/namespace"), text(&schedule, "/spec/cluster/name"));
            let healthy = cluster.is_ok_and(|cluster| text(&cluster, "/status/phase") == super::cluster::HEALTHY);
            if !wanted || !healthy || schedule["status"]["lastScheduleTime"].is_string() {
                continue;
            }
            let (namespace, name) = (text(&schedule, "/metadata/namespace"), text(&schedule, "/metadata/name"));
            let stamp = self.stamp();
            let digits: String = stamp.chars().filter(char::is_ascii_digit).collect();
            let mut backup = json!({
                "metadata": { "name": format!("{name}-{digits}"), "namespace": namespace,
                    "labels": { "cnpg.io/cluster": schedule["spec"]["cluster"]["name"], "cnpg.io/scheduled-backup": name, "cnpg.io/immediateBackup": "true" } },
                "spec": { "cluster": schedule["spec"]["cluster"], "method": schedule["spec"]["method"], "pluginConfiguration": schedule["spec"]["pluginConfiguration"] } });
            if text(&schedule, "/spec/backupOwnerReference") == "self" {
                backup["metadata"]["ownerReferences"] =
                    json!([{ "apiVersion": "postgresql.cnpg.io/v1", "kind": "ScheduledBackup", "name": name, "uid": schedule["metadata"]["uid"] }]);
            }
            match self.kube.create(&kinds::BACKUPS, backup) {
                Err(error) if error.code().0 != 409 => return Err(error.into()),
                _ => {}
            }
            self.kube.patch_status(&kinds::SCHEDULED_BACKUPS, namespace, name, &json!({ "lastScheduleTime": stamp, "lastCheckTime": stamp }))?;
        }
        Ok(())
    }
}

fn upload(bucket: &Bucket, folder: &Path, id: &str) -> Result<(), OperatorError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bucket.put(&format!("base/{id}/{}", entry.file_name().to_string_lossy()), &entry.path())?;
    }
    Ok(())
}

/// A place in the WAL, as position and as file.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    lsn: String,
    wal: String,
}

/// The first and the last place in the WAL that a backup needs, from its manifest.
fn points(manifest: &Value) -> Option<(Point, Point)> {
    let range = manifest["WAL-Ranges"].as_array()?.last()?;
    let timeline = range["Timeline"].as_u64()?;
    // A position at a segment's very start belongs to the file that ends there when it closes a backup.
    Some((point(timeline, text(range, "/Start-LSN"), 0)?, point(timeline, text(range, "/End-LSN"), 1)?))
}

fn point(timeline: u64, lsn: &str, back: u64) -> Option<Point> {
    let (high, low) = lsn.split_once('/')?;
    let position = (u64::from_str_radix(high, 16).ok()? << 32) + u64::from_str_radix(low, 16).ok()? - back;
    let (high, low) = (position >> 32, position & 0xFFFF_FFFF);
    Some(Point { lsn: lsn.into(), wal: format!("{timeline:08X}{high:08X}{:08X}", low / SEGMENT_BYTES) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_name_their_wal_files() {
        let manifest = json!({ "WAL-Ranges": [{ "Timeline": 2, "Start-LSN": "0/2000028", "End-LSN": "1/3000000" }] });
        let (start, end) = points(&manifest).unwrap();
        assert_eq!((start.wal.as_str(), start.lsn.as_str()), ("000000020000000000000002", "0/2000028"));
        assert_eq!(end.wal, "000000020000000100000002");
        assert_eq!(points(&json!({})), None);
    }
}
