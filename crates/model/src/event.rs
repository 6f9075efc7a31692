//! What happens to a database in its cluster without anybody having asked for it, as its agent saw it: names and counts, never a line
//! of a log.
use crate::DatabaseId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How long an event is kept, in days.
pub const DATABASE_EVENT_DAYS: i64 = 90;
/// Most events in one answer.
pub const DATABASE_EVENTS_MAX: usize = 100;
/// A certificate that ends so soon should have been renewed: the operator does it seven days before.
pub const CERTIFICATE_WARNING: SignedDuration = SignedDuration::from_hours(6 * 24);
/// From so many per cent on a volume is told of, once at each of them.
pub const VOLUME_PERCENT: [u8; 3] = [80, 90, 95];

/// One event of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DatabaseEvent {
    /// Of which database.
    pub database_id: DatabaseId,
    /// When its agent saw it.
    pub at: Timestamp,
    /// What happened.
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// The primary was lost, and a standby has taken over.
    Failover {
        /// The instance that was the primary.
        from: String,
        /// The instance that is.
        to: String,
    },
    /// A standby has taken over in order.
    Switchover {
        /// The instance that was the primary.
        from: String,
        /// The instance that is.
        to: String,
    },
    /// A base backup or a snapshot is complete.
    BackupDone {
        /// Its name.
        backup: String,
    },
    /// A backup came to an end without being one.
    BackupFailed {
        /// Its name.
        backup: String,
    },
    /// WAL is no longer archived: what is written from now on is on the volumes only.
    ArchiveFailing,
    /// WAL is archived again.
    ArchiveWorking,
    /// A volume is filling.
    VolumeFilling {
        /// Its claim.
        claim: String,
        /// How full it is.
        percent: u8,
    },
    /// A node that carries an instance is not ready, or gone.
    NodeNotReady {
        /// Its name.
        node: String,
    },
    /// It is ready again.
    NodeReady {
        /// Its name.
        node: String,
    },
    /// A container was ended because it took more memory than it may.
    OutOfMemory {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// The server certificate ends soon, and nobody has renewed it.
    CertificateExpiring {
        /// When.
        ends_at: Timestamp,
    },
    /// The cluster warns of an object of the database.
    Warning {
        /// Its kind and name.
        object: String,
        /// The cluster's word for it: `FailedScheduling`, `FailedMount`.
        reason: String,
    },
}

impl Happening {
    /// Its word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Failover { .. } => "failover",
            Self::Switchover { .. } => "switchover",
            Self::BackupDone { .. } => "backup_done",
            Self::BackupFailed { .. } => "backup_failed",
            Self::ArchiveFailing => "archive_failing",
            Self::ArchiveWorking => "archive_working",
            Self::VolumeFilling { .. } => "volume_filling",
            Self::NodeNotReady { .. } => "node_not_ready",
            Self::NodeReady { .. } => "node_ready",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::CertificateExpiring { .. } => "certificate_expiring",
            Self::Warning { .. } => "warning",
        }
    }

    /// What it is about: with the time and the kind it tells one event from another.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Failover { to, .. } | Self::Switchover { to, .. } => to,
            Self::BackupDone { backup } | Self::BackupFailed { backup } => backup,
            Self::VolumeFilling { claim, .. } => claim,
            Self::NodeNotReady { node } | Self::NodeReady { node } => node,
            Self::OutOfMemory { pod, .. } => pod,
            Self::Warning { object, .. } => object,
            Self::ArchiveFailing | Self::ArchiveWorking | Self::CertificateExpiring { .. } => "",
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failover { from, to } => write!(f, "the primary {from} was lost, {to} has taken over"),
            Self::Switchover { from, to } => write!(f, "{to} has taken over from {from} in order"),
            Self::BackupDone { backup } => write!(f, "the backup {backup} is complete"),
            Self::BackupFailed { backup } => write!(f, "the backup {backup} failed"),
            Self::ArchiveFailing => f.write_str("WAL is not archived"),
            Self::ArchiveWorking => f.write_str("WAL is archived again"),
            Self::VolumeFilling { claim, percent } => write!(f, "the volume of {claim} is {percent} % full"),
            Self::NodeNotReady { node } => write!(f, "the node {node} is not ready"),
            Self::NodeReady { node } => write!(f, "the node {node} is ready again"),
            Self::OutOfMemory { pod, container } => write!(f, "{container} of {pod} was ended for lack of memory"),
            Self::CertificateExpiring { ends_at } => write!(f, "the server certificate ends at {ends_at}"),
            Self::Warning { object, reason } => write!(f, "{object}: {reason}"),
        }
    }
}
