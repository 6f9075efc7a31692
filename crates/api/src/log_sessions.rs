//! Readers' sessions on logs. What is read is sealed by the agent to the reader's key: it passes here and cannot be read here.
use crate::App;
use crate::answer::{Answer, body, missing};
use crate::auth::Caller;
use crate::extract::{Path, Query};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use jiff::Timestamp;
use kiven_model::command::{Command, CommandBody, CommandOutcome};
use kiven_model::database::Database;
use kiven_model::environment::EnvironmentStatus;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::logs::{
    LEASE, LogBatches, LogSession, LogSessionRequest, LogSessionView, RENEWAL, SESSIONS_PER_DATABASE_MAX, SESSIONS_PER_ENVIRONMENT_MAX,
};
use kiven_model::{Code, LogSessionId, Problem};
use kiven_ports::agents::CommandState;
use kiven_ports::{Agents, Clock, PortError, Ports, Records, Write};
use serde::Deserialize;

/// When a reader asks again: at once while there is more, else about as often as an agent sends.
const MORE_MS: u64 = 50;
const NOTHING_MS: u64 = 1_000;

/// Where a reader is.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    /// The sequence of the last batch that the reader has; 0 or left out for none.
    after: Option<u64>,
}

fn view(session: &LogSession) -> Json<LogSessionView> {
    Json(LogSessionView { id: session.id.clone(), database_id: session.database_id.clone(), expires_at: session.expires_at })
}

/// Why a database has no log to read now.
fn silent(status: DatabaseStatus) -> Option<&'static str> {
    match status {
        DatabaseStatus::Provisioning
        | DatabaseStatus::Available
        | DatabaseStatus::Pausing
        | DatabaseStatus::Resuming
        | DatabaseStatus::Changing
        | DatabaseStatus::Stuck => None,
        DatabaseStatus::Paused => Some("the database is paused"),
        DatabaseStatus::Deleting
        | DatabaseStatus::Grace
        | DatabaseStatus::Undeleting
        | DatabaseStatus::Purging
        | DatabaseStatus::Deleted
        | DatabaseStatus::Released
        | DatabaseStatus::Failed => Some("the database does not run"),
    }
}

/// The `number`-th command of a session; its id makes sending it twice sending it once.
fn command(session: &LogSession, key: &str, not_after: Timestamp, body: CommandBody) -> Command {
    let operation_id = LogSession::asker(&session.id);
    Command {
        id: format!("{operation_id}/{key}"),
        environment_id: session.environment_id.clone(),
        operation_id,
        database_id: Some(session.database_id.clone()),
        // Readers change nothing: agents order them by nothing.
        fence: 1,
        not_after,
        body,
    }
}

fn reading_key(session: &LogSession) -> String {
    format!("read-logs-{}", session.renewals)
}

impl<P: Ports> App<P> {
    async fn log_session(&self, caller: &Caller, id: &str) -> Answer<LogSession> {
        let parsed = LogSessionId::parse(id).map_err(|_| missing("log session", id))?;
        let found = self.ports.records().log_session_get(&parsed).await?;
        found.filter(|session| session.organization_id == caller.organization_id).ok_or_else(|| missing("log session", id))
    }

    /// Tells the agent to read, or to go on.
    async fn tell_reading(&self, session: &LogSession) -> Answer<()> {
        let reading = session.reading();
        let command = command(session, &reading_key(session), reading.lease_until, CommandBody::ReadLogs(Box::new(reading)));
        Ok(self.ports.agents().command_send(&command).await?)
    }

    /// Refuses what the agent would refuse anyway. Two readers who come at the same moment may both pass; the agent holds them.
    async fn may_read(&self, database: &Database, now: Timestamp) -> Answer<()> {
        if let Some(why) = silent(database.status) {
            return Err(Problem::new(Code::WRONG_STATE, why).hint("There is no log to read until it runs.").into());
        }
        let environment = self.ports.records().environment_get(&database.spec.environment_id).await?;
        if environment.is_none_or(|environment| environment.status != EnvironmentStatus::Connected) {
            return Err(Problem::new(Code::ENVIRONMENT_NOT_READY, "the database's environment is not connected").into());
        }
        let sessions = self.ports.records().log_session_list(&database.organization_id).await?;
        let reading = || sessions.iter().filter(|session| session.read_at(now) && session.environment_id == database.spec.environment_id);
        let of_the_database = reading().filter(|session| session.database_id == database.id).count();
        if reading().count() >= SESSIONS_PER_ENVIRONMENT_MAX || of_the_database >= SESSIONS_PER_DATABASE_MAX {
            let message = format!("{SESSIONS_PER_DATABASE_MAX} readers of a database and {SESSIONS_PER_ENVIRONMENT_MAX} of an environment at once");
            let hint = format!("End another with Ctrl-C, or wait {} s after its reader has gone.", LEASE.as_secs());
            return Err(Problem::new(Code::TOO_MANY_READERS, message).hint(hint).into());
        }
        Ok(())
    }
}

