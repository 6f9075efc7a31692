//! The ports of the suite: the shipped adapter on the emulated account, with the simulated world behind it. Every call goes to
//! both; what the simulation does not have of its own (records, agent, doorbell) is the simulation's.
use kiven_aws::account::Account;
use kiven_model::Problem;
use kiven_model::environment::ConnectionSpec;
use kiven_ports::account::{
    Access, AccountNeeds, BackupBucket, BackupRole, ClusterFacts, CustomerAccount, Differences, Inventory, NodeGroup, NodeGroupState, UpdateState,
    Wanted,
};
use kiven_ports::{Clock, PortError, Ports};
use kiven_sim::World;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Everything an operation touches.
pub(crate) struct Emulated {
    pub(crate) world: Arc<World>,
    account: Twin,
    clock: Time,
}

impl Emulated {
    pub(crate) fn new(world: Arc<World>, aws: Account, connection: &ConnectionSpec) -> Self {
        let account = Twin { aws, world: Arc::clone(&world), connection: connection.clone(), updates: Mutex::default() };
        Self { account, clock: Time(Arc::clone(&world)), world }
    }
}

/// The world's time; a call may take real time.
pub(crate) struct Time(Arc<World>);

impl Clock for Time {
    fn now(&self) -> jiff::Timestamp {
        Clock::now(&*self.0)
    }
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl Ports for Emulated {
    type Records = World;
    type Account = Twin;
    type Agents = World;
    type Doorbell = World;
    type Clock = Time;
    type Random = World;

    fn records(&self) -> &World {
        &self.world
    }
    fn account(&self) -> &Twin {
        &self.account
    }
    fn agents(&self) -> &World {
        &self.world
    }
    fn doorbell(&self) -> &World {
        &self.world
    }
    fn clock(&self) -> &Time {
        &self.clock
    }
    fn random(&self) -> &World {
        &self.world
    }
}

/// AWS first; what it allowed happens in the simulation too, so that pods find their nodes.
pub(crate) struct Twin {
    pub(crate) aws: Account,
    world: Arc<World>,
    connection: ConnectionSpec,
    /// Updates of node groups: AWS' id to the simulation's.
    updates: Mutex<BTreeMap<String, String>>,
}

impl Twin {
    /// The same way in, as the simulation knows it.
    fn there(&self, access: &Access) -> Access {
        Access { role_arn: self.world.connection().role_arn, ..access.clone() }
    }

    fn group(&self, group: &NodeGroup) -> NodeGroup {
        let known = self.world.connection();
        let zone = self.connection.subnets.iter().find(|(_, subnet)| **subnet == group.subnet).map(|(zone, _)| zone.clone());
        let subnet = zone.and_then(|zone| known.subnets.get(&zone).cloned()).unwrap_or_default();
        NodeGroup { subnet, launch_template: known.launch_template, ..group.clone() }
    }

