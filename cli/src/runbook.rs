//! The page on life without Kiven, of what the API knows.
use kiven_model::api::{DatabaseView, EnvironmentView};
use kiven_model::runbook::{Entry, Place};

/// The whole page, Markdown.
pub(crate) fn text(environment: &EnvironmentView, databases: &[DatabaseView]) -> String {
    let place =
        Place { title: environment.name.clone(), eks_cluster_name: environment.eks_cluster_name.clone(), aws_region: environment.aws_region.clone() };
    let entry = |view: &DatabaseView| Entry {
        name: view.spec.name.to_string(),
        id: view.id.clone(),
        status: view.status.to_string(),
        username: view.addresses.username.clone(),
        password_secret: view.password_secret.clone(),
        instances: u32::from(view.spec.instances),
    };
    let entries: Vec<Entry> = databases.iter().filter(|view| !view.status.gone()).map(entry).collect();
    kiven_model::runbook::text(&place, &entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::tests::database;
    use serde_json::json;

    #[test]
    fn every_name_is_filled_in() {
        let environment: EnvironmentView = serde_json::from_value(json!({
            "id": "env_0123456789abcdefghjk", "name": "production", "aws_account_id": "123456789012", "aws_region": "eu-west-1",
            "eks_cluster_name": "main", "external_id": "x", "status": "connected", "principal_arn": "arn", "agent_values": {}, "postgres_versions": [],
        }))
        .unwrap();
        let database = database("shop", "paused");
        let page = text(&environment, std::slice::from_ref(&database));
        for part in [
            format!("kiven.io/database={}", database.id),
            format!("kiven-{}-", database.id.short(10)),
            format!("--cluster-name {}", environment.eks_cluster_name),
            "cnpg.io/hibernation=off".to_owned(),
            database.password_secret.clone(),
        ] {
            assert!(page.contains(&part), "{part} is not in\n{page}");
        }
        assert!(text(&environment, &[]).contains("There are no databases."));
    }
}
