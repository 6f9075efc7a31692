//! What an agent said, recorded; the doorbell rings only for an operation that waits for it.
use crate::records::{Batch, Failures};
use crate::telemetry::{Event, Unit, milliseconds};
use jiff::{SignedDuration, Timestamp};
use kiven_model::OperationId;
use kiven_model::command::CommandOutcome;
use kiven_model::environment::EnvironmentStatus;
use kiven_model::logs::{KEPT_MINUTES, SEALED_BYTES_MAX, SealedBatch};
use kiven_model::report::{AgentRecord, LogCount, LogCounts, Observation, Report, ReportBody};
use kiven_ports::{Agents, Clock, Doorbell, PortError, Ports, Records};
use std::time::Duration;

/// What a batch of reports said, for its wide event.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heard {
    reports: u32,
    failed: u32,
    dropped: u64,
    commands_refused: u32,
    dropped_events: u64,
    events: u32,
    postgres_errors: u64,
    log_batches: u32,
    databases_down: u32,
    databases_unarchived: u32,
    lag_milliseconds: f64,
    away_seconds: Option<f64>,
}

impl Heard {
    /// Counts a report that came.
    pub fn hear(&mut self, report: &Report, now: Timestamp) {
        self.reports += 1;
        self.lag_milliseconds = self.lag_milliseconds.max(milliseconds(report.at, now));
        match &report.body {
            ReportBody::Observed(seen) => {
                self.databases_down += u32::from(runs(seen) && seen.ready_instances == 0);
                self.databases_unarchived += u32::from(runs(seen) && seen.backup_completed && !seen.archiving);
            }
            ReportBody::Answered { command_id, outcome: CommandOutcome::Refused(problem) } => {
                self.commands_refused += 1;
                tracing::warn!(environment_id = %report.environment_id, command_id, code = %problem.code, "an agent refused a command");
            }
            ReportBody::Dropped { count, events } => {
                self.dropped += count;
                self.dropped_events += events;
            }
            ReportBody::Event(_) => self.events += 1,
            ReportBody::Logged(logged) => {
                self.postgres_errors += logged.kinds.iter().filter(|kind| is_error(&kind.severity)).map(|kind| kind.count).sum::<u64>()
            }
            ReportBody::Sealed(_) => self.log_batches += 1,
            ReportBody::Facts(_) | ReportBody::Answered { .. } | ReportBody::Statistics(_) => {}
        }
    }

    /// Counts a report that comes again.
    pub fn fail(&mut self) {
        self.failed += 1;
    }

    /// Notes how long an agent that came back was away.
    pub fn came_back(&mut self, away: Option<f64>) {
        self.away_seconds = match (self.away_seconds, away) {
            (Some(before), Some(now)) => Some(before.max(now)),
            (before, now) => before.or(now),
        };
    }

    /// The wide event of the batch.
    #[must_use]
    pub fn event(&self, now: Timestamp) -> Event {
        let mut event = Event::new("reports", now)
            .field("failed", self.failed)
            .metric(&[], "Reports", Unit::Count, f64::from(self.reports))
            .metric(&[], "ReportsDropped", Unit::Count, self.dropped as f64)
            .metric(&[], "CommandsRefused", Unit::Count, f64::from(self.commands_refused))
            .metric(&[], "DatabaseEvents", Unit::Count, f64::from(self.events))
            .metric(&[], "DatabaseEventsDropped", Unit::Count, self.dropped_events as f64)
            .metric(&[], "PostgresErrors", Unit::Count, self.postgres_errors as f64)
            .field("log_batches", self.log_batches)
            .metric(&[], "ReportLagMilliseconds", Unit::Milliseconds, self.lag_milliseconds)
            .metric(&[], "DatabasesDown", Unit::Count, f64::from(self.databases_down))
            .metric(&[], "DatabasesUnarchived", Unit::Count, f64::from(self.databases_unarchived));
        if let Some(away) = self.away_seconds {
            event = event.metric(&[], "AgentAwaySeconds", Unit::Seconds, away);
        }
        event
    }
}

/// Whether PostgreSQL is meant to run, and has run before.
fn runs(seen: &Observation) -> bool {
    seen.exists && !seen.hibernated && seen.instances > 0 && seen.system_identifier.is_some()
}

