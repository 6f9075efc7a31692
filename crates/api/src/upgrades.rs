//! Operator and plugin of an environment: moved by hand, or kept from moving by themselves.
use crate::App;
use crate::answer::{Answer, body};
use crate::auth::Caller;
use crate::extract::Path;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use kiven_model::api::EnvironmentView;
use kiven_model::environment::Environment;
use kiven_model::upgrade::{Upgrades, UpgradesRequest};
use kiven_model::{Code, OperationId, Problem};
use kiven_operations::{accept_upgrade, newer};
use kiven_ports::{Agents, Clock, Ports, Random, Records, Write};

/// `POST /v1/environments/{id}/upgrade`
pub(crate) async fn upgrade<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<EnvironmentView>)> {
    let environment = app.environment(&caller, &id).await?;
    let agent = app.ports.agents().agent_get(&environment.id).await?;
    let moves = agent.map(|agent| newer(&agent.facts)).unwrap_or_default();
    if moves.is_empty() {
        return Ok((StatusCode::OK, app.view(&environment)));
    }
    let databases = app.ports.records().database_list(&caller.organization_id).await?;
    let moving = databases.iter().find(|database| database.spec.environment_id == environment.id && database.status.moving());
    if let Some(database) = moving {
        let problem = Problem::new(Code::OPERATION_RUNNING, format!("database `{}` is {}", database.spec.name, database.status));
        let problem = problem.hint("One operator serves all databases: wait until nothing changes any of them.");
        return Err(database.operation_id.clone().map_or(problem.clone(), |id| problem.operation(id)).into());
    }
    let operation = OperationId::from_random(app.ports.random().bits());
    let accepted = accept_upgrade(environment, moves, operation, app.ports.clock().now())?;
    app.ports.records().records_commit(accepted.writes).await?;
    app.ring(&accepted.operation.id).await;
    tracing::info!(environment_id = %accepted.record.id, operation_id = %accepted.operation.id, actor = caller.actor, "upgrade by hand");
    Ok((StatusCode::ACCEPTED, app.view(&accepted.record)))
}

/// `PUT /v1/environments/{id}/upgrades`
pub(crate) async fn put<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<Json<EnvironmentView>> {
    let environment = app.environment(&caller, &id).await?;
    let UpgradesRequest { paused } = body(bytes)?;
    if environment.upgrades.paused == paused {
        return Ok(app.view(&environment));
    }
    let expected = Some(environment.version);
    let upgrades = Upgrades { paused, ..environment.upgrades.clone() };
    let record = Environment { upgrades, version: environment.version + 1, ..environment };
    app.ports.records().records_commit(vec![Write::Environment { record: Box::new(record.clone()), expected }]).await?;
    tracing::info!(environment_id = %record.id, paused, actor = caller.actor, "upgrades paused or not");
    Ok(app.view(&record))
}
