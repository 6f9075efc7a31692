//! How to pause and resume an environment's databases without Kiven: commands to keep, with every name filled in.
use kiven_model::api::{DatabaseView, EnvironmentView};
use std::fmt::Write;

/// The whole page, Markdown.
pub(crate) fn text(environment: &EnvironmentView, databases: &[DatabaseView]) -> String {
    let mut page = format!(
        "# Life without Kiven: {}\n\n\
         Databases that run need nothing of Kiven: PostgreSQL, failover, archiving and scheduled backups are the operator's in your \
         cluster. These commands pause and resume them with your own rights in account {} and cluster `{}`, so keep this page where \
         you can read it without Kiven. Kiven's access is the role of the environment's connection: while it does not open, Kiven \
         does nothing, and undoes nothing.\n",
        environment.name, environment.aws_account_id, environment.eks_cluster_name
    );
    let kept = |view: &&DatabaseView| !view.status.gone();
    let mut count = 0;
    for database in databases.iter().filter(kept) {
        count += 1;
        one(&mut page, environment, database);
    }
    if count == 0 {
        page.push_str("\nThere are no databases.\n");
    }
    page
}

fn one(page: &mut String, environment: &EnvironmentView, database: &DatabaseView) {
    let (cluster, region, id) = (&environment.eks_cluster_name, &environment.aws_region, &database.id);
    let groups = format!("kiven-{}-", id.short(10));
    let label = format!("kiven.io/database={id}");
    let eks = |verb: &str| format!("aws eks {verb} --region {region} --cluster-name {cluster}");
    let each = |what: &str, patch: &str| {
        format!(
            "kubectl -n kiven-databases get {what} -l {label} -o name | xargs -I{{}} kubectl -n kiven-databases patch {{}} --type merge -p '{patch}'"
        )
    };
    let list = format!("{} --query \"nodegroups[?starts_with(@, '{groups}')]\" --output text", eks("list-nodegroups"));
    let scale =
        |sizes: &str| format!("for group in $({list}); do {} --nodegroup-name $group --scaling-config {sizes}; done", eks("update-nodegroup-config"));
    let hibernate = |word: &str| format!("kubectl -n kiven-databases annotate cluster -l {label} cnpg.io/hibernation={word} --overwrite");
    let nodes = u32::from(database.spec.instances).max(1);
    let lines = [
        format!("\n## {} ({id}), {}\n", database.spec.name, database.status),
        format!("The password of `{}` is in the Secret `{}`.\n", database.addresses.username, database.password_secret),
        "Resume:\n\n```".to_owned(),
        format!("# {nodes} instances in all, one node each: give every group its share"),
        scale("minSize=1,desiredSize=1,maxSize=1"),
        hibernate("off"),
        each("poolers", r#"{"spec":{"instances":1}}"#),
        each("scheduledbackups", r#"{"spec":{"suspend":false}}"#),
        "```\n\nPause, once the first three have come to rest and no pod is left, before the nodes go:\n\n```".to_owned(),
        each("scheduledbackups", r#"{"spec":{"suspend":true}}"#),
        each("poolers", r#"{"spec":{"instances":0}}"#),
        hibernate("on"),
        format!("kubectl -n kiven-databases wait cluster -l {label} --for=condition=cnpg.io/hibernation --timeout=10m"),
        scale("minSize=0,desiredSize=0,maxSize=1"),
        "```".to_owned(),
    ];
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{line}");
    }
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
