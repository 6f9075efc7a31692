//! How a wish becomes an operation: the record, the operation and its due time, for one transaction.
use crate::input::{Before, ConnectInput, DatabaseInput, FinalBackup, Was, generation_of};
use jiff::{SignedDuration, Timestamp};
use kiven_model::api::consent;
use kiven_model::change::with_wishes_of;
use kiven_model::database::{Database, DatabaseSpec, Power};
use kiven_model::environment::{ConnectionSpec, Environment, EnvironmentStatus};
use kiven_model::lifecycle::{DatabaseStatus, Event, next};
use kiven_model::operation::{Operation, OperationKind, OperationStatus, Subject};
use kiven_model::schedule::is_schedule_actor;
use kiven_model::{Code, OperationId, Problem};
use kiven_ports::Write;
use kiven_ports::account::Access;
use serde::Serialize;

/// What an accepted wish writes.
#[derive(Debug, Clone)]
pub struct Accepted<R> {
    /// The record as it will be.
    pub record: R,
    /// The operation as it will be.
    pub operation: Operation,
    /// All writes, to be committed together.
    pub writes: Vec<Write>,
}

/// The way into an environment's account; `None` before its connection is known.
#[must_use]
pub fn access_of(environment: &Environment, operation_id: &OperationId) -> Option<Access> {
    environment.connection.as_ref().map(|connection| access(environment, connection, operation_id))
}

fn access(environment: &Environment, connection: &ConnectionSpec, operation_id: &OperationId) -> Access {
    Access {
        role_arn: connection.role_arn.clone(),
        external_id: environment.external_id.clone(),
        account_id: environment.spec.aws_account_id.clone(),
        region: environment.spec.aws_region.clone(),
        organization_id: environment.organization_id.clone(),
        environment_id: environment.id.clone(),
        operation_id: operation_id.clone(),
    }
}

/// Accepts a connect.
///
/// # Errors
/// Never in practice: when the input cannot be written as JSON.
pub fn accept_connect(
    environment: Environment,
    connection: ConnectionSpec,
    id: OperationId,
    now: Timestamp,
) -> Result<Accepted<Environment>, Problem> {
    let before = match (&environment.connected, &environment.connection) {
        (Some(_), Some(known)) => Some(Before { connection: known.clone(), status: environment.status }),
        _ => None,
    };
    let access = access(&environment, &connection, &id);
    let input = ConnectInput { access, environment: environment.spec.clone(), connection: connection.clone(), before };
    let subject = Subject::Environment(environment.id.clone());
    let operation = head(&environment, OperationKind::Connect, subject, id, &input, now)?;
    Ok(begun(Environment { connection: Some(connection), status: EnvironmentStatus::Connecting, ..environment }, operation))
}

/// An environment on which an operation begins: the record's next version, which no other change may have taken.
pub(crate) fn begun(environment: Environment, operation: Operation) -> Accepted<Environment> {
    let expected = Some(environment.version);
    let record = Environment { operation_id: Some(operation.id.clone()), problem: None, version: environment.version + 1, ..environment };
    let writes = vec![
        Write::Environment { record: Box::new(record.clone()), expected },
        Write::Operation { record: Box::new(operation.clone()), expected: None },
    ];
    Accepted { record, operation, writes }
}

