//! A compromised control plane asks; the guardrails answer.
use super::*;
use kiven_data_services::cnpg::Cnpg;
use kiven_data_services::{DataService, Generation};
use kiven_model::api::DatabaseRequest;
use kiven_model::database::Power;
use kiven_model::{DatabaseId, EnvironmentId, OperationId, request};
use serde_json::json;

fn generation() -> Generation {
    let environment = EnvironmentId::from_random([1; 16]);
    let asked =
        DatabaseRequest { name: "shop".into(), environment_id: environment.to_string(), plan: "business".into(), ..DatabaseRequest::default() };
    Generation {
        id: DatabaseId::from_random([2; 16]),
        spec: request::database(&asked, &[16]).unwrap().into_inner(),
        number: 1,
        bucket: "bucket".into(),
        backup_role_arn: "arn:aws:iam::000000000000:role/r".into(),
        made_by: OperationId::from_random([3; 16]),
        revision: OperationId::from_random([3; 16]),
    }
}

fn command(body: CommandBody) -> Command {
    Command {
        id: "op/x".into(),
        environment_id: EnvironmentId::from_random([1; 16]),
        operation_id: OperationId::from_random([3; 16]),
        database_id: Some(DatabaseId::from_random([2; 16])),
        fence: 5,
        not_after: Timestamp::UNIX_EPOCH,
        body,
    }
}

fn all_objects() -> Vec<Value> {
    objects_of(&generation())
}

fn objects_of(g: &Generation) -> Vec<Value> {
    [Cnpg.cluster(g, Power::On), Cnpg.pooler(g, Power::On), Cnpg.backups(g, Power::On), Cnpg.network(g), Cnpg.initial_database(g)].concat()
}

fn check(change: impl FnOnce(&mut Value), allowed: bool) {
    let mut cluster = Cnpg.cluster(&generation(), Power::On).remove(1);
    change(&mut cluster);
    let verdict = judge(&command(CommandBody::Apply { objects: vec![cluster], consent: None }), Timestamp::UNIX_EPOCH, 5);
    assert_eq!(verdict.is_ok(), allowed, "{verdict:?}");
}

#[test]
fn everything_that_kiven_builds_passes() {
    for object in all_objects() {
        judge(&command(CommandBody::Apply { objects: vec![object.clone()], consent: None }), Timestamp::UNIX_EPOCH, 5).unwrap();
        judge_transition(&object, &object, false).unwrap();
    }
}

#[test]
fn foreign_kinds_namespaces_labels_images_and_privileges_are_refused() {
    check(|_| {}, true);
    check(|o| o["kind"] = json!("Secret"), false);
    check(|o| (o["apiVersion"], o["kind"]) = (json!("rbac.authorization.k8s.io/v1"), json!("ClusterRole")), false);
    check(|o| o["metadata"]["namespace"] = json!("default"), false);
    check(|o| o["metadata"]["labels"][DATABASE_LABEL] = json!("db_00000000000000000000"), false);
    check(|o| o["metadata"]["annotations"]["kiven.io/delete-after"] = json!("1970-01-01T00:00:00Z"), false);
    check(|o| o["metadata"]["ownerReferences"] = json!([]), false);
    check(|o| o["spec"]["managed"]["roles"][0]["ensure"] = json!("absent"), false);
    check(|o| o["spec"]["plugins"][0]["parameters"]["barmanObjectName"] = json!("other-archive"), false);
    check(|o| o["spec"]["imageName"] = json!("evil"), false);
    check(|o| o["spec"]["env"] = json!([{ "name": "A" }]), false);
    check(|o| o["spec"]["projectedVolumeTemplate"] = json!({ "sources": [{ "hostPath": "/" }] }), false);
}

#[test]
fn late_old_and_unpermitted_commands_are_refused() {
    let inspect = command(CommandBody::Inspect);
    assert!(judge(&inspect, Timestamp::UNIX_EPOCH, 5).is_ok());
    assert_eq!(judge(&inspect, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1), 5).unwrap_err().code, Code::COMMAND_EXPIRED);
    assert!(judge(&inspect, Timestamp::UNIX_EPOCH, 6).is_err());
    let consent = |seed| Consent { database_id: DatabaseId::from_random([seed; 16]), given_by: "key".into(), given_at: Timestamp::UNIX_EPOCH };
    let purge = |seed| command(CommandBody::Purge { cluster: "c".into(), consent: consent(seed) });
    assert!(judge(&purge(2), Timestamp::UNIX_EPOCH, 5).is_ok() && judge(&purge(9), Timestamp::UNIX_EPOCH, 5).is_err());
}

