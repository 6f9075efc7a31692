//! Inventories against records: what is explained, what is not, and what it costs.
use super::*;
use kiven_model::api::DatabaseRequest;
use kiven_model::{DatabaseId, request};
use kiven_sim::{Odds, World};

fn known_world() -> (Environment, Database) {
    let environment = World::new(1, Odds::none()).environment();
    let asked = DatabaseRequest {
        name: "shop".to_owned(),
        environment_id: environment.id.to_string(),
        plan: "startup".to_owned(),
        ..DatabaseRequest::default()
    };
    let spec = request::database(&asked, &[17]).unwrap().into_inner();
    let database = Database::asked(DatabaseId::from_random([7; 16]), environment.organization_id.clone(), spec, Timestamp::UNIX_EPOCH);
    (environment, Database { status: DatabaseStatus::Available, ..database })
}

fn resource(kind: ResourceKind, name: &str, environment: &Environment, database: Option<&str>) -> OwnedResource {
    OwnedResource {
        kind,
        name: name.to_owned(),
        environment_id: environment.id.to_string(),
        database_id: database.map(str::to_owned),
        nodes: 2,
        node_types: vec!["m6g.large".to_owned()],
    }
}

fn check(change: impl FnOnce(&mut Database, &mut OwnedResource), kind: ResourceKind, days: i64, expected: &str) {
    let (environment, mut database) = known_world();
    let name = match kind {
        ResourceKind::NodeGroup => "kiven-x-eu-west-1a".to_owned(),
        ResourceKind::BackupRole => database.names().backup_role,
        ResourceKind::BackupBucket => bucket_of(&environment, &environment.id),
        ResourceKind::OidcProvider => "arn".to_owned(),
    };
    let id = database.id.to_string();
    let mut found = resource(kind, &name, &environment, (kind != ResourceKind::BackupBucket).then_some(id.as_str()));
    change(&mut database, &mut found);
    let (environments, databases) = ([environment], [database]);
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * days);
    let known = Known { environments: &environments, databases: &databases, environment: &environments[0].id, loose: &[], now };
    let seen = orphans(known, &Inventory { resources: vec![found], unseen: Vec::new() });
    let why = seen.orphans.first().map_or("", |orphan| orphan.why.as_str());
    assert!(if expected.is_empty() { why.is_empty() } else { why.contains(expected) }, "{kind:?}: `{why}` is not `{expected}`");
}

#[test]
fn what_a_living_database_or_environment_has_is_explained() {
    for kind in ResourceKind::LISTED {
        check(|_, _| {}, kind, 0, "");
        check(|database, _| database.status = DatabaseStatus::Grace, kind, 0, "");
        check(|database, _| database.status = DatabaseStatus::Stuck, kind, 0, "");
        check(|_, found| found.environment_id = "env_gone".to_owned(), kind, 0, "environment env_gone is not known");
    }
}

#[test]
fn what_is_gone_explains_nothing_but_its_archive_for_its_retention() {
    let deleted = |database: &mut Database, _: &mut OwnedResource| database.status = DatabaseStatus::Deleted;
    check(deleted, ResourceKind::NodeGroup, 1, "is deleted since 1970-01-01");
    check(deleted, ResourceKind::BackupRole, 29, "");
    check(deleted, ResourceKind::BackupRole, 31, "the retention of its archive is over");
    check(|database, _| database.status = DatabaseStatus::Failed, ResourceKind::BackupRole, 1, "is failed");
    check(|_, found| found.database_id = Some("db_gone".to_owned()), ResourceKind::NodeGroup, 0, "database db_gone is not known");
    check(|_, found| found.database_id = None, ResourceKind::NodeGroup, 0, "names no database");
    check(|_, found| found.name = "kiven-other-backup-1".to_owned(), ResourceKind::BackupRole, 0, "no generation of database `shop`");
    check(|_, found| found.name = "kiven-backups-other".to_owned(), ResourceKind::BackupBucket, 0, "the bucket of its environment is");
}

#[test]
fn orphans_cost_at_most_the_dearest_of_their_types() {
    let (environment, _) = known_world();
    let group = |types: &[&str], nodes| OwnedResource {
        node_types: types.iter().map(|&one| one.to_owned()).collect(),
        nodes,
        ..resource(ResourceKind::NodeGroup, "kiven-x", &environment, None)
    };
    let bucket = OwnedResource { name: "kiven-backups-other".to_owned(), ..resource(ResourceKind::BackupBucket, "", &environment, None) };
    let found = Inventory {
        resources: vec![group(&["m6g.large", "r6g.large"], 2), group(&["m6g.large"], 0), group(&["p5.huge"], 1), bucket],
        unseen: vec![(ResourceKind::BackupRole, "not allowed".to_owned())],
    };
    let environments = [environment.clone()];
    let known = Known { environments: &environments, databases: &[], environment: &environment.id, loose: &[], now: Timestamp::UNIX_EPOCH };
    let seen = orphans(known, &found);
    let costs: Vec<Option<f64>> = seen.orphans.iter().map(|orphan| orphan.usd_per_month).collect();
    assert_eq!(costs, [Some(164.8), Some(0.0), None, None]);
    assert_eq!((seen.usd_per_month, seen.unseen), (164.8, vec!["backup_role: not allowed".to_owned()]));
}

#[test]
fn a_volume_without_a_claim_is_explained_by_its_database_alone() {
    let (environment, database) = known_world();
    let volume = |claim: String| LooseVolume { volume: "pvc-1".to_owned(), claim, gb: 100 };
    let why = |status: DatabaseStatus, claim: String| {
        let (environments, databases) = ([environment.clone()], [Database { status, ..database.clone() }]);
        let loose = [volume(claim)];
        let known =
            Known { environments: &environments, databases: &databases, environment: &environment.id, loose: &loose, now: Timestamp::UNIX_EPOCH };
        let seen = orphans(known, &Inventory::default());
        seen.orphans.first().map(|orphan| (orphan.kind.clone(), orphan.why.clone(), seen.usd_per_month))
    };
    let own = format!("{}-1", database.names().cluster);
    for status in DatabaseStatus::ALL {
        let expected = status.gone().then(|| ("volume".to_owned(), format!("database `shop` is {status} since 1970-01-01T00:00:00Z"), 8.8));
        assert_eq!(why(status, own.clone()), expected, "{status}");
    }
    let stranger = why(DatabaseStatus::Available, "shop-ffffff-1-1".to_owned()).map(|(_, why, _)| why);
    assert_eq!(stranger.unwrap_or_default(), "no database is known that the claim shop-ffffff-1-1 was made for");
}
