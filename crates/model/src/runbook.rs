//! How to pause and resume an environment's databases without Kiven: one page, with every name filled in. Pure.
//!
//! The command line prints it of what the API knows, the agent keeps it as a ConfigMap of what it sees in the cluster.
use crate::DatabaseId;
use std::fmt::Write;

/// Where the databases are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the page is headed with.
    pub title: String,
    /// The EKS cluster's name.
    pub eks_cluster_name: String,
    /// The region.
    pub aws_region: String,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: DatabaseId,
    /// Where it is in its life, in a word.
    pub status: String,
    /// The role that applications log in as.
    pub username: String,
    /// The Secret with its password.
    pub password_secret: String,
    /// Instances while it runs, one node each.
    pub instances: u32,
}

/// The whole page, Markdown.
#[must_use]
pub fn text(place: &Place, databases: &[Entry]) -> String {
    let mut page = format!(
        "# Life without Kiven: {}\n\n\
         Databases that run need nothing of Kiven: PostgreSQL, failover, archiving and scheduled backups are the operator's in your \
         cluster. These commands pause and resume them with your own rights in the EKS cluster `{}` in {}, so keep this page where \
         you can read it without Kiven. Kiven's access is the role of the environment's connection: while it does not open, Kiven \
         does nothing, and undoes nothing.\n",
        place.title, place.eks_cluster_name, place.aws_region
    );
    for database in databases {
        one(&mut page, place, database);
    }
    if databases.is_empty() {
        page.push_str("\nThere are no databases.\n");
    }
    page
}

fn one(page: &mut String, place: &Place, database: &Entry) {
    let (cluster, region, id) = (&place.eks_cluster_name, &place.aws_region, &database.id);
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
    let nodes = database.instances.max(1);
    let lines = [
        format!("\n## {} ({id}), {}\n", database.name, database.status),
        format!("The password of `{}` is in the Secret `{}`.\n", database.username, database.password_secret),
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
