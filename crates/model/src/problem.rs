//! Errors as people and machines see them: code, message, detail, hint, field.
use serde::{Deserialize, Serialize};
use std::fmt;

/// A stable error code, `KV-` and three digits; each has a page in `docs/errors/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Code(u16);

macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal;)*) => {
        impl Code {
            $(#[doc = $title] pub const $name: Code = Code($number);)*
            /// Every code with its title, in order.
            pub const ALL: &'static [(Code, &'static str)] = &[$((Code($number), $title)),*];
        }
    };
}

codes! {
    NAME_INVALID = 101, "A name breaks the naming rules";
    PLAN_UNKNOWN = 102, "The plan does not exist";
    STORAGE_INVALID = 103, "The storage size is out of range";
    STORAGE_SHRINKS = 104, "Storage cannot shrink";
    INSTANCES_INVALID = 105, "The number of instances is out of range";
    PARAMETER_UNKNOWN = 106, "PostgreSQL does not know this parameter";
    PARAMETER_MANAGED = 107, "Kiven manages this parameter";
    PARAMETER_INVALID = 108, "The parameter's value is not valid";
    VERSION_NOT_OFFERED = 109, "This PostgreSQL version is not offered here";
    POOLER_INVALID = 110, "The pooler's settings are not valid";
    BACKUP_INVALID = 111, "The backup settings are not valid";
    NAMESPACE_INVALID = 112, "A namespace's name is not valid";
    EXTENSION_UNKNOWN = 113, "This extension is not offered";
    POWER_INVALID = 114, "Power is `on` or `off`";
    DELETION_INVALID = 115, "The deletion settings are not valid";
    CUSTOM_SIZE_INVALID = 116, "The custom size does not fit";
    AWS_ACCOUNT_INVALID = 117, "The AWS account id is not valid";
    AWS_REGION_INVALID = 118, "The AWS region is not valid or not allowed";
    EKS_CLUSTER_INVALID = 119, "The EKS cluster's name is not valid";
    ROLE_INVALID = 120, "The role ARN is not valid";
    SUBNETS_INVALID = 121, "The subnets are not valid";
    LAUNCH_TEMPLATE_INVALID = 122, "The launch template is not valid";
    ID_INVALID = 123, "An id is not valid";
    TIMEOUT_INVALID = 124, "A timeout is not valid";
    TIME_ZONE_UNKNOWN = 125, "The time zone is not known";
    WINDOW_INVALID = 126, "A window of a schedule is not valid";
    WINDOWS_OVERLAP = 127, "Windows of a schedule overlap";
    EXCEPTION_INVALID = 128, "An exception of a schedule is not valid";
    SCHEDULE_DATABASES_INVALID = 129, "The databases of a schedule are not valid";
    NOT_YET_CHANGEABLE = 130, "This attribute cannot be changed yet";
    NEVER_CHANGEABLE = 131, "This attribute can never be changed";
    STORAGE_COOLDOWN = 133, "The volumes grew a short while ago";
    MAINTENANCE_INVALID = 134, "The maintenance window is not valid";
    NOT_RELEASABLE = 135, "A database that does not run cannot be released";
    KMS_KEY_INVALID = 136, "The KMS key is not valid";
    QUOTA_INVALID = 137, "The quota of node groups is not valid";
    ENROLMENT_INVALID = 138, "The way in which agents enrol is not valid";
    LOG_SESSION_INVALID = 139, "The reading of a log is not valid";
    UNAUTHENTICATED = 201, "The API key is missing, unknown or expired";
    FORBIDDEN = 202, "The API key may not do this";
    NOT_FOUND = 203, "There is no such thing in this organization";
    NAME_TAKEN = 204, "The name is taken";
    OPERATION_RUNNING = 205, "Another operation is running";
    DELETION_PROTECTED = 206, "The database is protected from deletion";
    WRONG_STATE = 207, "The database's state does not allow this";
    BODY_BROKEN = 208, "The request's body cannot be read";
    ENVIRONMENT_NOT_READY = 209, "The environment is not connected";
    ENVIRONMENT_IN_USE = 210, "The environment still has databases";
    CLUSTER_TAKEN = 211, "This EKS cluster is already an environment";
    TOO_MANY_REQUESTS = 212, "Too many requests";
    NOT_CANCELLABLE = 213, "The operation is past its point of no return";
    IN_ANOTHER_SCHEDULE = 214, "The database is in another schedule";
    QUERY_INVALID = 220, "A parameter of the query is not valid";
    METHOD_UNKNOWN = 221, "The route has no such method";
    TOO_MANY_READERS = 222, "Too many readers of logs at once";
    UNAVAILABLE = 299, "Kiven cannot answer right now";
    ACCESS_DENIED = 301, "Kiven may not assume the role";
    EXTERNAL_ID_UNCHECKED = 302, "The role does not check the external id";
    AWS_REFUSED = 303, "AWS refused a request";
    AWS_QUOTA = 304, "An AWS quota is exhausted";
    FOREIGN_RESOURCE = 305, "A resource of that name is not Kiven's";
    NO_CAPACITY = 306, "A zone has no capacity for the node type";
    PERMISSION_MISSING = 307, "The role lacks a permission";
    ACCOUNT_INCOMPLETE = 308, "The account lacks something that databases need";
    NODES_UNFIT = 309, "Nodes do not start or do not join their cluster";
    AGENT_SILENT = 401, "The agent has not been heard of";
    AGENT_REFUSED = 402, "The agent refused a command";
    AGENT_FAILED = 403, "A command failed in the cluster";
    OPERATOR_MISSING = 404, "The CloudNativePG operator is not ready";
    STORAGE_CLASS_MISSING = 405, "The StorageClass is not there";
    CLUSTER_NOT_HEALTHY = 406, "PostgreSQL did not become healthy in time";
    ARCHIVE_UNCONFIRMED = 407, "The last WAL was not archived";
    IDENTIFIER_DIFFERS = 408, "Another system identifier answered";
    VOLUMES_MISSING = 409, "Volumes of the database are missing";
    COMMAND_EXPIRED = 410, "A command expired before it was delivered";
    ENROLMENT_REFUSED = 411, "The agent's enrolment was refused";
    BACKUP_FAILED = 412, "A backup failed";
    BODY_TOO_LARGE = 413, "The request's body is too large";
    OPERATOR_IN_THE_WAY = 414, "An operator that is there already cannot be used";
    MANIFEST_DIFFERS = 415, "A manifest is not the one that was pinned";
    INSTALL_FAILED = 416, "Operator and plugin could not be installed";
    CLUSTER_UNFIT = 417, "The cluster lacks something that databases need";
    READER_UNTRUSTED = 418, "The reader's key is not certified by the customer";
    BACKUP_RUNNING = 419, "A backup is still running";
    REPLAY_DIFFERS = 501, "The operation's code and its record differ";
    STEP_STUCK = 502, "A step has used up its attempts";
    UNDO_STUCK = 503, "A step could not be undone";
    CANCELLED = 504, "The operation was cancelled";
}

