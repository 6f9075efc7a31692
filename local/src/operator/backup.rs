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
        tell(json!({ "phase": "running", "startedAt": started, "backupId": id, "method": "plugin", "serverName": server, "instanceID": { "podName": primary.name } }));
        let scratch = self.state_dir.join("backups").join(format!("{namespace}.{name}"));
        let done = self.base_backup(spec, primary, &scratch, &id).await;
        fs::remove_dir_all(&scratch).ok();
        match done {
            Ok((begin, end)) => {
                tracing::info!(backup = name, cluster = spec.name, elapsed_ms = began.elapsed().as_millis(), "backup completed");
                tell(json!({ "phase": "completed", "stoppedAt": self.stamp(), "beginLSN": begin.lsn, "endLSN": end.lsn, "beginWal": begin.wal, "endWal": end.wal }));
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
        let args = ["-D", &folder, "-d", &source, "-F", "tar", "-X", "none", "-c", "fast", "-v"];
        let said = self.postgres.run("pg_basebackup", &args).await?;
        let point = |name: &str| Point::read(&said, name).ok_or_else(|| OperatorError::Missing(format!("the {name} of a base backup")));
        let points = (point("start point")?, point("end point")?);
        let (id, folder) = (id.to_owned(), folder.clone());
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
                backup["metadata"]["ownerReferences"] = json!([{ "apiVersion": "postgresql.cnpg.io/v1", "kind": "ScheduledBackup", "name": name, "uid": schedule["metadata"]["uid"] }]);
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

impl Point {
    /// Finds `start point: 0/2000028 on timeline 1`, or an end point on the start's time line, in what was said.
    fn read(said: &str, name: &str) -> Option<Self> {
        let timeline: u64 = said.split("on timeline ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        let lsn = said.split(&format!("{name}: ")).nth(1)?.split_whitespace().next()?;
        let (high, low) = lsn.split_once('/')?;
        let (high, low) = (u64::from_str_radix(high, 16).ok()?, u64::from_str_radix(low, 16).ok()?);
        // A position at a segment's very start belongs to the file that ends there when it closes a backup.
        let low = if name.starts_with("end") && low > 0 { low - 1 } else { low };
        Some(Self { lsn: lsn.into(), wal: format!("{timeline:08X}{high:08X}{:08X}", low / SEGMENT_BYTES) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_name_their_wal_files() {
        let said = "pg_basebackup: write-ahead log start point: 0/2000028 on timeline 1\npg_basebackup: write-ahead log end point: 1/3000000\n";
        assert_eq!(Point::read(said, "start point").unwrap().wal, "000000010000000000000002");
        assert_eq!(Point::read(said, "end point").unwrap(), Point { lsn: "1/3000000".into(), wal: "000000010000000100000002".into() });
        assert_eq!(Point::read("nothing", "start point"), None);
    }
}