#[test]
fn nothing_shrinks() {
    let cluster = Cnpg.cluster(&generation(), Power::On).remove(1);
    let store = Cnpg.cluster(&generation(), Power::On).remove(0);
    let refused = |object: &Value, pointer: &str, value: Value| {
        let mut wanted = object.clone();
        *wanted.pointer_mut(pointer).unwrap() = value;
        assert!(judge_transition(object, &wanted, false).is_err(), "{pointer}");
    };
    refused(&cluster, "/spec/instances", json!(1));
    refused(&cluster, "/spec/storage/size", json!("1Gi"));
    refused(&cluster, "/spec/storage/storageClass", json!("other"));
    refused(&cluster, "/spec/plugins/0/parameters/serverName", json!("other"));
    refused(&cluster, "/spec/managed/roles", json!([]));
    let mut fewer = cluster.clone();
    fewer["spec"]["instances"] = json!(1);
    assert!(judge_transition(&cluster, &fewer, true).is_ok(), "a consent allows fewer instances");
    fewer["spec"]["instances"] = json!(0);
    assert!(judge_transition(&cluster, &fewer, true).is_err(), "and never none at all");
    refused(&store, "/spec/retentionPolicy", json!("1d"));
    refused(&store, "/spec/configuration/destinationPath", json!("s3://elsewhere"));
}

#[test]
fn a_new_database_does_not_take_what_a_released_one_of_its_name_still_uses() {
    let released = generation();
    let new = Generation { id: DatabaseId::from_random([9; 16]), ..generation() };
    let place = |object: &Value| (object["kind"].clone(), object["metadata"]["name"].clone());
    let mut refused = Vec::new();
    for wanted in objects_of(&new) {
        let Some(current) = objects_of(&released).into_iter().find(|object| place(object) == place(&wanted)) else { continue };
        for consent in [false, true] {
            assert_eq!(judge_transition(&current, &wanted, consent).unwrap_err().code, Code::AGENT_REFUSED);
        }
        refused.push(format!("{} {}", wanted["kind"].as_str().unwrap(), wanted["metadata"]["name"].as_str().unwrap()));
    }
    refused.sort();
    assert_eq!(refused, ["Service shop-pooler", "Service shop-ro", "Service shop-rw"], "everything else has the id in its name");
    // Secrets have part of the id in their names; should two ids begin alike, the Secret stays the first one's.
    let secret = |id: &DatabaseId| SecretRequest {
        name: format!("shop-{}-app", released.id.short(6)),
        labels: [(DATABASE_LABEL.to_owned(), id.to_string())].into(),
        content: kiven_model::command::SecretContent::Password { username: "app".into() },
    };
    let own = BTreeMap::from([(DATABASE_LABEL.to_owned(), released.id.to_string()), ("cnpg.io/reload".to_owned(), "true".to_owned())]);
    judge_secret(&own, &secret(&released.id)).unwrap();
    assert_eq!(judge_secret(&own, &secret(&new.id)).unwrap_err().code, Code::AGENT_REFUSED);
    assert_eq!(judge_secret(&BTreeMap::new(), &secret(&new.id)).unwrap_err().code, Code::AGENT_REFUSED, "nobody knows whose it is");
}

#[test]
fn only_what_stops_a_cluster_that_runs_hibernates_it() {
    let cluster = |power| Cnpg.cluster(&generation(), power).into_iter().find(|object| object["kind"] == "Cluster").unwrap();
    let (on, off) = (cluster(Power::On), cluster(Power::Off));
    assert!(hibernates(&on, &off) && !hibernates(&off, &off) && !hibernates(&off, &on) && !hibernates(&on, &on));
    let service = json!({ "kind": "Service", "metadata": off["metadata"] });
    assert!(!hibernates(&on, &service));
}
