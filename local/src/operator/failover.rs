//! When the primary is gone: fence what is left of it, promote the standby that has most of its WAL, move the labels.
use super::cluster::Turn;
use super::error::OperatorError;
use super::instance::Instance;
use super::process::{is_occupied, shut_down_at};
use super::sql::Session;
use kiven_fake_kube::kinds;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FAILING_OVER: &str = "Failing over";
const SWITCHING_OVER: &str = "Switchover in progress";
const FENCE_SECONDS_MAX: u64 = 10;
/// The pause between two looks while nobody can write.
const LOOK: Duration = Duration::from_millis(10);
/// How long a standby may take to follow before a switchover is tried again.
const FOLLOW_SECONDS_MAX: u64 = 20;
const LIMITS: [&str; 5] = ["max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"];

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

    /// Whether a setting goes down that no standby may have lower than its primary: then the primary starts again first
    /// (PostgreSQL documentation, "Hot Standby", administrator's overview).
    pub(crate) async fn lowers_limits(&self, primary: &Instance) -> Result<bool, OperatorError> {
        let session = Session::open(primary, "postgres").await?;
        for name in LIMITS {
            let wanted = self.spec.parameters.get(name).and_then(|value| value.as_str()?.parse::<i64>().ok());
            let row = session.row(&format!("SELECT current_setting('{name}')")).await?;
            let now = row.first().cloned().flatten().and_then(|text| text.parse::<i64>().ok());
            if wanted.is_some_and(|wanted| now.is_some_and(|now| wanted < now)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets a standby that follows closely take over: the primary stops in order, which sends everything it has before. Nobody
    /// waits until its last WAL is archived too, which takes seconds: the standby has that WAL, and the old server goes on with it.
    pub(crate) async fn switch_over(&self, primary: &Instance, standbys: &[&Instance]) -> Result<(), OperatorError> {
        let began = Instant::now();
        let end = began + Duration::from_secs(FOLLOW_SECONDS_MAX);
        let heirs = loop {
            let session = Session::open(primary, "postgres").await?;
            let rows = session.rows("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'").await?;
            let streaming = |standby: &&&Instance| rows.iter().any(|row| row.first().cloned().flatten().as_deref() == Some(&standby.name));
            let heirs: Vec<&Instance> = standbys.iter().filter(streaming).copied().collect();
            if !heirs.is_empty() {
                break heirs;
            }
            if Instant::now() > end {
                return Err(OperatorError::Timeout(format!("a standby of {} to follow it", primary.name)));
            }
            sleep(Duration::from_millis(50)).await;
        };
        // While writes go on: the checkpoint of the shutdown, for which they wait, has little left to do.
        Session::open(primary, "postgres").await?.run("CHECKPOINT").await?;
        self.op.phase(self.spec, SWITCHING_OVER, &format!("the primary {} takes what was changed", primary.name))?;
        self.op.processes.ask_to_stop(&self.op.postgres, &primary.data(), "fast").await?;
        self.op.show_pod(self.spec, primary, "replica")?;
        let heir = match self.follower_of_all(primary, &heirs).await? {
            Some(heir) => self.crown(heir).await?,
            None => self.fail_over(primary, &heirs).await?,
        };
        tracing::info!(cluster = self.spec.name, old = primary.name, heir = heir.name, elapsed_ms = began.elapsed().as_millis(), "switched over");
        Ok(())
    }

    /// A standby that has every byte of a primary that was asked to stop and writes no more; none within the bound.
    async fn follower_of_all<'a>(&self, primary: &Instance, heirs: &[&'a Instance]) -> Result<Option<&'a Instance>, OperatorError> {
        let end = Instant::now() + Duration::from_secs(FOLLOW_SECONDS_MAX);
        while Instant::now() < end {
            if let Some(last) = shut_down_at(&primary.data()) {
                for heir in heirs {
                    // What was received begins before the last checkpoint and ends after it.
                    if self.received(heir).await? > last {
                        return Ok(Some(heir));
                    }
                }
            }
            sleep(LOOK).await;
        }
        Ok(None)
    }

    /// How far a standby's WAL goes.
    async fn received(&self, heir: &Instance) -> Result<u64, OperatorError> {
        let session = Session::open(heir, "postgres").await?;
        let position = session.row("SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')").await?;
        Ok(position.first().cloned().flatten().and_then(|text| text.parse().ok()).unwrap_or(0))
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
            sleep(LOOK).await;
        }
        let mut best: Option<(u64, &Instance)> = None;
        for heir in heirs {
            let position = self.received(heir).await?;
            if best.is_none_or(|(most, _)| position > most) {
                best = Some((position, heir));
            }
        }
        let (position, heir) = best.ok_or_else(|| OperatorError::Missing("a standby to promote".into()))?;
        tracing::info!(cluster = self.spec.name, heir = heir.name, position, "the most advanced standby was chosen");
        self.crown(heir).await
    }

    /// Promotes a standby and moves the labels.
    async fn crown(&self, heir: &Instance) -> Result<Instance, OperatorError> {
        let status = |patch: Value| self.op.kube.patch_status(&kinds::CLUSTERS, &self.spec.namespace, &self.spec.name, &patch);
        status(json!({ "targetPrimary": heir.name, "targetPrimaryTimestamp": self.op.stamp() }))?;
        self.promote(heir).await?;
        status(json!({ "currentPrimary": heir.name, "currentPrimaryTimestamp": self.op.stamp() }))?;
        self.op.show_pod(self.spec, heir, "primary")?;
        Ok(heir.clone())
    }
}
