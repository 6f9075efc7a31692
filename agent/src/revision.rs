//! Whether PostgreSQL runs with the settings it was last given: what it shows itself is the proof.
use crate::sql::{SqlError, connect};
use kiven_data_services::cnpg::REVISION;
use kiven_model::command::{CommandOutcome, CommandOutput};
use kiven_model::{Code, DatabaseId, Problem};
use kube::Client;

/// Runs the command.
pub(crate) async fn verify(client: &Client, database: &DatabaseId, cluster: &str, wanted: &str) -> CommandOutcome {
    let not_yet = |why: String| CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, why));
    match look(client, database, cluster).await {
        Ok((revision, pending)) if revision == wanted && pending.is_empty() => CommandOutcome::Done(CommandOutput::Nothing),
        Ok((revision, _)) if revision != wanted => not_yet("PostgreSQL has not taken its new settings yet".to_owned()),
        Ok((_, pending)) => not_yet(format!("PostgreSQL must start again for {}", pending.join(", "))),
        Err(error) => not_yet(format!("PostgreSQL could not be asked: {error}")),
    }
}

/// The revision that the primary shows, and the settings that wait for its next start.
async fn look(client: &Client, database: &DatabaseId, cluster: &str) -> Result<(String, Vec<String>), SqlError> {
    let sql = connect(client, database, cluster).await?;
    let row = sql.query_one("SELECT coalesce(pg_catalog.current_setting($1, true), '')", &[&REVISION]).await?;
    let pending = sql.query("SELECT name FROM pg_catalog.pg_settings WHERE pending_restart ORDER BY name", &[]).await?;
    Ok((row.get(0), pending.iter().map(|row| row.get(0)).collect()))
}
