//! Disconnecting an environment: at once while it has no databases, else by an operation that releases or destroys them.
use crate::App;
use crate::answer::Answer;
use crate::auth::Caller;
use crate::environments::freed;
use crate::extract::{Path, Query};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiven_model::api::EnvironmentView;
use kiven_model::database::Database;
use kiven_model::environment::{Environment, EnvironmentStatus, Farewell};
use kiven_model::{Code, OperationId, Problem};
use kiven_operations::{DisconnectInput, EksCluster, accept_disconnect, refuse_farewell};
use kiven_ports::{Clock, Ports, Random, Records, Write};
use serde::Deserialize;

/// How an environment is left.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Leaving {
    /// What becomes of its databases: `release` leaves them running as the customer's own, `destroy` deletes each with its own
    /// deletion settings, which is the consent to it. Without it a disconnect is refused while there are databases.
    databases: Option<Farewell>,
}

/// `DELETE /v1/environments/{id}/connection`
pub(crate) async fn disconnect<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(leaving): Query<Leaving>,
) -> Answer<(StatusCode, Json<EnvironmentView>)> {
    let environment = app.environment(&caller, &id).await?;
    if leaving.databases.is_some() && running_farewell(&app, &environment).await? == leaving.databases {
        return Ok((StatusCode::ACCEPTED, app.view(&environment)));
    }
    refuse_moving(&environment)?;
    let databases = databases_of(&app, &caller, &environment).await?;
    refuse_farewell(&environment.spec.name, leaving.databases, &databases)?;
    let Some(farewell) = leaving.databases.filter(|_| !databases.is_empty() && environment.connection.is_some()) else {
        let environment = close(&app, &caller, environment).await?;
        app.ports.records().records_commit(vec![freed(EksCluster::of(&environment.spec).claim(), &environment)]).await?;
        return Ok((StatusCode::OK, app.view(&environment)));
    };
    let operation = OperationId::from_random(app.ports.random().bits());
    let accepted = accept_disconnect(environment, farewell, operation, &caller.actor, app.ports.clock().now())?;
    app.ports.records().records_commit(accepted.writes).await?;
    app.ring(&accepted.operation.id).await;
    Ok((StatusCode::ACCEPTED, app.view(&accepted.record)))
}

/// What the disconnect that runs does, if one runs.
async fn running_farewell<P: Ports>(app: &App<P>, environment: &Environment) -> Answer<Option<Farewell>> {
    let Some(id) = environment.operation_id.as_ref().filter(|_| environment.status == EnvironmentStatus::Disconnecting) else { return Ok(None) };
    let operation = app.ports.records().operation_get(id).await?;
    let input = operation.and_then(|operation| serde_json::from_value::<DisconnectInput>(operation.input).ok());
    Ok(input.map(|input| input.farewell))
}

/// While it is being connected or disconnected, its record belongs to that operation.
pub(crate) fn refuse_moving(environment: &Environment) -> Answer<()> {
    let what = match environment.status {
        EnvironmentStatus::Connecting => "connected",
        EnvironmentStatus::Disconnecting => "disconnected",
        EnvironmentStatus::Created | EnvironmentStatus::Connected | EnvironmentStatus::AccessLost | EnvironmentStatus::Failed => return Ok(()),
    };
    let problem = Problem::new(Code::OPERATION_RUNNING, format!("the environment is being {what}")).hint("Wait for it, then try again.");
    Err(environment.operation_id.clone().map_or(problem.clone(), |id| problem.operation(id)).into())
}

/// An environment's databases that are not gone.
async fn databases_of<P: Ports>(app: &App<P>, caller: &Caller, environment: &Environment) -> Answer<Vec<Database>> {
    let databases = app.ports.records().database_list(&caller.organization_id).await?;
    Ok(databases.into_iter().filter(|database| database.spec.environment_id == environment.id && !database.status.gone()).collect())
}

/// Databases, and graces that have not ended, keep an environment.
pub(crate) async fn refuse_in_use<P: Ports>(app: &App<P>, caller: &Caller, environment: &Environment) -> Answer<()> {
    let databases = databases_of(app, caller, environment).await?;
    Ok(refuse_farewell(&environment.spec.name, None, &databases)?)
}

/// Takes the connection away if nothing needs it. Taken first and looked at afterwards: a database that is being created at
/// this moment either finds no connection, or is found by its name, and then the connection comes back.
pub(crate) async fn close<P: Ports>(app: &App<P>, caller: &Caller, environment: Environment) -> Answer<Environment> {
    refuse_moving(&environment)?;
    refuse_in_use(app, caller, &environment).await?;
    if environment.connection.is_none() {
        return Ok(environment);
    }
    let put = |record: &Environment| vec![Write::Environment { record: Box::new(record.clone()), expected: Some(record.version - 1) }];
    let version = environment.version + 1;
    let status = EnvironmentStatus::Created;
    let closed = Environment { connection: None, connected: None, status, problem: None, version, ..environment.clone() };
    app.ports.records().records_commit(put(&closed)).await?;
    let names = app.ports.records().database_names(&environment.id).await?;
    if names.is_empty() {
        return Ok(closed);
    }
    app.ports.records().records_commit(put(&Environment { version: version + 1, ..environment.clone() })).await?;
    let problem = Problem::new(Code::ENVIRONMENT_IN_USE, format!("the environment `{}` still has databases", environment.spec.name));
    Err(problem.detail(names.join(", ")).hint("They were made a moment ago. Choose what becomes of them: `release` or `destroy`.").into())
}
