//! A look at an environment: whether its role opens, and whether what Kiven made is still as it made it. Nothing is mended.
use crate::accept::{access_of, looked_at};
use crate::orphans::bucket_of;
use crate::steps::access::say;
use kiven_model::api::{CheckView, DriftView};
use kiven_model::database::Database;
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::preflight::{self, Isolation};
use kiven_model::{Code, DatabaseId, OperationId, Problem};
use kiven_ports::account::{Inventory, OwnedResource, ResourceKind, Wanted};
use kiven_ports::{Agents, Clock, CustomerAccount, PortError, Ports, Random};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at an environment's account, and says in its record whether the role opens.
///
/// # Errors
/// When it has no connection, or something does not answer.
pub async fn check<P: Ports>(ports: &P, environment: Environment, databases: &[Database]) -> Result<CheckView, PortError> {
    let nobody = OperationId::from_random(ports.random().bits());
    let not_connected = || {
        let problem = Problem::new(Code::ENVIRONMENT_NOT_READY, format!("environment `{}` has no connection", environment.spec.name));
        PortError::Refused(problem.hint("Apply its kiven_environment_connection first."))
    };
    let access = access_of(&environment, &nobody).ok_or_else(not_connected)?;
    let agent = ports.agents().agent_get(&environment.id).await?;
    let cluster = agent.as_ref().and_then(|agent| agent.facts.cluster.as_deref());
    let mut view = CheckView {
        checked_at: ports.clock().now(),
        status: environment.status,
        problem: None,
        agent_seen_at: agent.as_ref().map(|agent| agent.seen_at),
        drift: Vec::new(),
        unseen: Vec::new(),
        cluster: cluster.map(preflight::judge).unwrap_or_default(),
        cluster_checked_at: cluster.map(|facts| facts.checked_at),
        network_isolation: cluster.map_or(Isolation::Unknown, |facts| facts.network_isolation).as_str().to_owned(),
    };
    match ports.account().access_prove(&access).await {
        Ok(()) => {}
        Err(PortError::Refused(problem)) if problem.code == Code::ACCESS_DENIED => {
            if environment.status == EnvironmentStatus::Connected {
                view.status = EnvironmentStatus::AccessLost;
                say(ports, environment, EnvironmentStatus::AccessLost, Some(problem.clone())).await?;
            }
            view.problem = Some(problem);
            return Ok(view);
        }
        Err(error) => return Err(error),
    }
    let found = ports.account().inventory(&access, &environment.spec.eks_cluster_name).await?;
    let here: Vec<&Database> = databases.iter().filter(|database| database.spec.environment_id == environment.id && rests(database)).collect();
    let (wanted, owners) = wanted(&environment, &here, &nobody);
    let differences = ports.account().differences(&access, &wanted).await?;
    view.drift = drift(&environment, &here, &found);
    view.drift.extend(differences.found.into_iter().map(|one| DriftView {
        kind: one.kind.as_str().to_owned(),
        database_id: owners.get(&one.name).cloned(),
        what: format!("{}: {}", one.name, one.what),
    }));
    let unseen: BTreeSet<String> = found.unseen.iter().chain(&differences.unseen).map(|(kind, why)| format!("{}: {why}", kind.as_str())).collect();
    view.unseen = unseen.into_iter().collect();
    if environment.status == EnvironmentStatus::AccessLost {
        view.status = EnvironmentStatus::Connected;
        say(ports, environment, EnvironmentStatus::Connected, None).await?;
    }
    Ok(view)
}

/// What the account should hold, and whose each thing of a database is.
fn wanted(environment: &Environment, here: &[&Database], nobody: &OperationId) -> (Wanted, BTreeMap<String, DatabaseId>) {
    let (mut wanted, mut owners) = (Wanted::default(), BTreeMap::new());
    if let Some(connected) = &environment.connected {
        (wanted.oidc_issuer, wanted.oidc_provider_arn) = (connected.oidc_issuer.clone(), connected.oidc_provider_arn.clone());
    }
    for database in here {
        let Some(input) = looked_at(environment, database, nobody) else { continue };
        let (role, groups) = (input.backup_role(), input.node_groups());
        let names = groups.iter().map(|group| group.name.clone()).chain([role.name.clone()]);
        owners.extend(names.map(|name| (name, database.id.clone())));
        wanted.bucket = Some(input.bucket());
        wanted.roles.push(role);
        wanted.node_groups.extend(groups);
    }
    (wanted, owners)
}

/// What an account lacks of what its databases need, or has otherwise. Databases that move are left out: theirs is changing.
fn drift(environment: &Environment, here: &[&Database], found: &Inventory) -> Vec<DriftView> {
    let seen = |kind| !found.unseen.iter().any(|(unseen, _)| *unseen == kind);
    let mut drift = Vec::new();
    if seen(ResourceKind::BackupBucket) && !here.is_empty() {
        let bucket = bucket_of(environment, &environment.id);
        if !found.resources.iter().any(|one| one.kind == ResourceKind::BackupBucket && one.name == bucket) {
            drift.push(of(ResourceKind::BackupBucket, None, format!("the bucket {bucket} is not there, or has lost its tags: nothing is archived")));
        }
    }
    for &database in here {
        let own = |kind| {
            found.resources.iter().filter(move |one: &&OwnedResource| one.kind == kind && one.database_id.as_deref() == Some(database.id.as_str()))
        };
        let role = database.names().backup_role;
        if seen(ResourceKind::BackupRole) && !own(ResourceKind::BackupRole).any(|one| one.name == role) {
            drift.push(of(
                ResourceKind::BackupRole,
                Some(database),
                format!("the role {role} is not there, or has lost its tags: nothing is archived"),
            ));
        }
        let nodes: u32 = own(ResourceKind::NodeGroup).map(|one| one.nodes).sum();
        let wanted = match database.status {
            DatabaseStatus::Available => u32::from(database.applied.as_ref().unwrap_or(&database.spec).instances),
            _ => 0,
        };
        if seen(ResourceKind::NodeGroup) && nodes != wanted {
            let what = format!("`{}` is {} and needs {wanted} nodes, its groups ask for {nodes}", database.spec.name, database.status);
            drift.push(of(ResourceKind::NodeGroup, Some(database), what));
        }
    }
    drift
}

fn of(kind: ResourceKind, database: Option<&Database>, what: String) -> DriftView {
    DriftView { kind: kind.as_str().to_owned(), database_id: database.map(|database| database.id.clone()), what }
}

fn rests(database: &Database) -> bool {
    database.connection.is_some() && matches!(database.status, DatabaseStatus::Available | DatabaseStatus::Paused | DatabaseStatus::Grace)
}
