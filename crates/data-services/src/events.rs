//! From what is seen to what has happened: one step of a fold over sights, pure.
use jiff::Timestamp;
use kiven_model::event::{CERTIFICATE_WARNING, Happening, VOLUME_PERCENT};
use std::collections::{BTreeMap, BTreeSet};

/// So far a volume empties before it is told of again.
const EMPTIED_PERCENT: u8 = 5;

/// What events are told from, as one look shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// The instance that is the primary.
    pub primary: Option<String>,
    /// How the primary is changing, while it is.
    pub changing: Option<Change>,
    /// Whether WAL is archived; `None` while nobody says so.
    pub archiving: Option<bool>,
    /// Backups that have come to their end: whether it was a good one.
    pub backups: BTreeMap<String, bool>,
    /// Nodes that carry an instance: whether they are ready; `None` for one that is not there.
    pub nodes: BTreeMap<String, Option<bool>>,
    /// Ends of containers for lack of memory.
    pub kills: BTreeSet<Kill>,
    /// How full volumes are, in per cent, by claim.
    pub filled: BTreeMap<String, u8>,
    /// When the server certificate ends.
    pub certificate_ends_at: Option<Timestamp>,
}

/// How a primary changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was lost.
    Failover,
    /// In order.
    Switchover,
}

/// The end of a container for lack of memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kill {
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// When, as the cluster writes it.
    pub at: String,
}

/// What is known of one database, from look to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The last look.
    sight: Sight,
    /// How many thresholds of each volume have been told.
    levels: BTreeMap<String, usize>,
    /// The end of the certificate that was told.
    told_end: Option<Timestamp>,
    /// Nodes that were told not to be ready.
    lost: BTreeSet<String>,
}

/// What has happened between two looks; `known` is brought to the later one.
///
/// The first look tells what is wrong and nothing of what came before. A look that shows what the last one did tells nothing.
pub fn follow(known: &mut Option<Known>, sight: Sight, now: Timestamp) -> Vec<Happening> {
    let first = known.is_none();
    let mut before = known.take().unwrap_or_default();
    let mut events = Vec::new();
    let mut sight = primary(&before.sight, sight, &mut events);
    sight.archiving = sight.archiving.or(before.sight.archiving);
    archive(&before.sight, &sight, &mut events);
    if !first {
        let ended = sight.backups.iter().filter(|(name, _)| !before.sight.backups.contains_key(*name));
        events.extend(ended.map(|(name, good)| {
            let backup = name.clone();
            if *good { Happening::BackupDone { backup } } else { Happening::BackupFailed { backup } }
        }));
        let killed = sight.kills.difference(&before.sight.kills);
        events.extend(killed.map(|kill| Happening::OutOfMemory { pod: kill.pod.clone(), container: kill.container.clone() }));
    }
    nodes(&mut before, &sight, first, &mut events);
    volumes(&mut before.levels, &sight, &mut events);
    if let Some(ends_at) = sight.certificate_ends_at.filter(|ends_at| *ends_at <= now + CERTIFICATE_WARNING && before.told_end != Some(*ends_at)) {
        before.told_end = Some(ends_at);
        events.push(Happening::CertificateExpiring { ends_at });
    }
    before.sight = sight;
    *known = Some(before);
    events
}

/// A primary that is not said for a moment is still the last one; how it changes is kept until it has.
fn primary(before: &Sight, mut sight: Sight, events: &mut Vec<Happening>) -> Sight {
    sight.primary = sight.primary.or_else(|| before.primary.clone());
    let changing = sight.changing.or(before.changing);
    match (&before.primary, &sight.primary) {
        (Some(from), Some(to)) if from != to => {
            let (from, to) = (from.clone(), to.clone());
            events.push(match changing {
                Some(Change::Switchover) => Happening::Switchover { from, to },
                // A change that nobody announced was not in order.
                Some(Change::Failover) | None => Happening::Failover { from, to },
            });
            sight.changing = None;
        }
        _ => sight.changing = changing,
    }
    sight
}

fn archive(before: &Sight, sight: &Sight, events: &mut Vec<Happening>) {
    match (before.archiving, sight.archiving) {
        (None | Some(true), Some(false)) => events.push(Happening::ArchiveFailing),
        (Some(false), Some(true)) => events.push(Happening::ArchiveWorking),
        // Nothing is said for a moment, as while it is paused: it is as it was.
        (_, None) | (None | Some(true), Some(true)) | (Some(false), Some(false)) => {}
    }
}

fn nodes(known: &mut Known, sight: &Sight, first: bool, events: &mut Vec<Happening>) {
    for (node, ready) in &sight.nodes {
        let was_there = known.sight.nodes.get(node).is_some_and(Option::is_some);
        let lost = match ready {
            Some(ready) => !ready,
            // Before it is listed for the first time it is only not known yet.
            None => !first && was_there,
        };
        if lost && known.lost.insert(node.clone()) {
            events.push(Happening::NodeNotReady { node: node.clone() });
        }
        if *ready == Some(true) && known.lost.remove(node) {
            events.push(Happening::NodeReady { node: node.clone() });
        }
    }
    known.lost.retain(|node| sight.nodes.contains_key(node));
}

fn volumes(levels: &mut BTreeMap<String, usize>, sight: &Sight, events: &mut Vec<Happening>) {
    for (claim, percent) in &sight.filled {
        let level = levels.entry(claim.clone()).or_default();
        let reached = VOLUME_PERCENT.iter().filter(|threshold| percent >= *threshold).count();
        if reached > *level {
            *level = reached;
            events.push(Happening::VolumeFilling { claim: claim.clone(), percent: *percent });
        }
        *level = (*level).min(VOLUME_PERCENT.iter().filter(|threshold| percent + EMPTIED_PERCENT > **threshold).count());
    }
    levels.retain(|claim, _| sight.filled.contains_key(claim));
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
