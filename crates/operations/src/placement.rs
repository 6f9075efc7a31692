//! In which zones a database's instances are, and where another one goes. Pure.
use kiven_model::database::Placement;

/// Brings a placement to so many instances: one more goes where fewest are, one fewer from where most are; earlier zones get
/// the first and keep the last.
pub(crate) fn dealt<'a>(mut placement: Placement, zones: impl Iterator<Item = &'a String>, instances: u32) -> Placement {
    for zone in zones {
        placement.entry(zone.clone()).or_insert(0);
    }
    let total = |placement: &Placement| placement.values().sum::<u32>();
    while total(&placement) < instances {
        let Some((_, emptiest)) = placement.iter_mut().min_by_key(|(_, nodes)| **nodes) else { break };
        *emptiest += 1;
    }
    while total(&placement) > instances {
        // The last of the fullest: `max_by_key` answers the last of equals.
        let Some((_, fullest)) = placement.iter_mut().max_by_key(|(_, nodes)| **nodes) else { break };
        *fullest -= 1;
    }
    placement.retain(|_, nodes| *nodes > 0);
    placement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_dealt_out_evenly_and_move_as_little_as_can_be() {
        let zones = ["a", "b", "c"].map(str::to_owned);
        let check = |before: &[(&str, u32)], instances, expected: &[(&str, u32)]| {
            let placement = |list: &[(&str, u32)]| list.iter().map(|(zone, nodes)| ((*zone).to_owned(), *nodes)).collect::<Placement>();
            assert_eq!(dealt(placement(before), zones.iter(), instances), placement(expected), "{before:?} to {instances}");
        };
        check(&[], 1, &[("a", 1)]);
        check(&[], 5, &[("a", 2), ("b", 2), ("c", 1)]);
        check(&[("a", 1), ("b", 1), ("c", 1)], 2, &[("a", 1), ("b", 1)]);
        check(&[("a", 1), ("c", 1)], 3, &[("a", 1), ("b", 1), ("c", 1)]);
        check(&[("a", 2), ("b", 1)], 2, &[("a", 1), ("b", 1)]);
    }
}
