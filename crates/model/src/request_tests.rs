//! Every rule of validation as a row: the change, and what it is answered with.
use super::*;
use crate::api::CustomRequest;

fn good() -> DatabaseRequest {
    let environment_id = EnvironmentId::from_random([1; 16]).to_string();
    DatabaseRequest { name: "shop".into(), environment_id, plan: "startup".into(), ..DatabaseRequest::default() }
}

fn check(change: impl FnOnce(&mut DatabaseRequest), expected: &[&str]) {
    let mut request = good();
    change(&mut request);
    let found = match database(&request, &[16, 15]) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(|v| format!("{} {}", v.code, v.field)).collect(),
    };
    assert_eq!(found, expected, "{request:?}");
}

#[test]
fn defaults_come_from_the_plan() {
    let spec = database(&good(), &[16, 15]).unwrap();
    assert_eq!((spec.instances, spec.storage_gb, spec.postgres_version, spec.deletion.grace_days), (2, 50, 16, 7));
    assert!(spec.deletion_protection && spec.pooler.enabled);
}

#[test]
fn every_rule_answers_on_its_field() {
    check(|_| {}, &[]);
    check(|r| r.name = "Shop".into(), &["KV-101 name"]);
    check(|r| r.environment_id = "x".into(), &["KV-123 environment_id"]);
    check(|r| r.plan = "huge".into(), &["KV-102 plan"]);
    check(|r| r.storage_gb = Some(10), &["KV-103 storage_gb"]);
    check(|r| r.instances = Some(6), &["KV-105 instances"]);
    check(|r| r.postgres_version = Some(14), &["KV-109 postgres_version"]);
    check(|r| drop(r.parameters.insert("wrok_mem".into(), "1MB".into())), &["KV-106 parameters.wrok_mem"]);
    check(|r| drop(r.parameters.insert("fsync".into(), "off".into())), &["KV-107 parameters.fsync"]);
    check(|r| drop(r.parameters.insert("work_mem".into(), "a lot".into())), &["KV-108 parameters.work_mem"]);
    check(|r| r.pooler.mode = Some("statement".into()), &["KV-110 pooler.mode"]);
    check(|r| r.backup.rpo_minutes = Some(0), &["KV-111 backup.rpo_minutes"]);
    check(|r| r.allowed_namespaces = vec!["ok".into(), "Not_ok".into()], &["KV-112 allowed_namespaces.1"]);
    check(|r| r.extensions = vec!["plsh".into()], &["KV-113 extensions.0"]);
    check(|r| r.power = Some("maybe".into()), &["KV-114 power"]);
    check(|r| r.deletion.grace_days = Some(1000), &["KV-115 deletion.grace_days"]);
    check(|r| r.deletion.final_backup = Some(true), &[]);
    check(|r| r.custom = Some(CustomRequest { vcpu: 1, memory_gib: 1 }), &["KV-116 custom"]);
    check(|r| (r.name, r.plan) = (String::new(), String::new()), &["KV-101 name", "KV-102 plan"]);
}

#[test]
fn a_custom_size_must_fit_a_node() {
    let custom = |vcpu, memory_gib| {
        let mut request = good();
        (request.plan, request.custom) = ("custom".into(), Some(CustomRequest { vcpu, memory_gib }));
        (request.storage_gb, request.instances) = (Some(20), Some(1));
        database(&request, &[15]).is_ok()
    };
    assert!(custom(2, 8) && custom(8, 48));
    assert!(!custom(0, 8) && !custom(64, 8) && !custom(2, u32::MAX) && !custom(u32::MAX, 8));
}

#[test]
fn environments_and_connections() {
    let request = EnvironmentRequest {
        name: "prod".into(),
        aws_account_id: "000000000000".into(),
        aws_region: "eu-west-1".into(),
        eks_cluster_name: "main".into(),
    };
    let spec = environment(&request).unwrap();
    let fields = |r: EnvironmentRequest| environment(&r).unwrap_err().into_iter().map(|v| v.field).collect::<Vec<_>>();
    assert_eq!(fields(EnvironmentRequest { aws_account_id: "1".into(), ..request.clone() }), ["aws_account_id"]);
    assert_eq!(fields(EnvironmentRequest { aws_region: "us-east-1".into(), ..request.clone() }), ["aws_region"]);
    let way = ConnectionRequest {
        role_arn: "arn:aws:iam::000000000000:role/kiven".into(),
        subnets: [("eu-west-1a".into(), "subnet-1".into())].into(),
        launch_template: "lt-1".into(),
        backup_kms_key_arn: Some("arn:aws:kms:eu-west-1:000000000000:key/1".into()),
    };
    assert!(connection(&way, &spec).is_ok());
    let foreign = ConnectionRequest { role_arn: "arn:aws:iam::111111111111:role/kiven".into(), ..way.clone() };
    assert_eq!(connection(&foreign, &spec).unwrap_err()[0].code, Code::ROLE_INVALID);
    let far = ConnectionRequest { backup_kms_key_arn: Some("arn:aws:kms:us-east-1:000000000000:key/1".into()), ..way.clone() };
    assert_eq!(connection(&far, &spec).unwrap_err()[0].code, Code::KMS_KEY_INVALID);
    let zone = ConnectionRequest { subnets: [("us-east-1a".into(), "subnet-1".into())].into(), ..way };
    assert_eq!(connection(&zone, &spec).unwrap_err()[0].field, "subnets.us-east-1a");
}
