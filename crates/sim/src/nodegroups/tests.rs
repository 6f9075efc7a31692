//! A life, refusals, shortages and patches.
use super::*;

fn spec(name: &str, desired: u32) -> GroupSpec {
    GroupSpec {
        name: name.into(),
        scaling_config: Scaling { min_size: desired, max_size: desired.max(1), desired_size: desired },
        subnets: vec!["subnet-a".into()],
        node_role: "arn:aws:iam::1:role/node".into(),
        instance_types: vec!["m6g.large".into()],
        ami_type: None,
        capacity_type: None,
        launch_template: None,
        labels: BTreeMap::new(),
        taints: Vec::new(),
        tags: BTreeMap::new(),
    }
}

fn to(desired: u32) -> GroupChange {
    let scaling = Scaling { min_size: 0, max_size: desired.max(1), desired_size: desired };
    GroupChange { scaling: Some(scaling), ..GroupChange::default() }
}

#[test]
fn a_life_from_create_to_gone() {
    let mut world = NodeGroups::new(Delays::all(100));
    let created = world.create(0, "c", spec("g", 1), Some("t".into())).unwrap();
    assert_eq!(created.status, GroupStatus::Creating);
    assert_eq!(world.create(1, "c", spec("g", 1), Some("t".into())).unwrap(), created, "same token, same answer");
    assert!(matches!(world.create(1, "c", spec("g", 1), None), Err(Refusal::InUse(_))));
    assert!(matches!(world.create(1, "c", spec("g", 2), Some("t".into())), Err(Refusal::Invalid(_))));
    assert!(matches!(world.update(50, "c", "g", to(0), None), Err(Refusal::InUse(_))));
    assert!(matches!(world.delete(50, "c", "g"), Err(Refusal::InUse(_))));
    assert_eq!(world.describe(100, "c", "g").unwrap().nodes_running(), 1);
    let update = world.update(110, "c", "g", to(0), Some("u".into())).unwrap();
    assert_eq!(world.update(111, "c", "g", to(0), Some("u".into())).unwrap().id, update.id);
    assert!(matches!(world.update(120, "c", "g", to(1), None), Err(Refusal::InUse(_))), "one at a time");
    assert_eq!(world.update_describe(120, "c", "g", &update.id).unwrap().status, UpdateStatus::InProgress);
    assert_eq!(world.update_describe(210, "c", "g", &update.id).unwrap().status, UpdateStatus::Successful);
    assert_eq!(world.describe(210, "c", "g").unwrap().nodes_running(), 0);
    world.delete(220, "c", "g").unwrap();
    assert!(matches!(world.delete(221, "c", "g"), Err(Refusal::InUse(_))));
    assert_eq!(world.next_change_ms(), Some(320));
    assert!(matches!(world.describe(320, "c", "g"), Err(Refusal::NotFound(_))));
}

#[test]
fn a_patch_brings_the_newest_release_once() {
    const MONTH_MS: i64 = 31 * 24 * 3_600_000;
    let mut world = NodeGroups::new(Delays::all(100));
    assert_eq!(world.create(0, "c", spec("g", 1), None).unwrap().release, "1.34.1-19700101");
    assert!(matches!(world.patch(200, "c", "g", Some("p".into())), Err(Refusal::Invalid(_))), "there is nothing newer");
    let update = world.patch(MONTH_MS, "c", "g", Some("p".into())).unwrap();
    assert_eq!((update.kind, update.status), (UpdateKind::VersionUpdate, UpdateStatus::InProgress));
    assert_eq!(world.patch(MONTH_MS + 1, "c", "g", Some("p".into())).unwrap().id, update.id, "same token, same update");
    assert!(matches!(world.patch(MONTH_MS + 1, "c", "g", Some("q".into())), Err(Refusal::InUse(_))));
    let done = world.updates(MONTH_MS + 100, "c", "g").unwrap().remove(0);
    assert_eq!((done.id, done.status), (update.id, UpdateStatus::Successful));
    assert_eq!(world.describe(MONTH_MS + 100, "c", "g").unwrap().release, "1.34.1-19700201");
}

#[test]
fn what_is_invalid_is_refused() {
    let mut world = NodeGroups::new(Delays::all(1));
    let mut none = spec("g", 0);
    none.scaling_config.max_size = 0;
    assert!(matches!(world.create(0, "c", none, None), Err(Refusal::Invalid(_))));
    assert!(matches!(world.create(0, "c", spec(&"n".repeat(64), 1), None), Err(Refusal::Invalid(_))));
    for n in 0..NODEGROUPS_PER_CLUSTER_MAX {
        world.create(0, "c", spec(&format!("g{n}"), 1), None).unwrap();
    }
    assert!(matches!(world.create(0, "c", spec("more", 1), None), Err(Refusal::Limit(_))));
}

#[test]
fn a_zone_without_capacity_fails_creates_and_marks_running_groups() {
    let mut world = NodeGroups::new(Delays::all(10));
    world.capacity_set("subnet-a", false);
    world.create(0, "c", spec("g", 1), None).unwrap();
    assert_eq!(world.describe(10, "c", "g").unwrap().status, GroupStatus::CreateFailed);
    assert_eq!(world.describe(10, "c", "g").unwrap().health[0].code, "AsgInstanceLaunchFailures");
    world.delete(11, "c", "g").unwrap();
    world.create(30, "c", spec("empty", 0), None).unwrap();
    world.update(40, "c", "empty", to(1), None).unwrap();
    let short = world.describe(50, "c", "empty").unwrap();
    assert_eq!((short.status, short.nodes_running(), short.health.len()), (GroupStatus::Active, 0, 1));
    world.capacity_set("subnet-a", true);
    assert_eq!(world.describe(51, "c", "empty").unwrap().nodes_running(), 1);
}
