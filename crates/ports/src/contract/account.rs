//! What every implementation of [`CustomerAccount`] must do.
use super::records::{failed, holds};
use crate::PortError;
use crate::account::{
    Access, AccountNeeds, BackupBucket, BackupRole, CustomerAccount, Inventory, NodeGroup, NodeGroupState, ResourceKind, UpdateState,
};
use kiven_model::names::backup_bucket;
use kiven_model::{Code, DatabaseId, EnvironmentId, Problem};
use std::future::Future;

/// Looks at a change before it is called endless.
const LOOKS_MAX: u32 = 50;

/// An account as the customer has prepared it for one environment.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The way in.
    pub access: Access,
    /// The EKS cluster.
    pub cluster: String,
    /// A subnet of it.
    pub subnet: String,
    /// The launch template.
    pub launch_template: String,
    /// The nodes' role.
    pub node_role_arn: String,
    /// The customer's key for backups.
    pub kms_key_arn: Option<String>,
}

impl Prepared {
    fn database(&self) -> DatabaseId {
        DatabaseId::from_random([4; 16])
    }
    fn group(&self, nodes: u32) -> NodeGroup {
        let database_id = self.database();
        NodeGroup {
            name: kiven_model::names::node_group(&database_id, "eu-west-1a", "m6g.large"),
            cluster: self.cluster.clone(),
            database_id,
            node_type: "m6g.large".to_owned(),
            node_types: vec!["m6g.large".to_owned(), "m7g.large".to_owned()],
            subnet: self.subnet.clone(),
            launch_template: self.launch_template.clone(),
            node_role_arn: self.node_role_arn.clone(),
            nodes,
        }
    }
    fn bucket(&self) -> BackupBucket {
        let name = backup_bucket(&self.access.account_id, &self.access.region, &self.access.environment_id);
        BackupBucket { name, noncurrent_days: 35, kms_key_arn: self.kms_key_arn.clone() }
    }
    fn role(&self, issuer: &str, provider: &str) -> BackupRole {
        let database_id = self.database();
        BackupRole {
            name: format!("kiven-{}-backup-1", database_id.short(10)),
            prefix: format!("{database_id}/1"),
            database_id,
            oidc_provider_arn: provider.to_owned(),
            oidc_issuer: issuer.to_owned(),
            service_account: "kiven-databases:shop-abc-1".to_owned(),
            bucket: self.bucket().name,
            kms_key_arn: self.kms_key_arn.clone(),
        }
    }
}

fn refused<T>(result: Result<T, PortError>, codes: &[Code], rule: &str) -> Result<(), String> {
    match result {
        Err(PortError::Refused(Problem { code, .. })) if codes.contains(&code) => Ok(()),
        Err(error) => Err(format!("{rule}: {error}")),
        Ok(_) => Err(format!("{rule}: it was allowed")),
    }
}

/// Runs the suite on a prepared account that holds nothing of Kiven's. `pass` lets the time pass that changes take.
///
/// # Errors
/// The first rule that does not hold.
pub async fn account<A: CustomerAccount, F: Future<Output = ()>>(account: &A, prepared: &Prepared, pass: impl Fn() -> F) -> Result<(), String> {
    entry(account, prepared).await?;
    node_groups(account, prepared, &pass).await?;
    backups(account, prepared).await?;
    inventory(account, prepared, &pass).await
}

