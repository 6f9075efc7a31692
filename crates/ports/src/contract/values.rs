//! Small valid values for the suites.
use jiff::{SignedDuration, Timestamp};
use kiven_model::api::DatabaseRequest;
use kiven_model::database::Database;
use kiven_model::environment::{Environment, EnvironmentSpec, EnvironmentStatus};
use kiven_model::logs::{LogFilter, LogSession, LogSessionRequest};
use kiven_model::operation::{Operation, OperationKind, OperationStatus, Subject};
use kiven_model::schedule::{Schedule, ScheduleRequest, WindowRequest};
use kiven_model::{DatabaseId, EnvironmentId, LogSessionId, OperationId, OrganizationId, ScheduleId, request};

fn random(seed: u8, salt: u8) -> [u8; 16] {
    let mut bytes = [seed; 16];
    bytes[15] = salt;
    bytes
}

/// An environment; the seed decides every id.
#[must_use]
pub fn environment(seed: u8) -> Environment {
    Environment {
        id: EnvironmentId::from_random(random(seed, 1)),
        organization_id: OrganizationId::from_random(random(seed, 2)),
        spec: EnvironmentSpec {
            name: format!("env-{seed}"),
            aws_account_id: "000000000000".to_owned(),
            aws_region: "eu-west-1".to_owned(),
            eks_cluster_name: format!("local-{seed}"),
            agent_enrolment: Default::default(),
        },
        external_id: "e".repeat(32),
        connection: None,
        connected: None,
        status: EnvironmentStatus::Created,
        operation_id: None,
        problem: None,
        access_tried_at: None,
        upgrades: Default::default(),
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }
}

/// A database in [`environment`] of the same seed; `None` only if validation's own defaults were invalid.
#[must_use]
pub fn database(seed: u8) -> Option<Database> {
    let environment = environment(seed);
    let asked = DatabaseRequest {
        name: format!("shop-{seed}"),
        environment_id: environment.id.to_string(),
        plan: "startup".to_owned(),
        ..DatabaseRequest::default()
    };
    let spec = request::database(&asked, &[15]).ok()?.into_inner();
    Some(Database::asked(DatabaseId::from_random(random(seed, 3)), environment.organization_id, spec, Timestamp::UNIX_EPOCH))
}

/// An operation on [`environment`] of the same seed.
#[must_use]
pub fn operation(seed: u8, salt: u8) -> Operation {
    let environment = environment(seed);
    Operation {
        id: OperationId::from_random(random(seed, salt)),
        kind: OperationKind::Connect,
        body_version: 1,
        organization_id: environment.organization_id,
        subject: Subject::Environment(environment.id.clone()),
        environment_id: environment.id,
        input: serde_json::json!({}),
        status: OperationStatus::Running,
        output: None,
        problem: None,
        cancel_requested: false,
        past_no_return: false,
        current_step: None,
        poll_after_ms: 100,
        lease: None,
        due_at: Some(Timestamp::UNIX_EPOCH),
        events: 0,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }
}

/// A schedule of [`database`] of the same seed; `None` only if the calendar itself were invalid.
#[must_use]
pub fn schedule(seed: u8, salt: u8) -> Option<Schedule> {
    let database = database(seed)?;
    let window = WindowRequest { days: vec!["mon".to_owned()], start: "08:00".to_owned(), end: "18:00".to_owned() };
    let asked = ScheduleRequest {
        database_ids: vec![database.id.to_string()],
        time_zone: "Europe/Paris".to_owned(),
        windows: vec![window],
        ..ScheduleRequest::default()
    };
    Some(Schedule {
        id: ScheduleId::from_random(random(seed, salt)),
        organization_id: database.organization_id,
        spec: asked.validate().ok()?.into_inner(),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        version: 1,
    })
}

/// A reader's session on the log of [`database`] of the same seed, open from `at` on for an hour.
#[must_use]
pub fn log_session(seed: u8, salt: u8, at: Timestamp) -> Option<LogSession> {
    let database = database(seed)?;
    Some(LogSession {
        id: LogSessionId::from_random(random(seed, salt)),
        database_id: database.id.clone(),
        environment_id: database.spec.environment_id,
        organization_id: database.organization_id,
        request: LogSessionRequest {
            database_id: database.id,
            reader_key: "0a".repeat(32),
            expires_at_seconds: None,
            certificate: None,
            filter: LogFilter::default(),
        },
        opened_by: "key".to_owned(),
        opened_at: at,
        expires_at: at + SignedDuration::from_hours(1),
        renewed_at: at,
        renewals: 0,
        closed: false,
        version: 1,
    })
}