/// Records a batch. What cannot be recorded comes again, and what cannot be read too: after some times it is in the queue of dead
/// letters, where somebody looks at it, instead of nowhere.
pub async fn record_all<P: Ports>(ports: &P, batch: &Batch) -> (Failures, Heard) {
    let (mut failures, mut heard) = (Failures::default(), Heard::default());
    for message in &batch.records {
        let report = match serde_json::from_str::<Report>(&message.body) {
            Ok(report) => report,
            Err(error) => {
                // Where it breaks and not what it says: it may be anything.
                let (line, column) = (error.line(), error.column());
                tracing::error!(message_id = message.message_id, line, column, "a report that cannot be read");
                heard.fail();
                failures.add(message);
                continue;
            }
        };
        kiven_failpoint::pass("reports", "received", "report");
        heard.hear(&report, ports.clock().now());
        if let Err(error) = one(ports, &report, &mut heard).await {
            tracing::warn!(%error, environment_id = %report.environment_id, "the report comes again");
            heard.fail();
            failures.add(message);
        }
        kiven_failpoint::pass("reports", "recorded", "report");
    }
    (failures, heard)
}

async fn one<P: Ports>(ports: &P, report: &Report, heard: &mut Heard) -> Result<(), PortError> {
    let away = away(ports, report).await?;
    record(ports, report).await?;
    heard.came_back(away);
    Ok(())
}

/// How long an agent was away, at the first word of its new session; `None` otherwise.
///
/// # Errors
/// When the records cannot be read.
pub async fn away<P: Ports>(ports: &P, report: &Report) -> Result<Option<f64>, PortError> {
    if report.sequence != 1 {
        return Ok(None);
    }
    let before = ports.agents().agent_get(&report.environment_id).await?;
    Ok(before.filter(|before| before.session < report.session).map(|before| milliseconds(before.seen_at, report.at) / 1000.0))
}

/// Records one report.
///
/// # Errors
/// When it could not be recorded: it comes again.
pub async fn record<P: Ports>(ports: &P, report: &Report) -> Result<(), PortError> {
    let waiting = match &report.body {
        ReportBody::Facts(facts) => {
            let environment_id = report.environment_id.clone();
            let record = AgentRecord { environment_id, session: report.session, seen_at: report.at, facts: facts.clone() };
            ports.agents().agent_put(&record).await?;
            let environment = ports.records().environment_get(&report.environment_id).await?;
            environment.filter(|e| e.status == EnvironmentStatus::Connecting).and_then(|e| e.operation_id)
        }
        ReportBody::Observed(observation) => {
            let database = ports.records().database_get(&observation.database_id).await?;
            let Some(database) = database.filter(|d| d.spec.environment_id == report.environment_id) else {
                tracing::warn!(environment_id = %report.environment_id, database_id = %observation.database_id, "an observation of another environment's database");
                return Ok(());
            };
            ports.agents().observation_put(observation, (report.session, report.sequence)).await?;
            if database.status.moving() { database.operation_id } else { None }
        }
        ReportBody::Answered { command_id, outcome } => {
            let known = ports.agents().command_get(command_id).await?;
            let Some(known) = known.filter(|known| known.command.environment_id == report.environment_id) else {
                tracing::warn!(environment_id = %report.environment_id, command_id, "an answer to a command that was never sent there");
                return Ok(());
            };
            ports.agents().command_answer(command_id, outcome).await?;
            // A reader asks by themselves.
            (!known.command.body.is_for_a_reader()).then_some(known.command.operation_id)
        }
        ReportBody::Logged(logged) => {
            tell_logs(report, logged);
            None
        }
        ReportBody::Sealed(batch) => {
            keep(ports, report, batch).await?;
            None
        }
        ReportBody::Event(event) => {
            let database = ports.records().database_get(&event.database_id).await?;
            if database.is_none_or(|database| database.spec.environment_id != report.environment_id) {
                tracing::warn!(environment_id = %report.environment_id, database_id = %event.database_id, "an event of another environment's database");
                return Ok(());
            }
            ports.agents().event_put(event).await?;
            None
        }
        // The relay puts them into the archive; none comes by the queue.
        ReportBody::Statistics(_) => None,
        ReportBody::Dropped { count, events } => {
            tracing::warn!(environment_id = %report.environment_id, count, events, "the agent dropped reports");
            None
        }
    };
    if let Some(operation) = waiting {
        ring(ports, &operation).await;
    }
    Ok(())
}

