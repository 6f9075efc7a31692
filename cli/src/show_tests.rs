//! What people see, in golden text.
use super::*;
use kiven_model::{DatabaseId, EnvironmentId, OperationId};
use serde_json::json;

/// A database as the API would answer it.
pub(crate) fn database(name: &str, status: &str) -> DatabaseView {
    serde_json::from_value(json!({
        "id": DatabaseId::from_random([7; 16]), "name": name, "environment_id": EnvironmentId::from_random([9; 16]), "plan": "startup", "custom": null,
        "postgres_version": 17, "storage_gb": 50, "instances": 2, "parameters": {},
        "pooler": {"enabled": true, "mode": "transaction", "pool_size": null},
        "backup": {"backup_retention_days": 30, "rpo_minutes": 5}, "allowed_namespaces": [], "extensions": [], "power": "on",
        "deletion_protection": true, "deletion": {"final_backup": false, "grace_days": 7},
        "status": status, "power_state": "on",
        "host": format!("{name}-rw.kiven-databases.svc"), "port": 5432, "pooler_host": format!("{name}-pooler.kiven-databases.svc"),
        "read_only_host": format!("{name}-ro.kiven-databases.svc"), "database": name, "username": name,
        "connection_uri": format!("postgresql://{name}@{name}-rw.kiven-databases.svc:15432/{name}?sslmode=verify-full&hostaddr=127.0.0.1"),
        "ca_certificate": null, "system_identifier": "7300000000000000001", "published": {}, "password_secret": format!("{name}-777777-{name}"),
        "node_type": "m6g.large", "monthly_cost_usd": 134.36, "operation_id": null, "problem": null, "delete_after": null,
    }))
    .unwrap()
}

pub(crate) fn operation(kind: &str, status: &str) -> OperationView {
    serde_json::from_value(json!({
        "id": OperationId::from_random([1; 16]), "kind": kind, "subject": {"database": DatabaseId::from_random([7; 16])}, "status": status,
        "current_step": "ArchiveWal", "problem": null, "events": [], "retry_after_ms": 50,
        "created_at": "2026-01-01T00:00:00.25Z", "updated_at": "2026-01-01T00:00:02Z",
    }))
    .unwrap()
}

fn names() -> Names {
    let environment = EnvironmentId::from_random([9; 16]).to_string();
    let database = DatabaseId::from_random([7; 16]).to_string();
    [(environment, "production".to_owned()), (database, "shop".to_owned())].into()
}

#[test]
fn databases_are_a_table() {
    expect_test::expect![[r#"
        NAME  STATUS     PLAN     VERSION  INSTANCES  STORAGE  ENVIRONMENT  USD/MONTH  ID
        shop  available  startup  17       2          50 GB    production   134.36     db_7r1eg3w07r1eg3w07r1e
    "#]]
    .assert_eq(&databases(&[database("shop", "available")], &names()));
}

#[test]
fn operations_are_a_table() {
    expect_test::expect![[r#"
        KIND   OF    STATUS   STEP        CODE  STARTED               ID
        pause  shop  running  ArchiveWal        2026-01-01T00:00:00Z  op_1802g0401802g0401802
    "#]]
    .assert_eq(&operations(&[operation("pause", "running")], &names()));
}

#[test]
fn nothing_there_says_what_to_do() {
    for text in [databases(&[], &names()), environments(&[]), operations(&[], &names())] {
        assert!(text.starts_with("There are no") && text.len() > 40, "{text}");
    }
}

#[test]
fn a_paused_database_costs_no_compute() {
    let text = super::database(&database("shop", "paused"), &names());
    assert!(text.contains("data safe, no compute cost") && text.contains("in the Secret shop-777777-shop"), "{text}");
}

#[test]
fn progress_is_one_line_that_says_nothing_twice() {
    for (kind, message, line) in [
        ("step_done", "archive wal", "    1.8s  done    archive_wal\n"),
        ("step_waiting", "archive wal: waiting for the agent", "    1.8s  wait    archive_wal                 waiting for the agent\n"),
        ("unwinding", "going back: KV-407: no", "    1.8s  back    archive_wal                 going back: KV-407: no\n"),
    ] {
        let event = json!({ "sequence": 3, "at": "2026-01-01T00:00:02Z", "step": "archive_wal", "kind": kind, "message": message });
        assert_eq!(progress(&serde_json::from_value::<OperationEvent>(event).unwrap(), 1.75), line);
    }
}