async fn entry<A: CustomerAccount>(account: &A, prepared: &Prepared) -> Result<(), String> {
    let access = &prepared.access;
    account.access_prove(access).await.map_err(failed)?;
    let wrong = Access { external_id: "0123456789abcdef-another".to_owned(), ..access.clone() };
    refused(account.access_prove(&wrong).await, &[Code::ACCESS_DENIED], "another external id opens nothing")?;
    let nowhere = Access { role_arn: format!("{}-not-there", access.role_arn), ..access.clone() };
    refused(account.access_prove(&nowhere).await, &[Code::ACCESS_DENIED], "a role that is not there opens nothing")?;
    let facts = account.cluster_get(access, &prepared.cluster).await.map_err(failed)?;
    holds(facts.arn.ends_with(&format!(":cluster/{}", prepared.cluster)) && !facts.oidc_issuer.is_empty(), "a cluster says its ARN and issuer")?;
    // A role that is limited to one cluster may not even ask for another.
    let unknown = [Code::NOT_FOUND, Code::AWS_REFUSED, Code::PERMISSION_MISSING];
    refused(account.cluster_get(access, "not-there").await, &unknown, "a cluster that is not there is no answer")?;
    let provider = account.oidc_provider_ensure(access, &facts.oidc_issuer).await.map_err(failed)?;
    let again = account.oidc_provider_ensure(access, &facts.oidc_issuer).await.map_err(failed)?;
    holds(provider == again && provider.contains(":oidc-provider/"), "the provider is made once")?;
    let needs = AccountNeeds {
        cluster: prepared.cluster.clone(),
        oidc_issuer: facts.oidc_issuer,
        node_role_arn: prepared.node_role_arn.clone(),
        launch_template: prepared.launch_template.clone(),
    };
    let missing = account.preflight(access, &needs).await.map_err(failed)?;
    holds(missing.is_empty(), &format!("a prepared account lacks nothing: {missing:?}"))
}

/// Asks until a change has ended.
async fn settled<A: CustomerAccount, F: Future<Output = ()>>(
    account: &A,
    prepared: &Prepared,
    name: &str,
    pass: &impl Fn() -> F,
) -> Result<NodeGroupState, String> {
    for _ in 0..LOOKS_MAX {
        match account.node_group_get(&prepared.access, &prepared.cluster, name).await.map_err(failed)? {
            NodeGroupState::Changing => pass().await,
            state => return Ok(state),
        }
    }
    Err("a change never ends".to_owned())
}

async fn node_groups<A: CustomerAccount, F: Future<Output = ()>>(account: &A, prepared: &Prepared, pass: &impl Fn() -> F) -> Result<(), String> {
    let (access, cluster, group) = (&prepared.access, prepared.cluster.as_str(), prepared.group(2));
    let name = group.name.as_str();
    let absent = account.node_group_get(access, cluster, name).await.map_err(failed)?;
    holds(absent == NodeGroupState::Absent, "there is no group before it is made")?;
    let scaled = account.node_group_scale(access, cluster, name, 0, "s0").await.map_err(failed)?;
    holds(scaled == NodeGroupState::Absent, "nothing is scaled that is not there")?;
    holds(account.node_group_release(access, cluster, name).await.map_err(failed)?.is_none(), "and it has no release")?;
    for _ in 0..2 {
        account.node_group_ensure(access, &group, "t").await.map_err(failed)?;
    }
    holds(settled(account, prepared, name, pass).await? == NodeGroupState::Active { nodes: 2 }, "a group has its nodes")?;
    let again = account.node_group_ensure(access, &group, "t").await.map_err(failed)?;
    holds(again == NodeGroupState::Active { nodes: 2 }, "asking twice is asking once")?;
    for nodes in [0, 1] {
        account.node_group_scale(access, cluster, name, nodes, &format!("s{nodes}")).await.map_err(failed)?;
        holds(settled(account, prepared, name, pass).await? == NodeGroupState::Active { nodes }, "to zero and back")?;
    }
    patch(account, prepared, name, pass).await?;
    let theirs = Access { environment_id: EnvironmentId::from_random([9; 16]), ..access.clone() };
    let codes = [Code::FOREIGN_RESOURCE, Code::ACCESS_DENIED];
    refused(account.node_group_ensure(&theirs, &group, "x").await, &codes, "another environment's group is not adopted")?;
    refused(account.node_group_scale(&theirs, cluster, name, 0, "x").await, &codes, "nor scaled")?;
    refused(account.node_group_delete(&theirs, cluster, name).await, &codes, "nor deleted")?;
    account.node_group_delete(access, cluster, name).await.map_err(failed)?;
    holds(settled(account, prepared, name, pass).await? == NodeGroupState::Absent, "a group goes")?;
    let gone = account.node_group_delete(access, cluster, name).await.map_err(failed)?;
    holds(gone == NodeGroupState::Absent, "and deleting it again says so")
}