/// Accepts an operation on a database. `expected` is the version of the stored record, `None` for a new one.
///
/// # Errors
/// When the environment is not connected, or the database's state does not allow it.
pub fn accept_database(
    environment: &Environment,
    database: Database,
    expected: Option<u64>,
    kind: OperationKind,
    id: OperationId,
    actor: &str,
    now: Timestamp,
) -> Result<Accepted<Database>, Problem> {
    let (Some(access), Some(connected), Some(connection)) = (access_of(environment, &id), &environment.connected, environment.connection.clone())
    else {
        return Err(not_connected(environment));
    };
    refuse_by_environment(environment, kind)?;
    let version = expected.map_or(1, |version| version + 1);
    let status = match expected {
        None => DatabaseStatus::Provisioning,
        Some(_) => next(database.status, Event::Started(kind)).map_err(|e| wrong_state(&database, &e.to_string()))?,
    };
    let made_by = database.made_by.clone().unwrap_or_else(|| id.clone());
    let by_schedule = is_schedule_actor(actor);
    let switches = matches!(kind, OperationKind::Pause | OperationKind::Resume | OperationKind::Undelete);
    let switched_by_schedule = if switches { by_schedule } else { database.switched_by_schedule };
    let last_manual_at = if switches && !by_schedule { Some(now) } else { database.last_manual_at };
    let destroys = matches!(kind, OperationKind::Delete | OperationKind::Purge);
    let spec = basis(&database, kind);
    let settings = revision(&database, spec, kind, &id, &made_by);
    let grace = SignedDuration::from_hours(24 * i64::from(database.spec.deletion.grace_days));
    let input = DatabaseInput {
        eks_cluster: environment.spec.eks_cluster_name.clone(),
        connection,
        oidc_issuer: connected.oidc_issuer.clone(),
        oidc_provider_arn: connected.oidc_provider_arn.clone(),
        generation: generation_of(&database, spec.clone(), &access, made_by.clone(), settings),
        fence: version,
        was: was(&database),
        consent: (destroys || loses(&database, spec)).then(|| consent(&database.id, actor, now)),
        delete_after: destroys.then(|| now + grace),
        final_backup: if kind == OperationKind::Delete { FinalBackup::of(&database) } else { None },
        access,
    };
    let mut operation = head(environment, kind, Subject::Database(database.id.clone()), id, &input, now)?;
    if input.final_backup.is_some_and(FinalBackup::can_go_back) {
        operation.past_no_return = false;
    }
    let record = Database {
        status,
        made_by: Some(made_by),
        operation_id: Some(operation.id.clone()),
        problem: None,
        last_manual_at,
        switched_by_schedule,
        updated_at: now,
        version,
        ..database
    };
    let mut writes = vec![
        Write::Database { record: Box::new(record.clone()), expected },
        Write::Operation { record: Box::new(operation.clone()), expected: None },
    ];
    if expected.is_none() {
        // Whoever removes or disconnects the environment at this moment must not leave a database behind.
        writes.push(Write::EnvironmentKept { id: environment.id.clone(), version: environment.version });
    }
    Ok(Accepted { record, operation, writes })
}

/// A database at rest as an operation would see it: which node groups, which role, which bucket. `None` before the environment is
/// connected.
pub(crate) fn looked_at(environment: &Environment, database: &Database, nobody: &OperationId) -> Option<DatabaseInput> {
    let (access, connected, connection) = (access_of(environment, nobody)?, environment.connected.as_ref()?, environment.connection.clone()?);
    let spec = database.applied.as_ref().unwrap_or(&database.spec).clone();
    Some(DatabaseInput {
        eks_cluster: environment.spec.eks_cluster_name.clone(),
        connection,
        oidc_issuer: connected.oidc_issuer.clone(),
        oidc_provider_arn: connected.oidc_provider_arn.clone(),
        generation: generation_of(database, spec, &access, nobody.clone(), nobody.clone()),
        fence: 0,
        was: was(database),
        consent: None,
        delete_after: None,
        final_backup: None,
        access,
    })
}

/// What an operation is about: what only stops, removes or keeps up is about what is there; what is wanted may be ahead of it.
fn basis(database: &Database, kind: OperationKind) -> &DatabaseSpec {
    match kind {
        OperationKind::Connect
        | OperationKind::Disconnect
        | OperationKind::Upgrade
        | OperationKind::Provision
        | OperationKind::Resume
        | OperationKind::Change => &database.spec,
        OperationKind::Pause
        | OperationKind::Delete
        | OperationKind::Purge
        | OperationKind::Undelete
        | OperationKind::PatchNodes
        | OperationKind::RotateCertificates => database.applied.as_ref().unwrap_or(&database.spec),
    }
}

fn was(database: &Database) -> Was {
    Was {
        power: power_of(database.status),
        connection: database.connection.clone(),
        spec: database.applied.clone(),
        placement: database.placement.clone(),
    }
}

fn not_connected(environment: &Environment) -> Problem {
    let hint = "Apply its kiven_environment_connection first and wait until it is connected.";
    Problem::new(Code::ENVIRONMENT_NOT_READY, format!("environment `{}` is not connected", environment.spec.name)).hint(hint)
}

