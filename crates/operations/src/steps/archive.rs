//! Where backups go: the environment's bucket and the generation's role.
use super::access::enter;
use crate::input::DatabaseInput;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_ports::account::{Access, BackupBucket, BackupRole};
use kiven_ports::{CustomerAccount, Ports};
use serde::Serialize;

/// Step 3: the environment's bucket, shared by its databases.
#[derive(Debug, Clone, Serialize)]
pub struct EnsureBackupBucket {
    access: Access,
    bucket: BackupBucket,
}

impl EnsureBackupBucket {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { access: input.access.clone(), bucket: input.bucket() }
    }
}

impl<P: Ports> Step<P> for EnsureBackupBucket {
    const NAME: &'static str = "ensure_backup_bucket";
    type Output = ();
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<()>, StepError> {
        enter(ports, &self.access, |access| async move { ports.account().backup_bucket_ensure(&access, &self.bucket).await }).await?;
        Ok(Progress::Done(()))
    }
    async fn undo(&self, _: &P, _: &At, _: Option<()>) -> Result<Progress<()>, StepError> {
        Ok(Progress::Done(())) // the bucket outlives the database: it holds backups
    }
}

/// Step 4: the role of this generation's backups, limited to its ServiceAccount and prefix.
#[derive(Debug, Clone, Serialize)]
pub struct EnsureBackupRole {
    access: Access,
    role: BackupRole,
}

impl EnsureBackupRole {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { access: input.access.clone(), role: input.backup_role() }
    }
}

impl<P: Ports> Step<P> for EnsureBackupRole {
    const NAME: &'static str = "ensure_backup_role";
    type Output = String;
    async fn run(&self, ports: &P, _: &At) -> Result<Progress<String>, StepError> {
        let arn = enter(ports, &self.access, |access| async move { ports.account().backup_role_ensure(&access, &self.role).await }).await?;
        Ok(Progress::Done(arn))
    }
    async fn undo(&self, ports: &P, _: &At, _: Option<String>) -> Result<Progress<()>, StepError> {
        enter(ports, &self.access, |access| async move { ports.account().backup_role_delete(&access, &self.role.name).await }).await?;
        Ok(Progress::Done(()))
    }
}