/// A patch under a release that is the newest begins nothing, or is soon over.
async fn patch<A: CustomerAccount, F: Future<Output = ()>>(
    account: &A,
    prepared: &Prepared,
    name: &str,
    pass: &impl Fn() -> F,
) -> Result<(), String> {
    let (access, cluster) = (&prepared.access, prepared.cluster.as_str());
    holds(account.node_group_release(access, cluster, name).await.map_err(failed)?.is_some(), "a group says its release")?;
    let Some(update) = account.node_group_patch(access, cluster, name, "p").await.map_err(failed)? else { return Ok(()) };
    for _ in 0..LOOKS_MAX {
        match account.node_group_update(access, cluster, name, &update).await.map_err(failed)? {
            UpdateState::Running => pass().await,
            UpdateState::Done => return Ok(()),
            UpdateState::Failed(why) => return Err(format!("a patch failed: {why}")),
        }
    }
    Err("a patch never ends".to_owned())
}

async fn backups<A: CustomerAccount>(account: &A, prepared: &Prepared) -> Result<(), String> {
    let access = &prepared.access;
    for _ in 0..2 {
        account.backup_bucket_ensure(access, &prepared.bucket()).await.map_err(failed)?;
    }
    let facts = account.cluster_get(access, &prepared.cluster).await.map_err(failed)?;
    let provider = account.oidc_provider_ensure(access, &facts.oidc_issuer).await.map_err(failed)?;
    let role = prepared.role(&facts.oidc_issuer, &provider);
    let arn = account.backup_role_ensure(access, &role).await.map_err(failed)?;
    let again = account.backup_role_ensure(access, &role).await.map_err(failed)?;
    holds(arn == again && arn.ends_with(&format!(":role/{}", role.name)), "a role is made once")?;
    let theirs = Access { environment_id: EnvironmentId::from_random([9; 16]), ..access.clone() };
    // Another environment does not get as far as the tags where a policy stands before them.
    let codes = [Code::FOREIGN_RESOURCE, Code::ACCESS_DENIED, Code::PERMISSION_MISSING];
    refused(account.backup_bucket_ensure(&theirs, &prepared.bucket()).await, &codes, "another environment's bucket is not adopted")?;
    refused(account.backup_role_ensure(&theirs, &role).await, &codes, "nor its role")?;
    refused(account.backup_role_delete(&theirs, &role.name).await, &codes, "nor deleted")
}

async fn inventory<A: CustomerAccount, F: Future<Output = ()>>(account: &A, prepared: &Prepared, pass: &impl Fn() -> F) -> Result<(), String> {
    let (access, group) = (&prepared.access, prepared.group(1));
    account.node_group_ensure(access, &group, "again").await.map_err(failed)?;
    settled(account, prepared, &group.name, pass).await?;
    let Inventory { resources, unseen } = account.inventory(access, &prepared.cluster).await.map_err(failed)?;
    let kinds: Vec<ResourceKind> = resources.iter().map(|one| one.kind).collect();
    holds(unseen.is_empty() && kinds == ResourceKind::LISTED, &format!("an inventory lists what was made: {resources:?} {unseen:?}"))?;
    holds(resources.iter().all(|one| one.environment_id == access.environment_id.as_str()), "with the environment that it was made for")?;
    let role = resources.iter().find(|one| one.kind == ResourceKind::BackupRole).map(|one| one.name.clone()).unwrap_or_default();
    for _ in 0..2 {
        account.backup_role_delete(access, &role).await.map_err(failed)?;
    }
    account.node_group_delete(access, &prepared.cluster, &group.name).await.map_err(failed)?;
    settled(account, prepared, &group.name, pass).await?;
    let left = account.inventory(access, &prepared.cluster).await.map_err(failed)?;
    let kinds: Vec<ResourceKind> = left.resources.iter().map(|one| one.kind).collect();
    holds(kinds == [ResourceKind::BackupBucket], "only the bucket stays")
}
