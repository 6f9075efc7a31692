//! When the primary is gone: fence what is left of it, promote the standby that has most of its WAL, move the labels.
use super::cluster::Turn;
use super::error::OperatorError;
use super::instance::Instance;
use super::process::is_occupied;
use super::sql::Session;
use kiven_fake_kube::kinds;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FAILING_OVER: &str = "Failing over";
const FENCE_SECONDS_MAX: u64 = 10;

impl Turn<'_> {
    pub(crate) async fn promote(&self, heir: &Instance) -> Result<(), OperatorError> {
        let began = Instant::now();
        let session = Session::open(heir, "postgres").await?;
        let answer = session.row("SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(true, 60) ELSE true END").await?;
        if answer.first().cloned().flatten().as_deref() != Some("t") {
            return Err(OperatorError::Timeout(format!("the promotion of {}", heir.name)));
        }
        tracing::info!(cluster = self.spec.name, instance = heir.name, elapsed_ms = began.elapsed().as_millis(), "promoted");
        Ok(())
    }

    /// Fences the dead primary, promotes the standby that has most of its WAL, and moves the labels.
    pub(crate) async fn fail_over(&self, old: &Instance, heirs: &[&Instance]) -> Result<Instance, OperatorError> {
        tracing::warn!(cluster = self.spec.name, old = old.name, heirs = heirs.len(), "the primary is gone, failing over");
        self.op.phase(self.spec, FAILING_OVER, &format!("the primary {} is gone", old.name))?;
        self.op.show_pod(self.spec, old, "replica")?;
        let end = Instant::now() + Duration::from_secs(FENCE_SECONDS_MAX);
        while is_occupied(&old.data()) {
            if Instant::now() > end {
                return Err(OperatorError::Timeout("the old primary's processes to end".into()));
            }
            sleep(Duration::from_millis(100)).await;
        }
        let mut best: Option<(u64, &Instance)> = None;
        for heir in heirs {
            let session = Session::open(heir, "postgres").await?;
            let position = session.row("SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')").await?;
            let position = position.first().cloned().flatten().and_then(|text| text.parse().ok()).unwrap_or(0);
            if best.is_none_or(|(most, _)| position > most) {
                best = Some((position, heir));
            }
        }
        let (position, heir) = best.ok_or_else(|| OperatorError::Missing("a standby to promote".into()))?;
        tracing::info!(cluster = self.spec.name, heir = heir.name, position, "the most advanced standby was chosen");
        let status = |patch: Value| self.op.kube.patch_status(&kinds::CLUSTERS, &self.spec.namespace, &self.spec.name, &patch);
        status(json!({ "targetPrimary": heir.name, "targetPrimaryTimestamp": self.op.stamp() }))?;
        self.promote(heir).await?;
        status(json!({ "currentPrimary": heir.name, "currentPrimaryTimestamp": self.op.stamp() }))?;
        self.op.show_pod(self.spec, heir, "primary")?;
        Ok(heir.clone())
    }
}
