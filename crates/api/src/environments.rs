//! Environments: made, connected, looked at, removed.
use crate::App;
use crate::answer::{Answer, body, missing};
use crate::auth::Caller;
use crate::disconnect::{close, refuse_in_use, refuse_moving};
use crate::extract::Path;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use kiven_model::api::{CheckView, ConnectionRequest, EnvironmentRequest, EnvironmentView, OrphansView};
use kiven_model::environment::{ConnectionSpec, Environment, EnvironmentStatus};
use kiven_model::{Code, EnvironmentId, OperationId, Problem, request};
use kiven_operations::{EksCluster, Known, accept_connect, access_of};
use kiven_ports::{Agents, Clock, CustomerAccount, Doorbell, NameClaim, PortError, Ports, Random, Records, Write};
use std::time::Duration;

impl<P: Ports> App<P> {
    /// Reads an environment of the caller's organization.
    pub(crate) async fn environment(&self, caller: &Caller, id: &str) -> Answer<Environment> {
        let parsed = EnvironmentId::parse(id).map_err(|_| missing("environment", id))?;
        let found = self.ports.records().environment_get(&parsed).await?;
        found.filter(|environment| environment.organization_id == caller.organization_id).ok_or_else(|| missing("environment", id))
    }
    pub(crate) fn view(&self, environment: &Environment) -> Json<EnvironmentView> {
        Json(EnvironmentView::of(environment, &self.backend))
    }
    /// Rings for a new operation. A lost ring is the sweep's to make good.
    pub(crate) async fn ring(&self, operation: &OperationId) {
        if let Err(error) = self.ports.doorbell().doorbell_ring(operation, Duration::ZERO).await {
            tracing::warn!(%error, operation_id = %operation, "the doorbell did not ring");
        }
    }
}

/// `GET /v1/environments`
pub(crate) async fn list<P: Ports>(State(app): State<App<P>>, caller: Caller) -> Answer<Json<Vec<EnvironmentView>>> {
    let environments = app.ports.records().environment_list(&caller.organization_id).await?;
    Ok(Json(environments.iter().map(|environment| EnvironmentView::of(environment, &app.backend)).collect()))
}

/// `POST /v1/environments/{id}/check`
pub(crate) async fn check<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<CheckView>> {
    let environment = app.environment(&caller, &id).await?;
    let databases = app.ports.records().database_list(&caller.organization_id).await?;
    Ok(Json(kiven_operations::check(&*app.ports, environment, &databases).await?))
}

/// `GET /v1/environments/{id}/orphans`
pub(crate) async fn orphans<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<OrphansView>> {
    let environment = app.environment(&caller, &id).await?;
    let nobody = OperationId::from_random(app.ports.random().bits());
    let access = access_of(&environment, &nobody).ok_or_else(|| not_connected(&environment))?;
    let found = app.ports.account().inventory(&access, &environment.spec.eks_cluster_name).await?;
    let environments = app.ports.records().environment_list(&caller.organization_id).await?;
    let databases = app.ports.records().database_list(&caller.organization_id).await?;
    let agent = app.ports.agents().agent_get(&environment.id).await?;
    let loose = agent.map(|agent| agent.facts.loose_volumes).unwrap_or_default();
    let now = app.ports.clock().now();
    let known = Known { environments: &environments, databases: &databases, environment: &environment.id, loose: &loose, now };
    Ok(Json(kiven_operations::orphans(known, &found)))
}

fn not_connected(environment: &Environment) -> Problem {
    let problem = Problem::new(Code::ENVIRONMENT_NOT_READY, format!("environment `{}` has no connection", environment.spec.name));
    problem.hint("Apply its kiven_environment_connection first.")
}

/// `GET /v1/environments/{id}`
pub(crate) async fn show<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<EnvironmentView>> {
    Ok(app.view(&app.environment(&caller, &id).await?))
}

fn name_of(environment: &Environment) -> NameClaim {
    NameClaim::Environment(environment.organization_id.clone(), environment.spec.name.clone())
}

pub(crate) fn freed(claim: NameClaim, environment: &Environment) -> Write {
    Write::NameFreed { claim, owner: environment.id.to_string() }
}