    async fn facts(&self, access: &Access) -> Result<(String, String), PortError> {
        let there = self.there(access);
        let cluster = self.world.environment().spec.eks_cluster_name;
        let facts = CustomerAccount::cluster_get(&*self.world, &there, &cluster).await?;
        let provider = CustomerAccount::oidc_provider_ensure(&*self.world, &there, &facts.oidc_issuer).await?;
        Ok((facts.oidc_issuer, provider))
    }
}

/// A change is over when it is over in both.
fn slower(aws: NodeGroupState, there: NodeGroupState) -> NodeGroupState {
    match (aws, there) {
        (NodeGroupState::GivenUp(why), _) | (_, NodeGroupState::GivenUp(why)) => NodeGroupState::GivenUp(why),
        (NodeGroupState::Degraded(why), _) | (_, NodeGroupState::Degraded(why)) => NodeGroupState::Degraded(why),
        (aws, there) if aws == there => aws,
        _ => NodeGroupState::Changing,
    }
}

impl CustomerAccount for Twin {
    async fn access_prove(&self, access: &Access) -> Result<(), PortError> {
        self.aws.access_prove(access).await
    }
    async fn preflight(&self, access: &Access, needs: &AccountNeeds) -> Result<Vec<Problem>, PortError> {
        self.aws.preflight(access, needs).await
    }
    async fn cluster_get(&self, access: &Access, cluster: &str) -> Result<ClusterFacts, PortError> {
        self.aws.cluster_get(access, cluster).await
    }
    async fn oidc_provider_ensure(&self, access: &Access, issuer: &str) -> Result<String, PortError> {
        let made = self.aws.oidc_provider_ensure(access, issuer).await?;
        self.facts(access).await?;
        Ok(made)
    }
    async fn node_group_ensure(&self, access: &Access, group: &NodeGroup, token: &str) -> Result<NodeGroupState, PortError> {
        let aws = self.aws.node_group_ensure(access, group, token).await?;
        Ok(slower(aws, self.world.node_group_ensure(&self.there(access), &self.group(group), token).await?))
    }
    async fn node_group_scale(&self, access: &Access, cluster: &str, name: &str, nodes: u32, token: &str) -> Result<NodeGroupState, PortError> {
        let aws = self.aws.node_group_scale(access, cluster, name, nodes, token).await?;
        Ok(slower(aws, self.world.node_group_scale(&self.there(access), cluster, name, nodes, token).await?))
    }
    async fn node_group_delete(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        let aws = self.aws.node_group_delete(access, cluster, name).await?;
        Ok(slower(aws, self.world.node_group_delete(&self.there(access), cluster, name).await?))
    }
    async fn node_group_list(&self, access: &Access, cluster: &str) -> Result<Vec<String>, PortError> {
        self.aws.node_group_list(access, cluster).await
    }
    async fn node_group_get(&self, access: &Access, cluster: &str, name: &str) -> Result<NodeGroupState, PortError> {
        let aws = self.aws.node_group_get(access, cluster, name).await?;
        Ok(slower(aws, self.world.node_group_get(&self.there(access), cluster, name).await?))
    }
    async fn node_group_release(&self, access: &Access, cluster: &str, name: &str) -> Result<Option<String>, PortError> {
        self.aws.node_group_release(access, cluster, name).await
    }
    async fn node_group_patch(&self, access: &Access, cluster: &str, name: &str, token: &str) -> Result<Option<String>, PortError> {
        let Some(update) = self.aws.node_group_patch(access, cluster, name, token).await? else { return Ok(None) };
        if let Some(there) = self.world.node_group_patch(&self.there(access), cluster, name, token).await? {
            self.updates.lock().unwrap().insert(update.clone(), there);
        }
        Ok(Some(update))
    }
    async fn node_group_update(&self, access: &Access, cluster: &str, name: &str, update: &str) -> Result<UpdateState, PortError> {
        let aws = self.aws.node_group_update(access, cluster, name, update).await?;
        let there = self.updates.lock().unwrap().get(update).cloned();
        let there = match there {
            Some(there) => self.world.node_group_update(&self.there(access), cluster, name, &there).await?,
            None => UpdateState::Done,
        };
        Ok(if there == UpdateState::Running && aws == UpdateState::Done { there } else { aws })
    }
    async fn backup_bucket_ensure(&self, access: &Access, bucket: &BackupBucket) -> Result<(), PortError> {
        self.aws.backup_bucket_ensure(access, bucket).await?;
        self.world.backup_bucket_ensure(&self.there(access), bucket).await
    }
    async fn backup_role_ensure(&self, access: &Access, role: &BackupRole) -> Result<String, PortError> {
        let made = self.aws.backup_role_ensure(access, role).await?;
        let (oidc_issuer, oidc_provider_arn) = self.facts(access).await?;
        self.world.backup_role_ensure(&self.there(access), &BackupRole { oidc_issuer, oidc_provider_arn, ..role.clone() }).await?;
        Ok(made)
    }
    async fn backup_role_delete(&self, access: &Access, name: &str) -> Result<(), PortError> {
        self.aws.backup_role_delete(access, name).await?;
        self.world.backup_role_delete(&self.there(access), name).await
    }
    async fn differences(&self, access: &Access, wanted: &Wanted) -> Result<Differences, PortError> {
        self.aws.differences(access, wanted).await
    }
    async fn inventory(&self, access: &Access, cluster: &str) -> Result<Inventory, PortError> {
        self.aws.inventory(access, cluster).await
    }
}
