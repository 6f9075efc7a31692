//! Whole valid bodies, shown in the OpenAPI document and used by the table of roles.
use kiven_model::DatabaseId;
use kiven_model::api::{BackupRequest, ConnectionRequest, DatabaseRequest, DeletionRequest, EnvironmentRequest, PoolerRequest};
use kiven_model::logs::{LogFilter, LogSessionRequest, LogSeverity};
use kiven_model::schedule::{ScheduleRequest, WindowRequest};
use kiven_model::upgrade::UpgradesRequest;

pub(crate) fn environment() -> EnvironmentRequest {
    EnvironmentRequest {
        name: "production".to_owned(),
        aws_account_id: "123456789012".to_owned(),
        aws_region: "eu-west-1".to_owned(),
        eks_cluster_name: "main".to_owned(),
        agent_enrolment: Some("issuer".to_owned()),
    }
}

pub(crate) fn connection() -> ConnectionRequest {
    ConnectionRequest {
        role_arn: "arn:aws:iam::123456789012:role/kiven".to_owned(),
        subnets: [("eu-west-1a", "subnet-0a1b2c3d4e5f60718"), ("eu-west-1b", "subnet-0f1e2d3c4b5a69788")]
            .map(|(zone, subnet)| (zone.to_owned(), subnet.to_owned()))
            .into(),
        launch_template: "lt-0123456789abcdef0".to_owned(),
        backup_kms_key_arn: Some("arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000".to_owned()),
        node_group_quota: Some(30),
    }
}

pub(crate) fn database() -> DatabaseRequest {
    DatabaseRequest {
        name: "shop".to_owned(),
        environment_id: "env_0123456789abcdefghjk".to_owned(),
        plan: "startup".to_owned(),
        storage_gb: Some(100),
        parameters: [("work_mem".to_owned(), "16MB".to_owned())].into(),
        pooler: PoolerRequest { pool_size: Some(20), ..PoolerRequest::default() },
        backup: BackupRequest { backup_retention_days: Some(14), ..BackupRequest::default() },
        allowed_namespaces: vec!["shop".to_owned()],
        extensions: vec!["pg_trgm".to_owned()],
        power: Some("on".to_owned()),
        deletion_protection: Some(true),
        deletion: DeletionRequest { grace_days: Some(7), ..DeletionRequest::default() },
        ..DatabaseRequest::default()
    }
}

pub(crate) fn schedule() -> ScheduleRequest {
    let days = ["mon", "tue", "wed", "thu", "fri"].map(str::to_owned).to_vec();
    ScheduleRequest {
        database_ids: vec!["db_0123456789abcdefghjk".to_owned()],
        time_zone: "Europe/Paris".to_owned(),
        windows: vec![WindowRequest { days, start: "08:00".to_owned(), end: "18:00".to_owned() }],
        ready_by: Some(true),
        ..ScheduleRequest::default()
    }
}

pub(crate) fn log_session() -> LogSessionRequest {
    LogSessionRequest {
        database_id: DatabaseId::from_random([0; 16]),
        // The public key of RFC 7748's first example.
        reader_key: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a".to_owned(),
        expires_at_seconds: None,
        certificate: None,
        filter: LogFilter { instance: Some("1".to_owned()), severity: LogSeverity::Warning, since_seconds: 600, follow: true },
    }
}

pub(crate) fn upgrades() -> UpgradesRequest {
    UpgradesRequest { paused: true }
}