/// `PUT /v1/environments/{id}`
pub(crate) async fn put<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<Json<EnvironmentView>> {
    let id = EnvironmentId::parse(&id).map_err(|e| {
        Problem::new(Code::ID_INVALID, e.to_string()).hint("Make a new id of this form; Terraform and the client do it by themselves.")
    })?;
    let spec = request::environment(&body::<EnvironmentRequest>(bytes)?).map_err(Problem::from)?.into_inner();
    if let Some(known) = app.ports.records().environment_get(&id).await? {
        let known = if known.organization_id == caller.organization_id { known } else { return Err(missing("environment", id.as_str())) };
        if known.spec == spec {
            return Ok(app.view(&known));
        }
        let problem = Problem::new(Code::NEVER_CHANGEABLE, "an environment's name, account, region and cluster never change");
        return Err(problem.hint("Make another kiven_environment instead.").into());
    }
    let (high, low) = (app.ports.random().bits(), app.ports.random().bits());
    let record = Environment {
        id: id.clone(),
        organization_id: caller.organization_id.clone(),
        external_id: high.iter().chain(&low).map(|byte| format!("{byte:02x}")).collect(),
        connection: None,
        connected: None,
        status: EnvironmentStatus::Created,
        operation_id: None,
        problem: None,
        access_tried_at: None,
        upgrades: Default::default(),
        created_at: app.ports.clock().now(),
        version: 1,
        spec,
    };
    // Whoever has proved a cluster to be theirs keeps it; merely naming one claims nothing.
    let cluster = EksCluster::of(&record.spec);
    if app.ports.records().name_owner(&cluster.claim()).await?.is_some() {
        return match app.ports.records().name_owner(&name_of(&record)).await? {
            Some(owner) => adopt(&app, &caller, &record, &owner).await,
            None => Err(cluster.taken().into()),
        };
    }
    let writes = vec![
        Write::NameTaken { claim: name_of(&record), owner: id.to_string() },
        Write::Environment { record: Box::new(record.clone()), expected: None },
    ];
    match app.ports.records().records_commit(writes).await {
        Ok(()) => Ok(app.view(&record)),
        Err(PortError::Conflict(what)) => match app.ports.records().name_owner(&name_of(&record)).await? {
            Some(owner) => adopt(&app, &caller, &record, &owner).await,
            None => Err(PortError::Conflict(what).into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// A name that is taken: ours from a create whose answer was lost, or somebody's.
async fn adopt<P: Ports>(app: &App<P>, caller: &Caller, wanted: &Environment, owner: &str) -> Answer<Json<EnvironmentView>> {
    let known = app.environment(caller, owner).await?;
    if known.spec == wanted.spec && known.status == EnvironmentStatus::Created && known.connection.is_none() {
        return Ok(app.view(&known));
    }
    let problem = Problem::new(Code::NAME_TAKEN, format!("the environment `{}` exists already", wanted.spec.name));
    Err(problem.hint(format!("Use it: `terraform import kiven_environment.NAME {owner}`, or choose another name.")).into())
}

/// `DELETE /v1/environments/{id}`
pub(crate) async fn delete<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let environment = app.environment(&caller, &id).await?;
    let environment = close(&app, &caller, environment).await?;
    let writes = vec![
        freed(name_of(&environment), &environment),
        freed(EksCluster::of(&environment.spec).claim(), &environment),
        Write::EnvironmentGone { id: environment.id.clone(), expected: environment.version },
    ];
    app.ports.records().records_commit(writes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /v1/environments/{id}/connection`
pub(crate) async fn connect<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<(StatusCode, Json<EnvironmentView>)> {
    let environment = app.environment(&caller, &id).await?;
    let connection = request::connection(&body::<ConnectionRequest>(bytes)?, &environment.spec).map_err(Problem::from)?.into_inner();
    if environment.connection.as_ref() == Some(&connection)
        && matches!(environment.status, EnvironmentStatus::Connecting | EnvironmentStatus::Connected)
    {
        return Ok((StatusCode::OK, app.view(&environment)));
    }
    refuse_moving(&environment)?;
    // Node groups are named by zone and made from the template: what databases stand on does not move under them.
    // And a bucket that is finished keeps its key.
    let stands = |one: &ConnectionSpec| (one.subnets.clone(), one.launch_template.clone(), one.backup_kms_key_arn.clone());
    let moved = |known: &ConnectionSpec| stands(known) != stands(&connection);
    if environment.connection.as_ref().is_some_and(moved) {
        refuse_in_use(&app, &caller, &environment).await?;
    }
    let operation = OperationId::from_random(app.ports.random().bits());
    let accepted = accept_connect(environment, connection, operation, app.ports.clock().now())?;
    app.ports.records().records_commit(accepted.writes).await?;
    app.ring(&accepted.operation.id).await;
    Ok((StatusCode::ACCEPTED, app.view(&accepted.record)))
}
