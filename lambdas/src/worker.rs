//! The worker's work: one ring, answered and told of.
use crate::drive::{Answer, answer_ring};
use crate::telemetry::{Event, Unit, milliseconds};
use jiff::Timestamp;
use kiven_model::OperationId;
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_ports::{Clock, PortError, Ports, Records};
use std::sync::Arc;
use std::time::Duration;

/// Answers a ring for an operation: drives it, and says in one event what came of it.
///
/// # Errors
/// When the records cannot be read: the ring comes again. The event says so too.
pub async fn answer<P: Ports>(ports: &Arc<P>, id: &OperationId, lease: Duration, time: Duration) -> (Result<(), PortError>, Event) {
    let began = ports.clock().now();
    let before = match ports.records().operation_get(id).await {
        Ok(before) => before,
        Err(error) => {
            let event = Event::new("drive", began).field("operation_id", id.as_str()).field("outcome", "unread").field("error", error.to_string());
            return (Err(error), event);
        }
    };
    let answered = answer_ring(ports, id, lease, time).await;
    let event = event(before.as_ref(), id, &answered, began, ports.clock().now());
    (answered.map(|_| ()), event)
}

/// The wide event of a drive.
fn event(before: Option<&Operation>, id: &OperationId, answered: &Result<Answer, PortError>, began: Timestamp, now: Timestamp) -> Event {
    let outcome = match answered {
        Ok(answer) => answer.as_str(),
        Err(_) => "failed",
    };
    let mut event = Event::new("drive", now).field("operation_id", id.as_str()).field("outcome", outcome);
    if let Err(error) = answered {
        event = event.field("error", error.to_string());
    }
    let Some(operation) = before else { return event };
    let kind = operation.kind;
    event = event
        .field("Kind", kind.as_str())
        .field("organization_id", operation.organization_id.as_str())
        .field("environment_id", operation.environment_id.as_str())
        .metric(&["Kind"], "DriveMilliseconds", Unit::Milliseconds, milliseconds(began, now));
    if operation.status.over() {
        return event;
    }
    if let Some(due) = operation.due_at.filter(|due| *due <= began) {
        event = event.metric(&[], "RingLagMilliseconds", Unit::Milliseconds, milliseconds(due, began));
    }
    event = event.metric(&["Kind"], "OperationAgeSeconds", Unit::Seconds, milliseconds(operation.created_at, now) / 1000.0);
    match answered {
        Ok(Answer::Over(status)) => ended(event, kind, *status),
        _ => event,
    }
}

fn ended(event: Event, kind: OperationKind, status: OperationStatus) -> Event {
    let event = event.field("Outcome", status.as_str()).metric(&["Kind", "Outcome"], "OperationsEnded", Unit::Count, 1.0).metric(
        &["Outcome"],
        "OperationsEnded",
        Unit::Count,
        1.0,
    );
    if kind != OperationKind::Provision {
        return event;
    }
    let failed = if status == OperationStatus::Succeeded { 0.0 } else { 1.0 };
    event.metric(&[], "ProvisionsEnded", Unit::Count, 1.0).metric(&[], "ProvisionsFailed", Unit::Count, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::operation::Subject;
    use kiven_model::{DatabaseId, EnvironmentId, OrganizationId};
    use serde_json::{Value, json};

    fn operation(status: OperationStatus) -> Operation {
        let second = |second| Timestamp::from_second(second).unwrap();
        Operation {
            id: OperationId::from_random([1; 16]),
            kind: OperationKind::Provision,
            body_version: 1,
            organization_id: OrganizationId::from_random([2; 16]),
            environment_id: EnvironmentId::from_random([3; 16]),
            subject: Subject::Database(DatabaseId::from_random([4; 16])),
            input: Value::Null,
            status,
            output: None,
            problem: None,
            cancel_requested: false,
            past_no_return: false,
            current_step: None,
            poll_after_ms: 50,
            lease: None,
            due_at: Some(second(100)),
            events: 0,
            created_at: second(40),
            updated_at: second(50),
            version: 1,
        }
    }

    fn line(status: OperationStatus, answered: &Result<Answer, PortError>) -> Value {
        let operation = operation(status);
        let (began, now) = (Timestamp::from_second(101).unwrap(), Timestamp::from_second(103).unwrap());
        serde_json::from_str(&event(Some(&operation), &operation.id, answered, began, now).line("Kiven")).unwrap()
    }

    #[test]
    fn a_drive_says_how_late_it_was_how_long_it_took_and_what_came_of_it() {
        let said = line(OperationStatus::Running, &Ok(Answer::Over(OperationStatus::Stuck)));
        assert_eq!((&said["outcome"], &said["Kind"], &said["Outcome"]), (&json!("over"), &json!("provision"), &json!("stuck")));
        assert_eq!(
            (&said["RingLagMilliseconds"], &said["DriveMilliseconds"], &said["OperationAgeSeconds"]),
            (&json!(1000.0), &json!(2000.0), &json!(63.0))
        );
        assert_eq!((&said["OperationsEnded"], &said["ProvisionsFailed"]), (&json!(1.0), &json!(1.0)));
        let dimensions: Vec<&Value> = said["_aws"]["CloudWatchMetrics"].as_array().unwrap().iter().map(|one| &one["Dimensions"][0]).collect();
        assert_eq!(dimensions, [&json!(["Kind"]), &json!([]), &json!(["Kind", "Outcome"]), &json!(["Outcome"])]);
    }

    #[test]
    fn an_end_is_counted_once_and_a_failure_is_told() {
        let again = line(OperationStatus::Succeeded, &Ok(Answer::Over(OperationStatus::Succeeded)));
        assert!(again.get("OperationsEnded").is_none(), "{again}");
        let waits = line(OperationStatus::Running, &Ok(Answer::Waits));
        assert!(waits.get("OperationsEnded").is_none() && waits["outcome"] == "waits");
        let failed = line(OperationStatus::Running, &Err(PortError::retry("dynamodb:Query", "no answer in time")));
        assert_eq!(failed["outcome"], "failed");
        assert!(failed["error"].as_str().unwrap().contains("no answer in time"));
    }
}