/// Keeps a sealed batch for the reader whose session it is; there is nothing in it that could be looked at.
async fn keep<P: Ports>(ports: &P, report: &Report, batch: &SealedBatch) -> Result<(), PortError> {
    let session = ports.records().log_session_get(&batch.session_id).await?;
    let theirs = |environment, database| environment == &report.environment_id && database == &batch.database_id;
    match session {
        Some(session) if batch.sealed.len() <= SEALED_BYTES_MAX && theirs(&session.environment_id, &session.database_id) => {
            let now = ports.clock().now();
            // What was on its way when the reader left is nobody's any more.
            if session.open_at(now) {
                ports.agents().log_batch_put(batch, session.expires_at + SignedDuration::from_mins(KEPT_MINUTES)).await?;
            }
        }
        Some(_) | None => {
            tracing::warn!(environment_id = %report.environment_id, session_id = %batch.session_id, "a batch of no session of this environment, or too large");
        }
    }
    Ok(())
}

/// Whether a statement or a session failed.
fn is_error(severity: &str) -> bool {
    ["ERROR", "FATAL", "PANIC"].contains(&severity)
}

/// One line for each kind that failed: whoever operates the database looks for its SQLSTATE.
fn tell_logs(report: &Report, logged: &LogCounts) {
    for kind in logged.kinds.iter().filter(|kind| is_error(&kind.severity)) {
        let LogCount { severity, sqlstate, template, count } = kind;
        tracing::info!(environment_id = %report.environment_id, database_id = %logged.database_id, severity, sqlstate, template, count, "PostgreSQL logged");
    }
}

/// A lost ring is the sweep's to make good.
async fn ring<P: Ports>(ports: &P, operation: &OperationId) {
    if let Err(error) = ports.doorbell().doorbell_ring(operation, Duration::ZERO).await {
        tracing::warn!(%error, operation_id = %operation, "the doorbell did not ring");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::{Code, DatabaseId, EnvironmentId, Problem};
    use serde_json::{Value, json};

    fn observed(ready: u32, archiving: bool, hibernated: bool) -> Report {
        let seen = json!({
            "database_id": DatabaseId::from_random([1; 16]), "cluster": "shop-1", "exists": true, "phase": "Cluster in healthy state", "instances": 3,
            "ready_instances": ready, "primary": null, "system_identifier": "7", "hibernated": hibernated, "archiving": archiving, "pooler_ready": 0,
            "pods": 0, "volumes": [], "published": {}, "backup_completed": true,
        });
        let body = ReportBody::Observed(serde_json::from_value(seen).unwrap());
        Report { environment_id: EnvironmentId::from_random([2; 16]), session: 3, sequence: 4, at: Timestamp::UNIX_EPOCH, body }
    }

    #[test]
    fn what_cannot_be_read_comes_again_until_it_is_a_dead_letter() {
        let world = kiven_sim::World::new(1, kiven_sim::Odds::none());
        let read = serde_json::to_string(&Report { body: ReportBody::Dropped { count: 1, events: 0 }, ..observed(3, true, false) }).unwrap();
        let messages = [("1", "{"), ("2", read.as_str()), ("3", r#"{"body":"of the future"}"#)];
        let records: Vec<Value> = messages.iter().map(|(id, body)| json!({ "messageId": id, "body": body })).collect();
        let batch: Batch = serde_json::from_value(json!({ "Records": records })).unwrap();
        let (failures, heard) = kiven_sim::block_on(record_all(&world, &batch)).unwrap();
        let again: Vec<&str> = failures.batch_item_failures.iter().map(|one| one.item_identifier.as_str()).collect();
        assert_eq!((again, heard.reports, heard.failed), (vec!["1", "3"], 1, 2));
    }

    #[test]
    fn a_batch_says_what_stands_still() {
        let now = Timestamp::from_second(2).unwrap();
        let mut heard = Heard::default();
        for report in [observed(3, true, false), observed(0, false, false), observed(1, false, false), observed(0, false, true)] {
            heard.hear(&report, now);
        }
        heard.hear(&Report { body: ReportBody::Dropped { count: 5, events: 2 }, ..observed(0, true, false) }, now);
        let outcome = CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, "no"));
        heard.hear(&Report { body: ReportBody::Answered { command_id: "op_1/step".to_owned(), outcome }, ..observed(0, true, false) }, now);
        heard.came_back(Some(4.0));
        heard.came_back(None);
        heard.came_back(Some(2.0));
        let line: Value = serde_json::from_str(&heard.event(now).line("Kiven")).unwrap();
        let said = [
            "Reports",
            "ReportsDropped",
            "CommandsRefused",
            "DatabaseEventsDropped",
            "DatabasesDown",
            "DatabasesUnarchived",
            "ReportLagMilliseconds",
            "AgentAwaySeconds",
        ]
        .map(|name| line[name].clone());
        assert_eq!(said, [json!(6.0), json!(5.0), json!(1.0), json!(2.0), json!(1.0), json!(2.0), json!(2000.0), json!(4.0)]);
    }
}
