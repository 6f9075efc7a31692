//! Backups that somebody waits for: one that is made once under its name, or all that run.
use crate::objects::cnpg;
use kiven_data_services::cnpg::{DATABASE_LABEL, MADE_BY, PLUGIN, backup_ended};
use kiven_model::command::{Command, CommandOutcome, CommandOutput};
use kiven_model::names::DATABASE_NAMESPACE;
use kiven_model::{Code, DatabaseId, Problem};
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::time::Duration;

/// How long one command looks at a running backup before it is to be asked again.
const LOOK_SECONDS_MAX: u64 = 20;
/// How often.
const LOOK: Duration = Duration::from_millis(250);
/// How often all backups are listed.
const LOOK_SLOWLY: Duration = Duration::from_secs(2);

/// Runs the command.
pub(crate) async fn take(client: &Client, command: &Command, cluster: &str, name: &str) -> kube::Result<CommandOutcome> {
    let refuse = |why: &str| Ok(CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, why)));
    let Some(database) = &command.database_id else { return refuse("the command names no database") };
    let Some(object) = cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters").get_opt(cluster).await? else {
        return refuse("there is no such Cluster");
    };
    let is_own = |object: &DynamicObject| object.labels().get(DATABASE_LABEL).is_some_and(|label| label == database.as_str());
    if !is_own(&object) || !name.starts_with(&format!("{cluster}-")) {
        return refuse("the Cluster is another database's, or the backup's name is not its own");
    }
    let backups = cnpg(client, DATABASE_NAMESPACE, "Backup", "backups");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(LOOK_SECONDS_MAX);
    loop {
        let Some(backup) = backups.get_opt(name).await? else {
            match backups.create(&PostParams::default(), &wanted(command, database.as_str(), cluster, name)?).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                created => drop(created?),
            }
            continue;
        };
        if !is_own(&backup) {
            return refuse("a Backup of that name is another database's");
        }
        let status = &backup.data["status"];
        match status["phase"].as_str().unwrap_or("pending") {
            "completed" => return Ok(CommandOutcome::Done(CommandOutput::Nothing)),
            "failed" | "walArchivingFailing" => {
                let problem = Problem::new(Code::BACKUP_FAILED, format!("the backup `{name}` failed"));
                let problem = problem.detail(status["error"].as_str().unwrap_or_default());
                return Ok(CommandOutcome::Refused(problem.hint("Look at it: `kubectl -n kiven-databases describe backup`.")));
            }
            phase if tokio::time::Instant::now() >= deadline => {
                return Ok(CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, format!("the backup is {phase}"))));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Answers once no backup of a Cluster runs or is about to. What is watched may be older than the end of its schedule, so the
/// API server is asked.
pub(crate) async fn await_ended(client: &Client, command: &Command, cluster: &str) -> kube::Result<CommandOutcome> {
    let own = cnpg(client, DATABASE_NAMESPACE, "Cluster", "clusters").get_opt(cluster).await?;
    let label = own.as_ref().and_then(|object| object.labels().get(DATABASE_LABEL));
    if label.is_none() || label.map(String::as_str) != command.database_id.as_ref().map(DatabaseId::as_str) {
        return Ok(CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, "the Cluster is another database's, or none")));
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(LOOK_SECONDS_MAX);
    loop {
        match running(client, cluster).await? {
            None => return Ok(CommandOutcome::Done(CommandOutput::Nothing)),
            Some(problem) if tokio::time::Instant::now() >= deadline => return Ok(CommandOutcome::Retry(problem)),
            Some(_) => tokio::time::sleep(LOOK_SLOWLY).await,
        }
    }
}

/// A backup of a Cluster that has not ended, as the API server says now.
pub(crate) async fn running(client: &Client, cluster: &str) -> kube::Result<Option<Problem>> {
    let backups = cnpg(client, DATABASE_NAMESPACE, "Backup", "backups").list(&ListParams::default()).await?.items;
    let open = backups.iter().find(|backup| backup.data["spec"]["cluster"]["name"] == cluster && !backup_ended(&backup.data));
    Ok(open.map(|backup| {
        let phase = backup.data["status"]["phase"].as_str().unwrap_or("pending");
        Problem::new(Code::BACKUP_RUNNING, format!("the backup `{}` is {phase}", backup.name_any()))
    }))
}

fn wanted(command: &Command, database: &str, cluster: &str, name: &str) -> kube::Result<DynamicObject> {
    serde_json::from_value(json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Backup",
        "metadata": {
            "name": name,
            "namespace": DATABASE_NAMESPACE,
            "labels": { DATABASE_LABEL: database, "cnpg.io/cluster": cluster, "app.kubernetes.io/managed-by": "kiven" },
            "annotations": { MADE_BY: command.operation_id },
        },
        "spec": { "cluster": { "name": cluster }, "method": "plugin", "pluginConfiguration": { "name": PLUGIN } },
    }))
    .map_err(kube::Error::SerdeError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile_tests::fake;
    use kiven_fake_kube::kinds;

    #[tokio::test]
    async fn a_backup_of_this_cluster_that_has_not_ended_runs() {
        let (kube, client) = fake().await;
        kube.create(&kinds::NAMESPACES, json!({ "metadata": { "name": DATABASE_NAMESPACE } })).unwrap();
        let make = |name: &str, cluster: &str| {
            let object = json!({ "metadata": { "name": name, "namespace": DATABASE_NAMESPACE }, "spec": { "cluster": { "name": cluster } } });
            kube.create(&kinds::BACKUPS, object).unwrap();
        };
        make("bank-1", "bank");
        assert!(running(&client, "shop").await.unwrap().is_none(), "another's");
        make("shop-1", "shop");
        let problem = running(&client, "shop").await.unwrap().unwrap();
        assert_eq!((problem.code, problem.message.as_str()), (Code::BACKUP_RUNNING, "the backup `shop-1` is pending"));
        for (phase, runs) in [("running", true), ("walArchivingFailing", true), ("completed", false), ("failed", false)] {
            kube.patch_status(&kinds::BACKUPS, DATABASE_NAMESPACE, "shop-1", &json!({ "phase": phase })).unwrap();
            assert_eq!(running(&client, "shop").await.unwrap().is_some(), runs, "{phase}");
        }
    }
}
