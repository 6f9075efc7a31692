//! Customers' AWS accounts: short sessions, fixed policies by family, and nothing touched that Kiven did not make.

mod backups;
mod clusters;
mod differences;
mod inventory;
mod node_groups;
mod owned;
mod patches;
mod permissions;
mod policies;
mod preflight;
mod sessions;

use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use kiven_ports::account::{
    Access, AccountNeeds, BackupBucket, BackupRole, ClusterFacts, CustomerAccount, Differences, Inventory, NodeGroup, NodeGroupState, UpdateState,
    Wanted,
};

use crate::{Sdk, error};
pub(crate) use permissions::denied;
pub use permissions::{Permission, permissions};
pub use policies::Family;
use sessions::Sessions;

/// The adapter; clones share the cache of sessions.
#[derive(Clone)]
pub struct Account {
    sessions: std::sync::Arc<Sessions>,
}

impl Account {
    /// An adapter that assumes customers' roles as `sdk`'s identity.
    #[must_use]
    pub fn new(sdk: Sdk) -> Self {
        Self { sessions: std::sync::Arc::new(Sessions::new(sdk)) }
    }
}

impl Account {
    /// Works in a session of the family's. A kept one may be of a role that is gone or has changed since: what is denied to it is
    /// asked once more in a new one, so that a lost way in is told from a missing permission.
    async fn within<T, F>(&self, access: &Access, family: Family, work: impl Fn(Sdk) -> F + Send + Sync) -> Result<T, PortError>
    where
        T: Denied + Send,
        F: Future<Output = Result<T, PortError>> + Send,
    {
        let opened = self.sessions.open(access, family).await?;
        // Boxed: a drive of all steps is a future of futures, and this is its deepest part.
        let answer = Box::pin(work(opened.sdk.clone())).await;
        let denied = match &answer {
            Ok(found) => found.denied(),
            Err(error) => error::is_denied(error),
        };
        if !opened.kept || !denied {
            return answer;
        }
        self.sessions.drop_kept(access, family, &opened).await;
        let opened = self.sessions.open(access, family).await?;
        Box::pin(work(opened.sdk)).await
    }
}

/// Whether an answer that is no error says that something was denied.
trait Denied {
    fn denied(&self) -> bool {
        false
    }
}

impl Denied for () {}
impl Denied for String {}
impl Denied for Option<String> {}
impl Denied for Vec<String> {}
impl Denied for ClusterFacts {}
impl Denied for NodeGroupState {}
impl Denied for UpdateState {}

impl Denied for Vec<Problem> {
    fn denied(&self) -> bool {
        self.iter().any(|missing| missing.code == Code::PERMISSION_MISSING)
    }
}

impl Denied for Inventory {
    fn denied(&self) -> bool {
        !self.unseen.is_empty()
    }
}

impl Denied for Differences {
    fn denied(&self) -> bool {
        !self.unseen.is_empty()
    }
}

impl CustomerAccount for Account {
    async fn access_prove(&self, access: &Access) -> Result<(), PortError> {
        self.sessions.prove(access).await
    }

    async fn preflight(&self, access: &Access, needs: &AccountNeeds) -> Result<Vec<Problem>, PortError> {
        self.within(access, Family::Preflight, move |sdk| async move { preflight::take(&sdk, access, needs).await }).await
    }

    async fn cluster_get(&self, access: &Access, cluster: &str) -> Result<ClusterFacts, PortError> {
        self.within(access, Family::Cluster, move |sdk| async move { clusters::get(&sdk, cluster).await }).await
    }

    async fn oidc_provider_ensure(&self, access: &Access, issuer: &str) -> Result<String, PortError> {
        self.within(access, Family::Cluster, move |sdk| async move { clusters::oidc_provider_ensure(&sdk, access, issuer).await }).await
    }

    async fn node_group_ensure(&self, access: &Access, group: &NodeGroup, token: &str) -> Result<NodeGroupState, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { node_groups::ensure(&sdk, access, group, token).await }).await
    }

    async fn node_group_scale(&self, access: &Access, cluster: &str, name: &str, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { node_groups::scale(&sdk, access, cluster, name, nodes, token).await }).await
    }

    async fn node_group_delete(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { node_groups::delete(&sdk, access, cluster, name).await }).await
    }

    async fn node_group_list(&self, access: &Access, cluster: &str) -> Result<Vec<String>, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { node_groups::list(&sdk, cluster).await }).await
    }

    async fn node_group_get(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { node_groups::get(&sdk, access, cluster, name).await }).await
    }

    async fn node_group_release(&self, access: &Access, cluster: &str, name: &str) -> Result<Option<String>, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { node_groups::release(&sdk, access, cluster, name).await }).await
    }

    async fn node_group_patch(&self, access: &Access, cluster: &str, name: &str, token: &str) -> Result<Option<String>, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { patches::start(&sdk, access, cluster, name, token).await }).await
    }

    async fn node_group_update(&self, access: &Access, cluster: &str, name: &str, update: &str) -> Result<UpdateState, PortError> {
        self.within(access, Family::Nodes, move |sdk| async move { patches::get(&sdk, cluster, name, update).await }).await
    }

    async fn backup_bucket_ensure(&self, access: &Access, bucket: &BackupBucket) -> Result<(), PortError> {
        self.within(access, Family::Bucket, move |sdk| async move { backups::bucket_ensure(&sdk, access, bucket).await }).await
    }

    async fn backup_role_ensure(&self, access: &Access, role: &BackupRole) -> Result<String, PortError> {
        self.within(access, Family::Roles, move |sdk| async move { backups::role_ensure(&sdk, access, role).await }).await
    }

    async fn backup_role_delete(&self, access: &Access, name: &str) -> Result<(), PortError> {
        self.within(access, Family::Roles, move |sdk| async move { backups::role_delete(&sdk, access, name).await }).await
    }

    async fn inventory(&self, access: &Access, cluster: &str) -> Result<Inventory, PortError> {
        self.within(access, Family::Inventory, move |sdk| async move { inventory::take(&sdk, access, cluster).await }).await
    }

    async fn differences(&self, access: &Access, wanted: &Wanted) -> Result<Differences, PortError> {
        self.within(access, Family::Inventory, move |sdk| async move { differences::read(&sdk, access, wanted).await }).await
    }
}
