//! Operations: listed, followed, cancelled.
use crate::App;
use crate::answer::{Answer, missing};
use crate::auth::Caller;
use crate::extract::{Path, Query};
use axum::Json;
use axum::extract::State;
use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kiven_model::api::OperationView;
use kiven_model::operation::{Operation, Subject};
use kiven_model::{Code, DatabaseId, OperationId, Problem};
use kiven_ports::{Clock, PortError, Ports, Records, Write};
use serde::Deserialize;

/// How often a cancel is tried against a head that changes.
const CANCEL_ATTEMPTS_MAX: u32 = 10;

/// Filter of the list.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only operations on this database.
    database_id: Option<DatabaseId>,
}

/// Where a follower is.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    /// The sequence number of the last event that the caller has: only later ones are answered, 304 while there are none.
    after: Option<u64>,
}

/// What another organization owns does not exist for the caller.
fn owned(found: Option<Operation>, caller: &Caller, id: &str) -> Answer<Operation> {
    found.filter(|operation| operation.organization_id == caller.organization_id).ok_or_else(|| missing("operation", id))
}

impl<P: Ports> App<P> {
    async fn operation(&self, caller: &Caller, id: &str) -> Answer<Operation> {
        let parsed = OperationId::parse(id).map_err(|_| missing("operation", id))?;
        let found = self.ports.records().operation_get(&parsed).await?;
        owned(found, caller, id)
    }

    /// Asks an operation to stop at its next step; asking twice is asking once.
    pub(crate) async fn cancel(&self, caller: &Caller, id: &str) -> Answer<Operation> {
        for _ in 0..CANCEL_ATTEMPTS_MAX {
            let operation = self.operation(caller, id).await?;
            if operation.cancel_requested || operation.status.over() {
                return Ok(operation);
            }
            if operation.past_no_return {
                let problem = Problem::new(Code::NOT_CANCELLABLE, format!("the {} is past its point of no return", operation.kind.as_str()));
                return Err(problem.hint("It ends by itself soon; then undo it with the opposite operation.").operation(operation.id).into());
            }
            let expected = Some(operation.version);
            let now = self.ports.clock().now();
            let record = Operation { cancel_requested: true, due_at: Some(now), version: operation.version + 1, updated_at: now, ..operation };
            match self.ports.records().records_commit(vec![Write::Operation { record: Box::new(record.clone()), expected }]).await {
                Ok(()) => {
                    self.ring(&record.id).await;
                    return Ok(record);
                }
                Err(PortError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PortError::Conflict(format!("operation {id}")).into())
    }
}

/// `GET /v1/operations`
pub(crate) async fn list<P: Ports>(State(app): State<App<P>>, caller: Caller, Query(filter): Query<Filter>) -> Answer<Json<Vec<OperationView>>> {
    let operations = app.ports.records().operation_list(&caller.organization_id).await?;
    let wanted = |operation: &&Operation| match (&filter.database_id, &operation.subject) {
        (None, _) => true,
        (Some(id), Subject::Database(database)) => database == id,
        (Some(_), Subject::Environment(_)) => false,
    };
    Ok(Json(operations.iter().filter(wanted).map(|operation| OperationView::of(operation, Vec::new())).collect()))
}

/// `GET /v1/operations/{id}?after=N`: 304 while there is nothing after N and it is not over, or while it is as the caller's
/// `if-none-match` says.
pub(crate) async fn show<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(after): Query<After>,
    headers: HeaderMap,
) -> Answer<Response> {
    let parsed = OperationId::parse(&id).map_err(|_| missing("operation", &id))?;
    let head = app.ports.records().operation_head(&parsed).await?;
    let operation = owned(head, &caller, &id)?;
    let known = after.after.unwrap_or(0);
    let tag = format!("\"{}\"", operation.version);
    let same = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let nothing_new = after.after.is_some() && operation.events <= known && !operation.status.over();
    if same || nothing_new {
        let pace = operation.poll_after_ms.clamp(50, 10_000).to_string();
        return Ok((StatusCode::NOT_MODIFIED, [("retry-after-ms", pace), ("etag", tag)]).into_response());
    }
    let events = if operation.events > known { app.ports.records().operation_events(&operation.id, known).await? } else { Vec::new() };
    Ok(([("etag", tag)], Json(OperationView::of(&operation, events))).into_response())
}

/// `POST /v1/operations/{id}/cancel`
pub(crate) async fn cancel<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<OperationView>> {
    let operation = app.cancel(&caller, &id).await?;
    Ok(Json(OperationView::of(&operation, Vec::new())))
}
