//! The truth: one transactional port over every record.
use crate::PortError;
use jiff::Timestamp;
use kiven_model::database::Database;
use kiven_model::enrolment::AgentToken;
use kiven_model::environment::Environment;
use kiven_model::ids::ApiKeyId;
use kiven_model::logs::LogSession;
use kiven_model::operation::{Operation, OperationEvent, StepRecord};
use kiven_model::organization::{ApiKey, Organization};
use kiven_model::schedule::{PowerEvent, Schedule, ScheduledPower};
use kiven_model::{DatabaseId, EnvironmentId, LogSessionId, OperationId, OrganizationId, ScheduleId};
use std::future::Future;

/// Most writes in one transaction.
pub const WRITES_MAX: usize = 100;
/// Most events in one answer.
pub const EVENTS_MAX: usize = 200;

/// A name that only one thing may have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameClaim {
    /// An environment's name in an organization.
    Environment(OrganizationId, String),
    /// An EKS cluster: account, region, name.
    EksCluster(String, String, String),
    /// A database's name in an environment.
    Database(EnvironmentId, String),
}

/// One write of a transaction. `expected` is the version that the record must have now; `None`: it must not exist.
/// The record carries the version it will have.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// An organization; not fenced.
    Organization(Organization),
    /// An API key; not fenced.
    ApiKey(ApiKey),
    /// An environment.
    Environment {
        /// The whole record.
        record: Box<Environment>,
        /// The fence.
        expected: Option<u64>,
    },
    /// Nothing is written; the transaction conflicts when the environment is no longer of this version.
    EnvironmentKept {
        /// Which.
        id: EnvironmentId,
        /// The version it must have.
        version: u64,
    },
    /// An environment's end.
    EnvironmentGone {
        /// Which.
        id: EnvironmentId,
        /// The fence.
        expected: u64,
    },
    /// A single-use token of an agent; it goes by itself some time after it expires.
    AgentToken(Box<AgentToken>),
    /// A token's end; the transaction conflicts when it is spent or revoked already.
    AgentTokenGone {
        /// Whose.
        environment: EnvironmentId,
        /// Which.
        sha256: String,
    },
    /// Certificates of an environment's agents that are good from before this instant are worthless, and its newest epoch is over.
    AgentsRevoked {
        /// Whose.
        environment: EnvironmentId,
        /// The instant.
        before: Timestamp,
    },
    /// Stops every environment's operator and plugin where they are, or lets them move again; not fenced.
    UpgradesStopped {
        /// Why they stay; `None` lets them move.
        reason: Option<String>,
    },
    /// A database.
    Database {
        /// The whole record.
        record: Box<Database>,
        /// The fence.
        expected: Option<u64>,
    },
    /// An operation's head; the due index follows its `due_at`.
    Operation {
        /// The whole head.
        record: Box<Operation>,
        /// The fence.
        expected: Option<u64>,
    },
    /// A step's record, by key; fenced by its operation's head.
    Step(OperationId, Box<StepRecord>),
    /// An event, by sequence; fenced by its operation's head.
    Event(OperationId, Box<OperationEvent>),
    /// A power schedule.
    Schedule {
        /// The whole record.
        record: Box<Schedule>,
        /// The fence.
        expected: Option<u64>,
    },
    /// A schedule's end.
    ScheduleGone {
        /// Which.
        id: ScheduleId,
        /// The fence.
        expected: u64,
    },
    /// What a schedule remembers of a database; the due index follows its `next_due`. There is one by database, so `None` as
    /// the fence also says that the database is in no other schedule.
    ScheduledPower {
        /// The whole record.
        record: Box<ScheduledPower>,
        /// The fence.
        expected: Option<u64>,
    },
    /// A reader's session on a log; it leaves the list when it is closed, and goes by itself some time after its end.
    LogSession {
        /// The whole record.
        record: Box<LogSession>,
        /// The fence.
        expected: Option<u64>,
    },
    /// A database leaves its schedule.
    ScheduledPowerGone {
        /// Which database.
        id: DatabaseId,
        /// The fence.
        expected: u64,
    },
    /// What a schedule decided about a database; it goes by itself after [`kiven_model::schedule::POWER_EVENT_DAYS`].
    PowerEvent(DatabaseId, Box<PowerEvent>),
    /// Claims a name; the transaction conflicts when another owner has it.
    NameTaken {
        /// The name.
        claim: NameClaim,
        /// The owner's id.
        owner: String,
    },
    /// Frees a name that this owner has; nothing happens when it does not.
    NameFreed {
        /// The name.
        claim: NameClaim,
        /// The owner's id.
        owner: String,
    },
}

