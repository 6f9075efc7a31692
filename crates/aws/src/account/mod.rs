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

use kiven_model::Problem;
use kiven_ports::PortError;
use kiven_ports::account::{
    Access, AccountNeeds, BackupBucket, BackupRole, ClusterFacts, CustomerAccount, Differences, Inventory, NodeGroup, NodeGroupState, UpdateState,
    Wanted,
};

use crate::Sdk;
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

impl CustomerAccount for Account {
    async fn access_prove(&self, access: &Access) -> Result<(), PortError> {
        self.sessions.prove(access).await
    }

    async fn preflight(&self, access: &Access, needs: &AccountNeeds) -> Result<Vec<Problem>, PortError> {
        let sdk = self.sessions.open(access, Family::Preflight).await?;
        preflight::take(&sdk, access, needs).await
    }

    async fn cluster_get(&self, access: &Access, cluster: &str) -> Result<ClusterFacts, PortError> {
        let sdk = self.sessions.open(access, Family::Cluster).await?;
        clusters::get(&sdk, cluster).await
    }

    async fn oidc_provider_ensure(&self, access: &Access, issuer: &str) -> Result<String, PortError> {
        let sdk = self.sessions.open(access, Family::Cluster).await?;
        clusters::oidc_provider_ensure(&sdk, access, issuer).await
    }

    async fn node_group_ensure(&self, access: &Access, group: &NodeGroup, token: &str) -> Result<NodeGroupState, PortError> {
        let sdk = self.sessions.open(access, Family::Nodes).await?;
        node_groups::ensure(&sdk, access, group, token).await
    }

    async fn node_group_scale(&self, access: &Access, cluster: &str, name: &str, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
        let sdk = self.sessions.open(access, Family::Nodes).await?;
        node_groups::scale(&sdk, access, cluster, name, nodes, token).await
    }

    async fn node_group_delete(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        let sdk = self.sessions.open(access, Family::Nodes).await?;
        node_groups::delete(&sdk, access, cluster, name).await
    }

    async fn node_group_get(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        let sdk = self.sessions.open(access, Family::Nodes).await?;
        node_groups::get(&sdk, access, cluster, name).await
    }

    async fn node_group_release(&self, access: &Access, cluster: &str, name: &str) -> Result<Option<String>, PortError> {
        let sdk = self.sessions.open(access, Family::Nodes).await?;
        node_groups::release(&sdk, access, cluster, name).await
    }

    async fn node_group_patch(&self, access: &Access, cluster: &str, name: &str, token: &str) -> Result<Option<String>, PortError> {
        let sdk = self.sessions.open(access, Family::Nodes).await?;
        patches::start(&sdk, access, cluster, name, token).await
    }

    async fn node_group_update(&self, access: &Access, cluster: &str, name: &str, update: &str) -> Result<UpdateState, PortError> {
        let sdk = self.sessions.open(access, Family::Nodes).await?;
        patches::get(&sdk, cluster, name, update).await
    }

    async fn backup_bucket_ensure(&self, access: &Access, bucket: &BackupBucket) -> Result<(), PortError> {
        let sdk = self.sessions.open(access, Family::Bucket).await?;
        backups::bucket_ensure(&sdk, access, bucket).await
    }

    async fn backup_role_ensure(&self, access: &Access, role: &BackupRole) -> Result<String, PortError> {
        let sdk = self.sessions.open(access, Family::Roles).await?;
        backups::role_ensure(&sdk, access, role).await
    }

    async fn backup_role_delete(&self, access: &Access, name: &str) -> Result<(), PortError> {
        let sdk = self.sessions.open(access, Family::Roles).await?;
        backups::role_delete(&sdk, access, name).await
    }

    async fn inventory(&self, access: &Access, cluster: &str) -> Result<Inventory, PortError> {
        let sdk = self.sessions.open(access, Family::Inventory).await?;
        inventory::take(&sdk, access, cluster).await
    }

    async fn differences(&self, access: &Access, wanted: &Wanted) -> Result<Differences, PortError> {
        let sdk = self.sessions.open(access, Family::Inventory).await?;
        differences::read(&sdk, access, wanted).await
    }
}