/// Whether the environment's own state forbids an operation.
fn refuse_by_environment(environment: &Environment, kind: OperationKind) -> Result<(), Problem> {
    match environment.status {
        EnvironmentStatus::AccessLost if kind == OperationKind::Provision => Err(access_lost(environment)),
        EnvironmentStatus::Disconnecting if !ends(kind) => Err(disconnecting(environment)),
        _ => Ok(()),
    }
}

/// What a disconnect that destroys needs, and what takes it back.
fn ends(kind: OperationKind) -> bool {
    matches!(kind, OperationKind::Delete | OperationKind::Purge | OperationKind::Undelete)
}

fn disconnecting(environment: &Environment) -> Problem {
    let problem = Problem::new(Code::OPERATION_RUNNING, format!("environment `{}` is being disconnected", environment.spec.name));
    let problem = problem.hint("Cancel that first, while it can be cancelled.");
    environment.operation_id.clone().map_or(problem.clone(), |id| problem.operation(id))
}

fn access_lost(environment: &Environment) -> Problem {
    let why = environment.problem.as_ref().map(ToString::to_string).unwrap_or_default();
    Problem::new(Code::ACCESS_DENIED, format!("Kiven has lost its way into the account of environment `{}`", environment.spec.name))
        .detail(why)
        .hint("Restore the role's trust policy, or apply the connection with another role.")
}

/// The operation whose settings PostgreSQL will run with: this one, when it changes them.
fn revision(database: &Database, spec: &DatabaseSpec, kind: OperationKind, id: &OperationId, made_by: &OperationId) -> OperationId {
    let brings = matches!(kind, OperationKind::Change | OperationKind::Resume);
    let as_applied = |applied: &DatabaseSpec| with_wishes_of(applied, spec) == *spec;
    if brings && !database.applied.as_ref().is_none_or(as_applied) {
        return id.clone();
    }
    database.revision.clone().unwrap_or_else(|| made_by.clone())
}

/// Whether fewer instances or a shorter retention are wanted: whoever asks for them consents.
fn loses(database: &Database, spec: &DatabaseSpec) -> bool {
    database
        .applied
        .as_ref()
        .is_some_and(|applied| spec.instances < applied.instances || spec.backup.backup_retention_days < applied.backup.backup_retention_days)
}

fn wrong_state(database: &Database, detail: &str) -> Problem {
    let problem = Problem::new(Code::WRONG_STATE, format!("database `{}` is {}", database.spec.name, database.status)).detail(detail);
    match &database.operation_id {
        Some(id) => problem.operation(id.clone()),
        None => problem,
    }
}

fn power_of(status: DatabaseStatus) -> Power {
    if matches!(status, DatabaseStatus::Paused | DatabaseStatus::Grace | DatabaseStatus::Undeleting | DatabaseStatus::Purging) {
        Power::Off
    } else {
        Power::On
    }
}

/// What only ever goes forward cannot be cancelled either: there is no state that its unwinding could end in.
pub(crate) fn forward_only(kind: OperationKind) -> bool {
    match kind {
        OperationKind::Connect
        | OperationKind::Disconnect
        | OperationKind::Upgrade
        | OperationKind::Provision
        | OperationKind::Pause
        | OperationKind::Change
        | OperationKind::PatchNodes
        | OperationKind::RotateCertificates => false,
        // A delete that takes a final backup begins with a way back: its own acceptance says so.
        OperationKind::Resume | OperationKind::Delete | OperationKind::Purge | OperationKind::Undelete => true,
    }
}

pub(crate) fn head(
    environment: &Environment,
    kind: OperationKind,
    subject: Subject,
    id: OperationId,
    input: &impl Serialize,
    now: Timestamp,
) -> Result<Operation, Problem> {
    let input =
        serde_json::to_value(input).map_err(|e| Problem::new(Code::BODY_BROKEN, "the operation's input cannot be recorded").detail(e.to_string()))?;
    Ok(Operation {
        id,
        kind,
        body_version: 1,
        organization_id: environment.organization_id.clone(),
        environment_id: environment.id.clone(),
        subject,
        input,
        status: OperationStatus::Running,
        output: None,
        problem: None,
        cancel_requested: false,
        past_no_return: forward_only(kind),
        current_step: None,
        poll_after_ms: 50,
        lease: None,
        due_at: Some(now),
        events: 0,
        created_at: now,
        updated_at: now,
        version: 1,
    })
}