#[cfg(feature = "schema")]
crate::schema::text!(Code, "Code", "A stable error code; each has a page.", "^KV-[0-9]{3}$", "KV-203");

impl Code {
    /// The code's short title.
    #[must_use]
    pub fn title(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, title)| title)
    }
}
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KV-{:03}", self.0)
    }
}
impl From<Code> for String {
    fn from(code: Code) -> String {
        code.to_string()
    }
}
impl TryFrom<String> for Code {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let number = text.strip_prefix("KV-").and_then(|digits| digits.parse().ok());
        number.map(Code).ok_or_else(|| format!("`{text}` is not an error code"))
    }
}

/// One thing that is wrong with one field of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Violation {
    /// Which rule.
    pub code: Code,
    /// Dotted path of the field, as in HCL and JSON: `pooler.pool_size`, `parameters.work_mem`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Violation {
    /// Makes a violation.
    pub fn new(code: Code, field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into(), hint: hint.into() }
    }
}

/// What happened, why and what to do: the one shape of every error that leaves Kiven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{code}: {message}")]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// One sentence: what happened.
    pub message: String,
    /// Why, with names and numbers; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Every violated rule, when the input was invalid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// The operation that is in the way or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<crate::OperationId>,
}

impl Problem {
    /// A problem with code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: String::new(), hint: String::new(), violations: Vec::new(), operation_id: None }
    }
    /// Adds why.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
    /// Adds the operation in question.
    #[must_use]
    pub fn operation(mut self, id: crate::OperationId) -> Self {
        self.operation_id = Some(id);
        self
    }
}

impl From<Vec<Violation>> for Problem {
    /// The first violation gives code and message; all of them come along.
    fn from(violations: Vec<Violation>) -> Self {
        let first = violations.first();
        let code = first.map_or(Code::BODY_BROKEN, |v| v.code);
        let message = match violations.as_slice() {
            [] => "The request is not valid.".to_owned(),
            [only] => format!("{}: {}", only.field, only.message),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.field, first.message, rest.len()),
        };
        let hint = first.map_or(String::new(), |v| v.hint.clone());
        Self { violations, ..Self::new(code, message).hint(hint) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_survive_their_text() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, title) in Code::ALL {
            assert!(seen.insert(code), "{code} twice");
            assert!(!title.is_empty());
            assert_eq!(Code::try_from(code.to_string()).unwrap(), *code);
        }
    }
}
