//! Stories and properties of what is told.
use super::*;
use proptest::prelude::*;

fn at(day: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * day)
}

/// Tells a story: each look, and the kinds of what it tells.
fn check(looks: Vec<(Sight, &str)>) {
    let mut known = None;
    for (number, (sight, expected)) in looks.into_iter().enumerate() {
        let told: Vec<String> = follow(&mut known, sight.clone(), at(0)).iter().map(|one| format!("{}({})", one.kind(), one.subject())).collect();
        assert_eq!(told.join(" "), expected, "look {number}");
        assert!(follow(&mut known, sight, at(0)).is_empty(), "look {number} again");
    }
}

fn led(primary: &str) -> Sight {
    Sight { primary: (!primary.is_empty()).then(|| primary.to_owned()), ..Sight::default() }
}

#[test]
fn a_change_of_the_primary_is_what_it_was_announced_as() {
    let (lost, ordered) = (Some(Change::Failover), Some(Change::Switchover));
    check(vec![
        (led("a"), ""),
        (Sight { changing: lost, ..led("a") }, ""),
        (led(""), ""),
        (led("b"), "failover(b)"),
        (Sight { changing: ordered, ..led("b") }, ""),
        (led("a"), "switchover(a)"),
        (led("b"), "failover(b)"),
    ]);
}

#[test]
fn ends_of_backups_and_kills_are_told_once_and_not_those_from_before() {
    let backups = |names: &[(&str, bool)]| names.iter().map(|(name, good)| ((*name).to_owned(), *good)).collect();
    let kill = |pod: &str, at: &str| Kill { pod: pod.to_owned(), container: "postgres".to_owned(), at: at.to_owned() };
    let look = |names, kills: &[Kill]| Sight { backups: backups(names), kills: kills.iter().cloned().collect(), ..led("a") };
    check(vec![
        (look(&[("old", true)], &[kill("a", "1")]), ""),
        (look(&[("old", true), ("new", true), ("bad", false)], &[kill("a", "1")]), "backup_failed(bad) backup_done(new)"),
        (look(&[("new", true), ("bad", false)], &[kill("a", "1"), kill("a", "2")]), "out_of_memory(a)"),
    ]);
}

#[test]
fn what_is_wrong_is_told_at_the_first_look_too() {
    let node = |ready| BTreeMap::from([("n".to_owned(), ready)]);
    let filled = |percent| BTreeMap::from([("c".to_owned(), percent)]);
    check(vec![
        (
            Sight { archiving: Some(false), nodes: node(Some(false)), filled: filled(91), certificate_ends_at: Some(at(5)), ..led("a") },
            "archive_failing() node_not_ready(n) volume_filling(c) certificate_expiring()",
        ),
        (Sight { archiving: None, nodes: node(None), filled: filled(88), certificate_ends_at: Some(at(5)), ..led("a") }, ""),
        (
            Sight { archiving: Some(true), nodes: node(Some(true)), filled: filled(98), certificate_ends_at: Some(at(90)), ..led("a") },
            "archive_working() node_ready(n) volume_filling(c)",
        ),
        (Sight { nodes: node(None), filled: filled(80), ..led("a") }, "node_not_ready(n)"),
        (Sight { filled: filled(92), ..led("a") }, "volume_filling(c)"),
    ]);
}

#[test]
fn a_node_that_was_never_listed_is_not_lost() {
    let node = |ready| Sight { nodes: BTreeMap::from([("n".to_owned(), ready)]), ..led("a") };
    check(vec![(node(None), ""), (node(None), ""), (node(Some(true)), ""), (node(None), "node_not_ready(n)")]);
}

fn sights() -> impl Strategy<Value = Vec<Sight>> {
    let name = || prop::option::of(prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned));
    let changing = prop::option::of(prop::sample::select(vec![Change::Failover, Change::Switchover]));
    let nodes = prop::collection::btree_map("[mn]", prop::option::of(any::<bool>()), 0..3);
    let filled = prop::collection::btree_map("[vw]", 0u8..=100, 0..3);
    let one = (name(), changing, prop::option::of(any::<bool>()), nodes, filled, prop::option::of(0i64..20));
    let sight = one.prop_map(|(primary, changing, archiving, nodes, filled, ends)| Sight {
        primary,
        changing,
        archiving,
        nodes,
        filled,
        certificate_ends_at: ends.map(at),
        ..Sight::default()
    });
    // Backups and kills only grow.
    (prop::collection::vec(sight, 1..20), prop::collection::vec(any::<bool>(), 20)).prop_map(|(mut sights, ends)| {
        for (number, sight) in sights.iter_mut().enumerate() {
            sight.backups = ends.iter().take(number).enumerate().map(|(n, good)| (format!("backup-{n}"), *good)).collect();
        }
        sights
    })
}

proptest! {
    #[test]
    fn every_change_is_told_once_and_nothing_else(sights in sights()) {
        let mut known = None;
        let (mut told, mut changes, mut last) = (Vec::new(), 0, None::<String>);
        for sight in &sights {
            if let Some(primary) = &sight.primary {
                changes += usize::from(last.as_ref().is_some_and(|last| last != primary));
                last = Some(primary.clone());
            }
            told.extend(follow(&mut known, sight.clone(), at(0)));
            prop_assert!(follow(&mut known, sight.clone(), at(0)).is_empty(), "the same look tells nothing");
        }
        let count = |kinds: &[&str]| told.iter().filter(|one| kinds.contains(&one.kind())).count();
        prop_assert_eq!(count(&["failover", "switchover"]), changes);
        prop_assert_eq!(count(&["backup_done", "backup_failed"]), sights.len() - 1);
        for (bad, good) in [("archive_failing", "archive_working"), ("node_not_ready", "node_ready")] {
            prop_assert!(count(&[good]) <= count(&[bad]), "nothing is well again that was not told to be wrong");
        }
        let archive: Vec<&str> = told.iter().map(Happening::kind).filter(|kind| kind.starts_with("archive")).collect();
        prop_assert!(archive.chunks(2).all(|pair| pair[0] == "archive_failing" && pair.get(1).is_none_or(|next| *next == "archive_working")));
        let early = told.iter().any(|one| matches!(one, Happening::VolumeFilling { percent, .. } if *percent < VOLUME_PERCENT[0]));
        prop_assert!(!early);
    }
}