/// `PUT /v1/log-sessions/{id}`
pub(crate) async fn put<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<Json<LogSessionView>> {
    let id = LogSessionId::parse(&id).map_err(|e| Problem::new(Code::ID_INVALID, e.to_string()).hint("Make a new id; `kiven logs` does."))?;
    let request: LogSessionRequest = body(bytes)?;
    if let Some(known) = app.ports.records().log_session_get(&id).await? {
        if known.organization_id != caller.organization_id {
            return Err(missing("log session", id.as_str()));
        }
        if known.request != request {
            let problem = Problem::new(Code::WRONG_STATE, "this session reads something else, which never changes");
            return Err(problem.hint("Open another under a new id.").into());
        }
        app.tell_reading(&known).await?;
        return Ok(view(&known));
    }
    let now = app.ports.clock().now();
    let database = app.database(&caller, request.database_id.as_str()).await?;
    let expires_at = request.ends(now).map_err(Problem::from)?;
    app.may_read(&database, now).await?;
    let session = LogSession {
        id,
        database_id: database.id,
        environment_id: database.spec.environment_id,
        organization_id: database.organization_id,
        request,
        opened_by: caller.actor,
        opened_at: now,
        expires_at,
        renewed_at: now,
        renewals: 0,
        closed: false,
        version: 1,
    };
    app.ports.records().records_commit(vec![Write::LogSession { record: Box::new(session.clone()), expected: None }]).await?;
    app.tell_reading(&session).await?;
    tracing::info!(session_id = %session.id, database_id = %session.database_id, actor = session.opened_by, "a log is read");
    Ok(view(&session))
}

/// `GET /v1/log-sessions/{id}/batches?after=N`
pub(crate) async fn batches<P: Ports>(
    State(app): State<App<P>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(After { after }): Query<After>,
) -> Answer<Json<LogBatches>> {
    let session = app.log_session(&caller, &id).await?;
    let now = app.ports.clock().now();
    let batches = app.ports.agents().log_batch_list(&session.id, after.unwrap_or(0)).await?;
    let ended = ended(&app, &session, now).await?;
    if ended.is_none() && now.duration_since(session.renewed_at) >= RENEWAL {
        renew(&app, &session, now).await?;
    }
    let retry_after_ms = if batches.is_empty() { NOTHING_MS } else { MORE_MS };
    Ok(Json(LogBatches { batches, retry_after_ms, ended }))
}

/// Why a session gets nothing more. What the agent refused is the reader's problem, with its code.
async fn ended<P: Ports>(app: &App<P>, session: &LogSession, now: Timestamp) -> Answer<Option<String>> {
    if session.closed {
        return Ok(Some("it was closed".to_owned()));
    }
    if now >= session.expires_at {
        return Ok(Some("its time is over".to_owned()));
    }
    let told = app.ports.agents().command_get(&format!("{}/{}", LogSession::asker(&session.id), reading_key(session))).await?;
    if let Some(CommandState::Answered(CommandOutcome::Refused(problem))) = told.map(|told| told.state) {
        return Err(problem.into());
    }
    let database = app.ports.records().database_get(&session.database_id).await?;
    Ok(database.map_or(Some("the database does not run"), |database| silent(database.status)).map(str::to_owned))
}

/// The reader is still there. Of two requests at once one says so.
async fn renew<P: Ports>(app: &App<P>, session: &LogSession, now: Timestamp) -> Answer<()> {
    let (renewals, version) = (session.renewals + 1, session.version + 1);
    let renewed = LogSession { renewed_at: now, renewals, version, ..session.clone() };
    let write = Write::LogSession { record: Box::new(renewed.clone()), expected: Some(session.version) };
    match app.ports.records().records_commit(vec![write]).await {
        Ok(()) => app.tell_reading(&renewed).await,
        Err(PortError::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `DELETE /v1/log-sessions/{id}`
pub(crate) async fn delete<P: Ports>(State(app): State<App<P>>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let session = app.log_session(&caller, &id).await?;
    if !session.closed {
        let closed = LogSession { closed: true, version: session.version + 1, ..session.clone() };
        let write = Write::LogSession { record: Box::new(closed), expected: Some(session.version) };
        match app.ports.records().records_commit(vec![write]).await {
            // A renewal came between: the agent ends by its lease, which nobody renews any more.
            Ok(()) | Err(PortError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let now = app.ports.clock().now();
        let end = CommandBody::EndLogs { session_id: session.id.clone() };
        app.ports.agents().command_send(&command(&session, "end-logs", now + LEASE, end)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
