//! The one table of routes. The router, the role check, the OpenAPI document and the golden table of roles come from it: a
//! route without a role or without words does not compile, one without an answer or a fixture fails a test.
use crate::route::{Entry, Route, delete, get, post, put};
use crate::{
    App, agent_tokens, answer, auth, databases, disconnect, document, environments, examples, log_sessions, operations, plans, schedules, upgrades,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use kiven_model::Code;
use kiven_model::api::{
    BODY_BYTES_MAX, CheckView, ConnectionRequest, DatabaseRequest, DatabaseView, EnvironmentRequest, EnvironmentView, Me, OperationView, OrphansView,
    PlanView, ScheduleView,
};
use kiven_model::enrolment::AgentTokenView;
use kiven_model::event::DatabaseEvent;
use kiven_model::logs::{LogBatches, LogSessionRequest, LogSessionView};
use kiven_model::organization::Role;
use kiven_model::schedule::{PowerEvent, ScheduleRequest};
use kiven_model::upgrade::UpgradesRequest;
use kiven_ports::Ports;
#[cfg(feature = "openapi")]
use {
    crate::route::Shape,
    kiven_model::{DatabaseId, EnvironmentId, LogSessionId, OperationId, ScheduleId},
};

/// The rules that a database's body can break.
const DATABASE_RULES: &[Code] = &[
    Code::NAME_INVALID,
    Code::PLAN_UNKNOWN,
    Code::STORAGE_INVALID,
    Code::STORAGE_SHRINKS,
    Code::INSTANCES_INVALID,
    Code::PARAMETER_UNKNOWN,
    Code::PARAMETER_MANAGED,
    Code::PARAMETER_INVALID,
    Code::VERSION_NOT_OFFERED,
    Code::POOLER_INVALID,
    Code::BACKUP_INVALID,
    Code::NAMESPACE_INVALID,
    Code::EXTENSION_UNKNOWN,
    Code::POWER_INVALID,
    Code::DELETION_INVALID,
    Code::CUSTOM_SIZE_INVALID,
    Code::ID_INVALID,
    Code::NOT_YET_CHANGEABLE,
    Code::NEVER_CHANGEABLE,
    Code::STORAGE_COOLDOWN,
    Code::MAINTENANCE_INVALID,
];
/// The rules that an environment's body can break.
const ENVIRONMENT_RULES: &[Code] = &[
    Code::NAME_INVALID,
    Code::AWS_ACCOUNT_INVALID,
    Code::AWS_REGION_INVALID,
    Code::EKS_CLUSTER_INVALID,
    Code::ENROLMENT_INVALID,
    Code::ID_INVALID,
    Code::NEVER_CHANGEABLE,
];
/// The rules that a connection's body can break.
const CONNECTION_RULES: &[Code] =
    &[Code::ROLE_INVALID, Code::SUBNETS_INVALID, Code::LAUNCH_TEMPLATE_INVALID, Code::KMS_KEY_INVALID, Code::QUOTA_INVALID];
/// The rules that a schedule's body can break.
const SCHEDULE_RULES: &[Code] = &[
    Code::TIME_ZONE_UNKNOWN,
    Code::WINDOW_INVALID,
    Code::WINDOWS_OVERLAP,
    Code::EXCEPTION_INVALID,
    Code::SCHEDULE_DATABASES_INVALID,
    Code::ID_INVALID,
];
/// What stands in the way of a change to a database.
const DATABASE_BUSY: &[Code] = &[Code::OPERATION_RUNNING, Code::WRONG_STATE];
/// What stands in the way of a change to an environment.
const ENVIRONMENT_BUSY: &[Code] = &[Code::OPERATION_RUNNING, Code::ENVIRONMENT_IN_USE];
const STARTED: &str = "Accepted: the operation that `operation_id` names is under way. Follow it.";

/// What `{id}` is, by the collection that a path begins with.
#[cfg(feature = "openapi")]
pub(crate) fn collections() -> Vec<(&'static str, Shape)> {
    vec![
        ("environments", Shape::of::<EnvironmentId>()),
        ("databases", Shape::of::<DatabaseId>()),
        ("operations", Shape::of::<OperationId>()),
        ("schedules", Shape::of::<ScheduleId>()),
        ("log-sessions", Shape::of::<LogSessionId>()),
    ]
}

/// Every route with its handler.
fn table<P: Ports>() -> Vec<Entry<P>> {
    [account(), environments(), databases(), logs(), schedules(), operations()].into_iter().flatten().collect()
}

fn account<P: Ports>() -> Vec<Entry<P>> {
    vec![
        get("/v1/openapi.json", Role::Viewer, "document_get", "This document", document::show)
            .for_anyone()
            .answers::<serde_json::Map<String, serde_json::Value>>(200, "The OpenAPI document."),
        get("/v1/me", Role::Viewer, "me", "Who the caller is", plans::me::<P>).answers::<Me>(200, "Organization and role of the key."),
        get("/v1/plans", Role::Viewer, "plan_list", "The plans on offer", plans::list::<P>)
            .answers::<Vec<PlanView>>(200, "Every plan that has a size of its own."),
    ]
}

fn environments<P: Ports>() -> Vec<Entry<P>> {
    const ONE: &str = "/v1/environments/{id}";
    const CONNECTION: &str = "/v1/environments/{id}/connection";
    const TOKENS: &str = "/v1/environments/{id}/agent-tokens";
    vec![
        get("/v1/environments", Role::Viewer, "environment_list", "Every environment", environments::list::<P>)
            .answers::<Vec<EnvironmentView>>(200, "The organization's environments, by name."),
        get(ONE, Role::Viewer, "environment_get", "One environment", environments::show::<P>)
            .answers::<EnvironmentView>(200, "The environment as it is."),
        put(ONE, Role::Admin, "environment_put", "Make an environment", environments::put::<P>)
            .about("Under an id of the caller's. When the name is taken by an equal environment that nobody has connected, that one is answered: the answer's id counts.")
            .creates()
            .body::<EnvironmentRequest>(&examples::environment(), ENVIRONMENT_RULES)
            .answers::<EnvironmentView>(200, "The environment, made now or there already.")
            .refuses(&[Code::NAME_TAKEN, Code::CLUSTER_TAKEN]),
        delete(ONE, Role::Admin, "environment_delete", "Forget an environment", environments::delete::<P>)
            .answers_nothing(204, "It is forgotten.")
            .refuses(ENVIRONMENT_BUSY),
        post("/v1/environments/{id}/check", Role::Operator, "environment_check", "Look whether all is as it was made", environments::check::<P>)
            .about("Looks at the account, which takes seconds, and mends nothing. The environment's status says afterwards whether its role opens.")
            .answers::<CheckView>(200, "What was found.")
            .refuses(&[Code::ENVIRONMENT_NOT_READY]),
        get("/v1/environments/{id}/orphans", Role::Viewer, "environment_orphans", "What nothing explains any more", environments::orphans::<P>)
            .about("Node groups, roles and buckets in the account that carry the organization's tags and belong to no database or environment, and volumes that nothing in the cluster uses. Looks at the account, which takes seconds.")
            .answers::<OrphansView>(200, "Every orphan, with what it costs a month at most.")
            .refuses(&[Code::ENVIRONMENT_NOT_READY, Code::ACCESS_DENIED]),
        post("/v1/environments/{id}/upgrade", Role::Operator, "environment_upgrade", "Move operator and plugin now", upgrades::upgrade::<P>)
            .about("To their next listed releases, at any hour and whether upgrades are paused or not. Every database stays up: their instances follow the operator in place.")
            .answers::<EnvironmentView>(200, "There is nothing newer.")
            .answers::<EnvironmentView>(202, STARTED)
            .refuses(&[Code::OPERATION_RUNNING, Code::ENVIRONMENT_NOT_READY]),
        put("/v1/environments/{id}/upgrades", Role::Admin, "environment_upgrades_put", "Pause upgrades, or let them go on", upgrades::put::<P>)
            .about("While they are not paused, operator and plugin move by themselves to listed releases, in rings, when the maintenance windows of all running databases are open.")
            .body::<UpgradesRequest>(&examples::upgrades(), &[])
            .answers::<EnvironmentView>(200, "It is as asked for."),
        post(TOKENS, Role::Admin, "agent_token_create", "Make a token for an agent", agent_tokens::create::<P>)
            .about("For environments whose `agent_enrolment` is `token`. The token is in this answer and nowhere else: Kiven keeps its SHA-256. It is good for one enrolment within the hour.")
            .answers::<AgentTokenView>(201, "The token.")
            .refuses(&[Code::WRONG_STATE]),
        delete(TOKENS, Role::Admin, "agent_token_revoke", "Revoke a token of an agent", agent_tokens::revoke::<P>)
            .about("One that is spent, expired or revoked already is no reason to refuse.")
            .query::<agent_tokens::Which>()
            .answers_nothing(204, "Nobody can enrol with it."),
        put(CONNECTION, Role::Admin, "connection_put", "Connect an environment", environments::connect::<P>)
            .body::<ConnectionRequest>(&examples::connection(), CONNECTION_RULES)
            .answers::<EnvironmentView>(200, "It is connected, or being connected, in this very way.")
            .answers::<EnvironmentView>(202, STARTED)
            .refuses(ENVIRONMENT_BUSY)
            .refuses(&[Code::CLUSTER_TAKEN]),
        delete(CONNECTION, Role::Admin, "connection_delete", "Disconnect an environment", disconnect::disconnect::<P>)
            .about("At once while it has no databases. With databases the query says what becomes of them, and an operation does it: a destroy ends when the last grace is over. Asking again in the same way while it runs answers the same operation.")
            .query::<disconnect::Leaving>()
            .answers::<EnvironmentView>(200, "It is no longer connected.")
            .answers::<EnvironmentView>(202, STARTED)
            .refuses(ENVIRONMENT_BUSY)
            .refuses(&[Code::NOT_RELEASABLE, Code::DELETION_PROTECTED]),
    ]
}

fn databases<P: Ports>() -> Vec<Entry<P>> {
    const ONE: &str = "/v1/databases/{id}";
    vec![
        get("/v1/databases", Role::Viewer, "database_list", "Databases", databases::list::<P>)
            .query::<databases::Filter>()
            .answers::<Vec<DatabaseView>>(200, "Databases by name; those that are gone are left out."),
        get(ONE, Role::Viewer, "database_get", "One database", databases::show::<P>)
            .more(Role::Operator, "to claim it with `claim=true`, which is ignored for others")
            .query::<databases::Reading>()
            .answers::<DatabaseView>(200, "The database as it is."),
        get("/v1/databases/{id}/events", Role::Viewer, "database_events", "What happened to a database", databases::events::<P>)
            .about("Seen by its environment's agent: failovers, ends of backups, the archive, nodes, memory, certificates, warnings of the cluster.")
            .answers::<Vec<DatabaseEvent>>(200, "The newest hundred of the last 90 days, newest first."),
        put(ONE, Role::Operator, "database_put", "Make or change a database", databases::put::<P>)
            .about("Under an id of the caller's. When the name is taken by an equal database that nobody has claimed, that one is answered: the answer's id counts.")
            .more(Role::Admin, "to make a database, and to change more than its power")
            .creates()
            .body::<DatabaseRequest>(&examples::database(), DATABASE_RULES)
            .answers::<DatabaseView>(200, "It is as asked for.")
            .answers::<DatabaseView>(202, STARTED)
            .refuses(DATABASE_BUSY)
            .refuses(&[Code::NAME_TAKEN, Code::ENVIRONMENT_NOT_READY]),
        delete(ONE, Role::Admin, "database_delete", "Delete a database", databases::delete::<P>)
            .about("To its grace, or out of the world when it has none. One that is being provisioned is cancelled first: follow the operation that the 409 names, then ask again.")
            .answers::<DatabaseView>(202, STARTED)
            .refuses(DATABASE_BUSY)
            .refuses(&[Code::DELETION_PROTECTED]),
        post("/v1/databases/{id}/undelete", Role::Admin, "database_undelete", "Take a deletion back", databases::undelete::<P>)
            .about("While its grace lasts a deleted database comes back as a paused one: the same data, name and address once it is resumed.")
            .answers::<DatabaseView>(202, STARTED)
            .refuses(&[Code::WRONG_STATE, Code::NAME_TAKEN, Code::ENVIRONMENT_NOT_READY]),
        post("/v1/databases/{id}/pause", Role::Operator, "database_pause", "Power off", databases::pause::<P>)
            .answers::<DatabaseView>(200, "It is paused.")
            .answers::<DatabaseView>(202, STARTED)
            .refuses(DATABASE_BUSY),
        post("/v1/databases/{id}/resume", Role::Operator, "database_resume", "Power on", databases::resume::<P>)
            .answers::<DatabaseView>(200, "It is on.")
            .answers::<DatabaseView>(202, STARTED)
            .refuses(DATABASE_BUSY),
        post("/v1/databases/{id}/patch-nodes", Role::Operator, "database_patch_nodes", "Patch the nodes now", databases::patch_nodes::<P>)
            .about("Outside of the maintenance window too. Standbys' nodes first, then one switchover and the primary's: writes stop for seconds. Where there is no newer machine image nothing happens.")
            .answers::<DatabaseView>(202, STARTED)
            .refuses(DATABASE_BUSY),
        post("/v1/databases/{id}/rotate-certificates", Role::Operator, "database_rotate_certificates", "Renew the server certificate now", databases::rotate_certificates::<P>)
            .about("From the same authority: `ca_certificate` stays, and so do open connections.")
            .answers::<DatabaseView>(202, STARTED)
            .refuses(DATABASE_BUSY),
    ]
}

fn logs<P: Ports>() -> Vec<Entry<P>> {
    const ONE: &str = "/v1/log-sessions/{id}";
    vec![
        put(ONE, Role::Operator, "log_session_put", "Read a database's log", log_sessions::put::<P>)
            .about("Under an id of the caller's. The database's agent seals what PostgreSQL logs to `reader_key`: Kiven passes it on and cannot read it. The session ends an hour later, or a minute after its reader has last asked for batches. Where the agent's chart has `trustedReaders`, the key needs the customer's certificate.")
            .creates()
            .body::<LogSessionRequest>(&examples::log_session(), &[Code::LOG_SESSION_INVALID, Code::ID_INVALID])
            .answers::<LogSessionView>(200, "The agent has been told, now or before.")
            .refuses(&[Code::WRONG_STATE, Code::ENVIRONMENT_NOT_READY, Code::TOO_MANY_READERS]),
        get("/v1/log-sessions/{id}/batches", Role::Operator, "log_session_batches", "What was read since", log_sessions::batches::<P>)
            .about("Asking is what keeps the session open. What comes is in order; a gap shows inside of the seal.")
            .query::<log_sessions::After>()
            .answers::<LogBatches>(200, "Sealed batches after `after`, at most 20.")
            .refuses(&[Code::READER_UNTRUSTED, Code::AGENT_REFUSED, Code::COMMAND_EXPIRED, Code::TOO_MANY_READERS]),
        delete(ONE, Role::Operator, "log_session_delete", "Stop reading", log_sessions::delete::<P>).answers_nothing(204, "It is over."),
    ]
}

fn schedules<P: Ports>() -> Vec<Entry<P>> {
    const ONE: &str = "/v1/schedules/{id}";
    vec![
        get("/v1/schedules", Role::Viewer, "schedule_list", "Power schedules", schedules::list::<P>)
            .answers::<Vec<ScheduleView>>(200, "Every schedule of the organization."),
        get(ONE, Role::Viewer, "schedule_get", "One power schedule", schedules::show::<P>)
            .answers::<ScheduleView>(200, "The schedule, and what it does next."),
        put(ONE, Role::Operator, "schedule_put", "Make or change a power schedule", schedules::put::<P>)
            .about("Under an id of the caller's. A database is in one schedule at most: when one of them is in another, nothing changes.")
            .creates()
            .body::<ScheduleRequest>(&examples::schedule(), SCHEDULE_RULES)
            .answers::<ScheduleView>(200, "It is as asked for.")
            .refuses(&[Code::IN_ANOTHER_SCHEDULE, Code::WRONG_STATE]),
        delete(ONE, Role::Operator, "schedule_delete", "Remove a power schedule", schedules::delete::<P>)
            .about("The power of its databases stays as it is.")
            .answers_nothing(204, "It is gone."),
        get(
            "/v1/databases/{id}/power-events",
            Role::Viewer,
            "power_events",
            "What a schedule decided about a database",
            schedules::power_events::<P>,
        )
        .answers::<Vec<PowerEvent>>(200, "The newest first, each with its reason."),
    ]
}

fn operations<P: Ports>() -> Vec<Entry<P>> {
    vec![
        get("/v1/operations", Role::Viewer, "operation_list", "Operations", operations::list::<P>)
            .query::<operations::Filter>()
            .answers::<Vec<OperationView>>(200, "The newest hundred, newest first, without their events."),
        get("/v1/operations/{id}", Role::Viewer, "operation_get", "Follow an operation", operations::show::<P>)
            .about("Ask with `after` set to the sequence number of the last event you have, and wait `retry_after_ms` between two requests.")
            .query::<operations::After>()
            .answers::<OperationView>(200, "The operation with its events after `after`, at most 200.")
            .conditional("Nothing after `after` and it is not over, or it is still what `if-none-match` names: ask again when the header `retry-after-ms` says."),
        post("/v1/operations/{id}/cancel", Role::Operator, "operation_cancel", "Ask an operation to go back", operations::cancel::<P>)
            .about("It takes effect at the next step before the point of no return. Asking twice is asking once.")
            .answers::<OperationView>(200, "The operation; it may be over already.")
            .refuses(&[Code::NOT_CANCELLABLE]),
    ]
}

/// Every route as data.
#[must_use]
pub fn routes<P: Ports>() -> Vec<Route> {
    table::<P>().into_iter().map(|entry| entry.route).collect()
}

/// The router: before each handler stands the gate with its route's access.
pub(crate) fn mount<P: Ports>(app: App<P>) -> Router {
    let mut router = Router::new();
    for Entry { route, handler } in table::<P>() {
        let gate = from_fn_with_state((app.clone(), route.access), auth::admit::<P>);
        router = router.route(route.path, handler.route_layer(gate));
    }
    router.fallback(answer::no_route).method_not_allowed_fallback(answer::no_method).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(app)
}