/// Every record. Reads are strongly consistent, except lists and the due index.
pub trait Records: Send + Sync {
    /// Writes all or nothing; at most [`WRITES_MAX`]. A broken fence or a taken name is [`PortError::Conflict`].
    fn records_commit(&self, writes: Vec<Write>) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Reads an organization.
    fn organization_get(&self, id: &OrganizationId) -> impl Future<Output = Result<Option<Organization>, PortError>> + Send;
    /// Reads an API key's record.
    fn api_key_get(&self, id: &ApiKeyId) -> impl Future<Output = Result<Option<ApiKey>, PortError>> + Send;
    /// Who has a name.
    fn name_owner(&self, claim: &NameClaim) -> impl Future<Output = Result<Option<String>, PortError>> + Send;
    /// The names of databases taken in an environment; strongly consistent, which the list of databases is not.
    fn database_names(&self, environment: &EnvironmentId) -> impl Future<Output = Result<Vec<String>, PortError>> + Send;
    /// Reads an environment.
    fn environment_get(&self, id: &EnvironmentId) -> impl Future<Output = Result<Option<Environment>, PortError>> + Send;
    /// Why no operator or plugin moves by itself anywhere; `None` when they do.
    fn upgrades_stopped(&self) -> impl Future<Output = Result<Option<String>, PortError>> + Send;
    /// Reads an agent's token by its SHA-256; one that has expired may still be there.
    fn agent_token_get(&self, environment: &EnvironmentId, sha256: &str) -> impl Future<Output = Result<Option<AgentToken>, PortError>> + Send;
    /// An organization's environments, by name.
    fn environment_list(&self, organization: &OrganizationId) -> impl Future<Output = Result<Vec<Environment>, PortError>> + Send;
    /// Reads a database.
    fn database_get(&self, id: &DatabaseId) -> impl Future<Output = Result<Option<Database>, PortError>> + Send;
    /// An organization's databases, the deleted ones too, by name.
    fn database_list(&self, organization: &OrganizationId) -> impl Future<Output = Result<Vec<Database>, PortError>> + Send;
    /// Reads an operation's head alone: its input is null. For whoever follows it; never to be written back.
    fn operation_head(&self, id: &OperationId) -> impl Future<Output = Result<Option<Operation>, PortError>> + Send;
    /// Reads an operation: its head and its input.
    fn operation_get(&self, id: &OperationId) -> impl Future<Output = Result<Option<Operation>, PortError>> + Send;
    /// An operation's steps by ordinal.
    fn operation_steps(&self, id: &OperationId) -> impl Future<Output = Result<Vec<StepRecord>, PortError>> + Send;
    /// An operation's events after a sequence number, at most [`EVENTS_MAX`].
    fn operation_events(&self, id: &OperationId, after: u64) -> impl Future<Output = Result<Vec<OperationEvent>, PortError>> + Send;
    /// An organization's operations, newest first, at most 100; without their inputs.
    fn operation_list(&self, organization: &OrganizationId) -> impl Future<Output = Result<Vec<Operation>, PortError>> + Send;
    /// Reads a schedule.
    fn schedule_get(&self, id: &ScheduleId) -> impl Future<Output = Result<Option<Schedule>, PortError>> + Send;
    /// An organization's schedules, oldest first.
    fn schedule_list(&self, organization: &OrganizationId) -> impl Future<Output = Result<Vec<Schedule>, PortError>> + Send;
    /// Reads a reader's session; one that is over may still be there.
    fn log_session_get(&self, id: &LogSessionId) -> impl Future<Output = Result<Option<LogSession>, PortError>> + Send;
    /// An organization's sessions that are not closed, oldest first; those that have ended by themselves may still be there.
    fn log_session_list(&self, organization: &OrganizationId) -> impl Future<Output = Result<Vec<LogSession>, PortError>> + Send;
    /// What its schedule remembers of a database; `None` when it is in no schedule.
    fn scheduled_power_get(&self, id: &DatabaseId) -> impl Future<Output = Result<Option<ScheduledPower>, PortError>> + Send;
    /// What schedules decided about a database, newest first, at most [`kiven_model::schedule::POWER_EVENTS_MAX`].
    fn power_events(&self, id: &DatabaseId) -> impl Future<Output = Result<Vec<PowerEvent>, PortError>> + Send;
    /// Databases whose schedule has to decide, oldest first, at most `limit`. Never in the way of [`Records::operations_due`].
    fn powers_due(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<Vec<DatabaseId>, PortError>> + Send;
    /// Databases whose maintenance has to be decided about, oldest first, at most `limit`.
    fn maintenance_due(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<Vec<DatabaseId>, PortError>> + Send;
    /// Operations whose due time has come, oldest first, at most `limit`.
    fn operations_due(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<Vec<OperationId>, PortError>> + Send;
}
