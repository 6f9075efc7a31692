//! Checkpoint, WAL switch, and the wait until the archive has it: what makes a pause safe.
use crate::sql::{SqlError, connect};
use kiven_model::command::{CommandOutcome, CommandOutput};
use kiven_model::{Code, DatabaseId, Problem};
use kube::Client;
use std::time::Duration;

/// How long the archive may take before the command is to be asked again.
const ARCHIVE_SECONDS_MAX: u64 = 20;
/// How often PostgreSQL is asked meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) async fn archive_wal(client: &Client, database: &DatabaseId, cluster: &str) -> CommandOutcome {
    match try_archive(client, database, cluster).await {
        Ok(Some(wal)) => CommandOutcome::Done(CommandOutput::Archived { wal }),
        Ok(None) => {
            let problem = Problem::new(Code::ARCHIVE_UNCONFIRMED, "the last WAL has not arrived in the archive yet");
            CommandOutcome::Retry(problem.hint("Look at the condition ContinuousArchiving of the Cluster."))
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, format!("the WAL could not be switched: {error}")).detail(cause))
        }
    }
}

async fn try_archive(client: &Client, database: &DatabaseId, cluster: &str) -> Result<Option<String>, SqlError> {
    let sql = connect(client, database, cluster).await?;
    sql.batch_execute("CHECKPOINT").await?;
    let row = sql.query_one("SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal())", &[]).await?;
    let wal: String = row.get(0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(ARCHIVE_SECONDS_MAX);
    while tokio::time::Instant::now() < deadline {
        let row = sql.query_one("SELECT coalesce(last_archived_wal, '') FROM pg_catalog.pg_stat_archiver", &[]).await?;
        let archived: String = row.get(0);
        // Segment names of one time line sort as they were written; longer names are backup labels of the same segment.
        if archived.get(..24).unwrap_or_default() >= wal.as_str() {
            return Ok(Some(wal));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}
