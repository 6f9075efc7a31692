//! A Cluster's status as CNPG tells it.
use super::cluster::{HEALTHY, HIBERNATION, Outcome, Turn, WAITING};
use super::error::OperatorError;
use super::instance::Instance;
use super::sql::Session;
use super::view::{condition, is_true};
use kiven_fake_kube::kinds;
use serde_json::{Value, json};

impl Turn<'_> {
    /// Tells the Cluster's state as CNPG does.
    pub(crate) async fn report(&self, instances: &[Instance], primary: &Instance, session: &Session) -> Result<Outcome, OperatorError> {
        let facts = session
            .row("SELECT (SELECT system_identifier FROM pg_control_system()), ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
                archived_count, last_failed_time > coalesce(last_archived_time, '-infinity'), failed_count FROM pg_stat_archiver")
            .await?;
        let fact = |at: usize| facts.get(at).cloned().flatten().unwrap_or_default();
        let ready = instances.iter().filter(|instance| instance.server().is_up()).count();
        let names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
        let healthy = ready == instances.len() && ready == self.spec.instances;
        let now = self.op.stamp();
        let mut conditions = self.cluster["status"]["conditions"].clone();
        if let Some(list) = conditions.as_array_mut() {
            list.retain(|c| c["type"] != HIBERNATION);
        }
        conditions = match healthy {
            true => condition(&conditions, "Ready", "True", "ClusterIsReady", "Cluster is Ready", &now),
            false => condition(&conditions, "Ready", "False", "ClusterIsNotReady", "Cluster Is Not Ready", &now),
        };
        if self.bucket.is_some() {
            conditions = self.archiving(conditions, &[fact(2), fact(3), fact(4)], session, &now).await?;
        }
        if healthy && self.cluster["status"]["phase"] != HEALTHY {
            tracing::info!(cluster = self.spec.name, instances = ready, primary = primary.name, "the cluster is healthy");
        }
        let server = format!("{}-server", self.spec.name);
        let ends = self.tls.ends_at.map(|at| at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string());
        self.op.kube.patch_status(&kinds::CLUSTERS, &self.spec.namespace, &self.spec.name, &json!({
            "phase": if healthy { HEALTHY } else { WAITING }, "phaseReason": null,
            "instances": instances.len(), "readyInstances": ready, "instanceNames": names, "healthyPVC": names,
            "systemID": fact(0), "timelineID": fact(1).parse::<u32>().unwrap_or(1), "conditions": conditions,
            "writeService": format!("{}-rw", self.spec.name), "readService": format!("{}-r", self.spec.name),
            "pgDataImageInfo": { "image": format!("postgresql:{}", self.op.postgres.major), "majorVersion": self.op.postgres.major },
            "certificates": { "serverCASecret": self.tls.ca_secret, "serverTLSSecret": server, "expirations": { server.clone(): ends }, "serverAltDNSNames": self.spec.server_names } }))?;
        Ok(Outcome::Settled)
    }

    /// Archiving is proved by the first stored file, which is asked for here instead of waiting for archive_timeout.
    async fn archiving(&self, conditions: Value, archiver: &[String; 3], session: &Session, now: &str) -> Result<Value, OperatorError> {
        let [archived, failing, failed] = archiver;
        if failing == "t" {
            return Ok(condition(
                &conditions,
                "ContinuousArchiving",
                "False",
                "ContinuousArchivingFailing",
                "the last WAL file was not archived",
                now,
            ));
        }
        if archived == "0" {
            if failed == "0" {
                session.run("SELECT pg_switch_wal() WHERE NOT EXISTS (SELECT 1 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')").await?;
            }
            return Ok(match is_true(self.cluster, "ContinuousArchiving") {
                true => conditions,
                false => condition(&conditions, "ContinuousArchiving", "False", "ContinuousArchivingPending", "no WAL file was archived yet", now),
            });
        }
        Ok(condition(&conditions, "ContinuousArchiving", "True", "ContinuousArchivingSuccess", "Continuous archiving is working", now))
    }
}
