//! The archive and the scheduled base backups, through the Barman Cloud plugin.
use super::{API, PLUGIN, metadata};
use crate::Generation;
use kiven_model::DatabaseId;
use kiven_model::database::Power;
use kiven_model::names::backup_minute;
use kiven_model::sizing::{SIDECAR, size_of};
use serde_json::{Value, json};

/// Every six hours (cron with seconds), at a minute of the database's own.
fn every_six_hours(id: &DatabaseId) -> String {
    format!("0 {} */6 * * *", backup_minute(id))
}

/// How WAL is compressed: 16 MiB of rows take 0.05 s where gzip takes 0.35 s, and as much room. Archives of before are read by their
/// files' names.
const WAL_COMPRESSION: &str = "zstd";

/// WAL files at once, to the archive and back. A standby that takes over asks for files that are not there yet, and each question
/// starts so many programs: more of them than there are processors wait for each other while nobody can write.
fn wal_parallel(vcpu: u32) -> u32 {
    (vcpu / 2).clamp(1, SIDECAR.cpu_limit_millis / 1000)
}

pub(super) fn object_store(generation: &Generation) -> Value {
    let names = generation.names();
    let memory = format!("{}Mi", SIDECAR.memory_mib);
    json!({
        "apiVersion": "barmancloud.cnpg.io/v1",
        "kind": "ObjectStore",
        "metadata": metadata(generation, &names.object_store),
        "spec": {
            "retentionPolicy": format!("{}d", generation.spec.backup.backup_retention_days),
            "configuration": {
                "destinationPath": format!("s3://{}/{}", generation.bucket, names.backup_prefix),
                "s3Credentials": { "inheritFromIAMRole": true },
                "wal": { "compression": WAL_COMPRESSION, "maxParallel": wal_parallel(size_of(&generation.spec).vcpu) },
                "data": { "compression": "gzip" },
            },
            "instanceSidecarConfiguration": {
                "resources": {
                    "requests": { "cpu": format!("{}m", SIDECAR.cpu_request_millis), "memory": memory },
                    "limits": { "cpu": format!("{}m", SIDECAR.cpu_limit_millis), "memory": memory },
                },
            },
        },
    })
}

pub(super) fn scheduled(generation: &Generation, power: Power) -> Value {
    let names = generation.names();
    json!({
        "apiVersion": API,
        "kind": "ScheduledBackup",
        "metadata": metadata(generation, &names.cluster),
        "spec": {
            "cluster": { "name": names.cluster },
            "schedule": every_six_hours(&generation.id),
            "immediate": true,
            "suspend": power == Power::Off,
            "method": "plugin",
            "pluginConfiguration": { "name": PLUGIN },
            "backupOwnerReference": "cluster",
        },
    })
}
