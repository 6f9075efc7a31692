//! What customers see of a database's life: one pure machine.
use crate::operation::OperationKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a database is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DatabaseStatus {
    /// Being made.
    Provisioning,
    /// Answers.
    Available,
    /// On its way to no compute.
    Pausing,
    /// Data safe, no compute cost.
    Paused,
    /// On its way back.
    Resuming,
    /// Taking another size, other settings or maintenance; it answers meanwhile.
    Changing,
    /// On its way to its grace, or out of the world.
    Deleting,
    /// Deleted, its volumes kept until the grace ends.
    Grace,
    /// On its way from the grace back to paused.
    Undeleting,
    /// Its remains are being removed.
    Purging,
    /// Gone.
    Deleted,
    /// Kiven has let go of it: it is the customer's own, and goes on without Kiven.
    Released,
    /// Provisioning failed and left nothing behind.
    Failed,
    /// An operation could neither go on nor back; people have been told.
    Stuck,
}

/// What can happen to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An operation has been accepted.
    Started(OperationKind),
    /// It has reached its end.
    Completed(OperationKind),
    /// It failed and everything it did has been undone.
    Unwound(OperationKind),
    /// It can neither go on nor back.
    Stalled(OperationKind),
    /// Its environment was disconnected and it was let go.
    LetGo,
}

/// The event does not fit the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to a database that is {state}")]
pub struct Impossible {
    /// The state.
    pub state: DatabaseStatus,
    /// The event.
    pub event: Event,
}

impl DatabaseStatus {
    /// Every state, in the order of a life.
    pub const ALL: [DatabaseStatus; 14] = [
        Self::Provisioning,
        Self::Available,
        Self::Pausing,
        Self::Paused,
        Self::Resuming,
        Self::Changing,
        Self::Deleting,
        Self::Grace,
        Self::Undeleting,
        Self::Purging,
        Self::Deleted,
        Self::Released,
        Self::Failed,
        Self::Stuck,
    ];
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Available => "available",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Changing => "changing",
            Self::Deleting => "deleting",
            Self::Grace => "grace",
            Self::Undeleting => "undeleting",
            Self::Purging => "purging",
            Self::Deleted => "deleted",
            Self::Released => "released",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
    /// Whether its name is free for another.
    #[must_use]
    pub fn name_free(self) -> bool {
        self.gone() || matches!(self, Self::Grace | Self::Purging)
    }
    /// Whether Kiven has nothing to do with it any more; its record is kept for a while.
    #[must_use]
    pub fn gone(self) -> bool {
        matches!(self, Self::Deleted | Self::Failed | Self::Released)
    }
    /// Whether an operation is under way.
    #[must_use]
    pub fn moving(self) -> bool {
        matches!(self, Self::Provisioning | Self::Pausing | Self::Resuming | Self::Changing | Self::Deleting | Self::Undeleting | Self::Purging)
    }
}

