//! What an agent is asked to do. A command says which Secret, never what is in it.
use crate::logs::LogReading;
use crate::operators::Component;
use crate::{DatabaseId, EnvironmentId, LogSessionId, OperationId, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One command. Its id is the token of the step that sent it, so a step that runs twice sends it once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// `{operation id}/{step key}`.
    pub id: String,
    /// Whose agent.
    pub environment_id: EnvironmentId,
    /// The operation that asks.
    pub operation_id: OperationId,
    /// The database it is about.
    pub database_id: Option<DatabaseId>,
    /// Grows with each operation on the database; an agent refuses a smaller one than it has seen.
    pub fence: u64,
    /// From then on the agent refuses it.
    pub not_after: Timestamp,
    /// What to do.
    pub body: CommandBody,
}

/// Recorded permission for something that destroys; the agent demands it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// What it allows: the database's id.
    pub database_id: DatabaseId,
    /// Who gave it: an opaque actor.
    pub given_by: String,
    /// When.
    pub given_at: Timestamp,
}

/// A Secret that the agent makes when it is not there, and never changes when it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRequest {
    /// Its name, in the databases' namespace.
    pub name: String,
    /// Labels it carries.
    pub labels: BTreeMap<String, String>,
    /// What it holds.
    pub content: SecretContent,
}

/// The kinds of Secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretContent {
    /// `kubernetes.io/basic-auth` with a generated password.
    Password {
        /// The role.
        username: String,
    },
    /// A certificate authority of the database's own: `ca.crt` and `ca.key`.
    CertificateAuthority {
        /// Its common name.
        common_name: String,
    },
}

/// The kinds of commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandBody {
    /// Look at the cluster and say what you are: answers with [`CommandOutput::Facts`].
    Inspect,
    /// Make these Secrets where they are missing: answers with the public certificate of an authority.
    EnsureSecrets {
        /// Which.
        secrets: Vec<SecretRequest>,
    },
    /// Server-side apply of these objects, in order.
    Apply {
        /// Whole objects with apiVersion, kind, metadata.
        objects: Vec<Value>,
        /// Permission for fewer instances or a shorter retention.
        #[serde(default)]
        consent: Option<Consent>,
    },
    /// Is PostgreSQL running with this revision of its settings, none of them waiting for a restart?
    VerifyRevision {
        /// The CNPG Cluster.
        cluster: String,
        /// The setting `kiven.revision`.
        revision: String,
    },
    /// Checkpoint, switch the WAL and wait until it is archived.
    ArchiveWal {
        /// The CNPG Cluster.
        cluster: String,
    },
    /// Let a standby on a node of another zone take over, where the primary is in this one.
    Switchover {
        /// The CNPG Cluster.
        cluster: String,
        /// The zone that the primary is to leave.
        away_from_zone: String,
    },
    /// Which server certificate is there? Answers with [`CommandOutput::Certificate`].
    ReadCertificate {
        /// The CNPG Cluster.
        cluster: String,
    },
    /// Have the operator issue another server certificate than this one, from the same authority, and wait until PostgreSQL
    /// shows it. Answers with [`CommandOutput::Certificate`].
    RenewCertificate {
        /// The CNPG Cluster.
        cluster: String,
        /// The one that is replaced: its Secret's UID.
        replaces: String,
    },
    /// The database is the customer's now: its objects are no longer removed by an undo.
    HandOver {
        /// The CNPG Cluster.
        cluster: String,
    },
    /// Remove what this very operation made and never handed over.
    Discard {
        /// The CNPG Cluster.
        cluster: String,
    },
    /// Stop it for good: hibernated, Services removed, volumes marked with the end of their grace.
    Retire {
        /// The CNPG Cluster.
        cluster: String,
        /// The Services' names, which become free.
        services: Vec<String>,
        /// From when, by the agent's own clock, its volumes may go.
        delete_after: Timestamp,
        /// The permission.
        consent: Consent,
    },
    /// Run one backup of this name to its end: answers with its last WAL segment. Asking again looks at the same backup.
    TakeBackup {
        /// The CNPG Cluster.
        cluster: String,
        /// The Backup's name.
        name: String,
    },
    /// Is no backup of it running or about to? Answers once none is, as the API server says at that moment.
    AwaitBackups {
        /// The CNPG Cluster.
        cluster: String,
    },
    /// Take the end of its grace off the Cluster and its volumes: it stays hibernated, and nothing of it may go any more.
    Unretire {
        /// The CNPG Cluster.
        cluster: String,
    },
    /// The environment is disconnected: answer, say no more, and touch nothing until it is connected again.
    Release,
    /// Move operator or plugin forward to this listed release; asked again until it is ready.
    MoveComponent {
        /// Which of the two.
        component: Component,
        /// Its version.
        version: String,
    },
    /// Read the database's log for a reader and seal it to their key, or go on doing so: answers once it reads.
    ReadLogs(Box<LogReading>),
    /// The reader has gone.
    EndLogs {
        /// The session.
        session_id: LogSessionId,
    },
    /// Remove the Cluster, its Secrets and its volumes, once their grace is over by the agent's own clock and annotation.
    Purge {
        /// The CNPG Cluster.
        cluster: String,
        /// The permission.
        consent: Consent,
    },
}

impl CommandBody {
    /// The word for logs and refusals.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::EnsureSecrets { .. } => "ensure_secrets",
            Self::Apply { .. } => "apply",
            Self::VerifyRevision { .. } => "verify_revision",
            Self::ArchiveWal { .. } => "archive_wal",
            Self::Switchover { .. } => "switchover",
            Self::ReadCertificate { .. } => "read_certificate",
            Self::RenewCertificate { .. } => "renew_certificate",
            Self::HandOver { .. } => "hand_over",
            Self::Discard { .. } => "discard",
            Self::Retire { .. } => "retire",
            Self::TakeBackup { .. } => "take_backup",
            Self::AwaitBackups { .. } => "await_backups",
            Self::Unretire { .. } => "unretire",
            Self::Release => "release",
            Self::MoveComponent { .. } => "move_component",
            Self::ReadLogs(_) => "read_logs",
            Self::EndLogs { .. } => "end_logs",
            Self::Purge { .. } => "purge",
        }
    }
    /// Whether it is a reader's and no operation's: it changes nothing, so no fence orders it and nothing waits for it.
    #[must_use]
    pub fn is_for_a_reader(&self) -> bool {
        matches!(self, Self::ReadLogs(_) | Self::EndLogs { .. })
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    /// Done, or found done.
    Done(CommandOutput),
    /// It cannot be done now; asking again may help.
    Retry(Problem),
    /// The agent will not do it.
    Refused(Problem),
}

/// What a command gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutput {
    /// Nothing to say.
    Nothing,
    /// What the agent is.
    Facts(crate::report::AgentFacts),
    /// The public certificates of authorities, by Secret, PEM.
    Certificates(BTreeMap<String, String>),
    /// The server certificate.
    Certificate {
        /// Its Secret's UID.
        uid: String,
        /// When it ends, as far as the operator says.
        ends_at: Option<Timestamp>,
    },
    /// The last WAL segment that was confirmed archived.
    Archived {
        /// Its file name.
        wal: String,
    },
}