impl fmt::Display for DatabaseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The next state.
///
/// # Errors
/// When the event does not fit the state.
pub fn next(state: DatabaseStatus, event: Event) -> Result<DatabaseStatus, Impossible> {
    use DatabaseStatus as S;
    use Event::{Completed, LetGo, Stalled, Started, Unwound};
    use OperationKind as K;
    match (state, event) {
        (S::Available | S::Stuck, Started(K::Pause)) => Ok(S::Pausing),
        (S::Paused | S::Stuck, Started(K::Resume)) => Ok(S::Resuming),
        (S::Available, Started(K::Change | K::PatchNodes | K::RotateCertificates)) => Ok(S::Changing),
        (S::Available | S::Paused | S::Stuck, Started(K::Delete)) => Ok(S::Deleting),
        (S::Grace, Started(K::Purge)) => Ok(S::Purging),
        (S::Grace, Started(K::Undelete)) => Ok(S::Undeleting),
        // A delete goes back only from its final backup, which is taken while the database answers.
        (S::Provisioning, Completed(K::Provision))
        | (S::Resuming, Completed(K::Resume))
        | (S::Pausing, Unwound(K::Pause))
        | (S::Changing, Completed(K::Change | K::PatchNodes | K::RotateCertificates) | Unwound(K::Change | K::PatchNodes | K::RotateCertificates))
        | (S::Deleting, Unwound(K::Delete)) => Ok(S::Available),
        (S::Provisioning, Unwound(K::Provision)) => Ok(S::Failed),
        (S::Pausing, Completed(K::Pause)) | (S::Undeleting, Completed(K::Undelete)) => Ok(S::Paused),
        (S::Deleting, Completed(K::Delete)) => Ok(S::Grace),
        (S::Purging, Completed(K::Purge)) => Ok(S::Deleted),
        // Only what runs can go on by itself.
        (S::Available, LetGo) => Ok(S::Released),
        (S::Provisioning, Stalled(K::Provision))
        | (S::Pausing, Stalled(K::Pause))
        | (S::Resuming, Stalled(K::Resume))
        | (S::Changing, Stalled(K::Change | K::PatchNodes | K::RotateCertificates))
        | (S::Deleting, Stalled(K::Delete))
        | (S::Undeleting, Stalled(K::Undelete))
        | (S::Purging, Stalled(K::Purge)) => Ok(S::Stuck),
        (state, event) => Err(Impossible { state, event }),
    }
}

/// Every event, for tables and diagrams.
#[must_use]
pub fn events() -> Vec<Event> {
    let of = |make: fn(OperationKind) -> Event| OperationKind::of_databases().map(make);
    of(Event::Started).chain(of(Event::Completed)).chain(of(Event::Unwound)).chain(of(Event::Stalled)).chain([Event::LetGo]).collect()
}

/// The machine as a Mermaid state diagram.
#[must_use]
pub fn diagram() -> String {
    let mut lines = vec!["stateDiagram-v2".to_owned(), "    [*] --> provisioning".to_owned()];
    for state in DatabaseStatus::ALL {
        for event in events() {
            if let Ok(to) = next(state, event) {
                let label = match event {
                    Event::Started(kind) => format!("{} started", kind.as_str()),
                    Event::Completed(kind) => format!("{} completed", kind.as_str()),
                    Event::Unwound(kind) => format!("{} unwound", kind.as_str()),
                    Event::Stalled(kind) => format!("{} stuck", kind.as_str()),
                    Event::LetGo => "its environment let go".to_owned(),
                };
                lines.push(format!("    {state} --> {to}: {label}"));
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every (state, event) pair stands in the golden file; `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn every_pair_is_in_the_golden_table() {
        let mut table = String::new();
        for state in DatabaseStatus::ALL {
            for event in events() {
                let to = next(state, event).map_or("-".to_owned(), |to| to.to_string());
                table.push_str(&format!("{:<13} {:<22} {to}\n", state.to_string(), format!("{event:?}")));
            }
        }
        expect_test::expect_file!["../golden/lifecycle.txt"].assert_eq(&table);
    }

    #[test]
    fn nothing_leaves_the_end() {
        for end in DatabaseStatus::ALL.into_iter().filter(|state| state.gone()) {
            assert!(events().into_iter().all(|event| next(end, event).is_err()));
        }
    }

    #[test]
    fn every_state_can_be_reached_and_every_moving_one_left() {
        let moves: Vec<_> =
            DatabaseStatus::ALL.into_iter().flat_map(|s| events().into_iter().filter_map(move |e| next(s, e).ok().map(|to| (s, to)))).collect();
        for state in DatabaseStatus::ALL {
            assert!(state == DatabaseStatus::Provisioning || moves.iter().any(|(_, to)| *to == state), "{state} is never reached");
            assert!(!state.moving() || moves.iter().any(|(from, _)| *from == state), "{state} is never left");
        }
    }
}
