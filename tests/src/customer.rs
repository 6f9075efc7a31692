//! A customer of one stack: its environment, its databases, and what can be seen of them from outside.
use crate::{Stack, random};
use anyhow::{Context, bail, ensure};
use kiven_client::{Client, Followed};
use kiven_model::api::{ConnectionRequest, DatabaseRequest, DatabaseView, DeletionRequest, EnvironmentRequest, OperationView};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::OperationStatus;
use kiven_model::{DatabaseId, EnvironmentId, OperationId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// How long one operation may take, faults included.
pub const OPERATION_MAX: Duration = Duration::from_secs(60);
/// How long one that only prepares a test may take.
const PREPARATION_MAX: Duration = Duration::from_secs(240);
/// How long a query may take.
const QUERY_MAX: Duration = Duration::from_secs(30);
/// The customer's administrator at the local AWS.
const CUSTOMER_KEY: &str = "CUSTOMERLOCAL";
/// Where databases live in the cluster.
const NAMESPACE: &str = "kiven-databases";
/// What a census counts: path of the API group, plural.
const COUNTED: [(&str, &str); 9] = [
    ("apis/postgresql.cnpg.io/v1", "clusters"),
    ("apis/postgresql.cnpg.io/v1", "poolers"),
    ("apis/postgresql.cnpg.io/v1", "scheduledbackups"),
    ("apis/barmancloud.cnpg.io/v1", "objectstores"),
    ("api/v1", "persistentvolumeclaims"),
    ("api/v1", "secrets"),
    ("api/v1", "services"),
    ("api/v1", "pods"),
    ("apis/networking.k8s.io/v1", "networkpolicies"),
];

/// A customer with a connected environment.
#[derive(Debug, Clone)]
pub struct Customer {
    /// The API.
    pub client: Client,
    /// The environment.
    pub environment: EnvironmentId,
    state: PathBuf,
    kube_url: String,
    kube_token: String,
    http: reqwest::Client,
    sdk: kiven_aws::Sdk,
}

/// The environment that the local stack offers.
#[must_use]
pub fn environment_request(name: &str) -> EnvironmentRequest {
    EnvironmentRequest {
        name: name.to_owned(),
        aws_account_id: "000000000000".to_owned(),
        aws_region: "eu-west-1".to_owned(),
        eks_cluster_name: "local".to_owned(),
        agent_enrolment: None,
    }
}

/// Its way in.
#[must_use]
pub fn connection_request() -> ConnectionRequest {
    ConnectionRequest {
        role_arn: "arn:aws:iam::000000000000:role/kiven-access".to_owned(),
        subnets: ["a", "b"].map(|zone| (format!("eu-west-1{zone}"), format!("subnet-local-{zone}"))).into(),
        launch_template: "lt-local".to_owned(),
        backup_kms_key_arn: None,
        node_group_quota: None,
    }
}

/// The smallest database, to be destroyed without grace.
#[must_use]
pub fn database_request(environment: &EnvironmentId, name: &str, instances: u32) -> DatabaseRequest {
    DatabaseRequest {
        name: name.to_owned(),
        environment_id: environment.to_string(),
        plan: "hobbyist".to_owned(),
        instances: Some(instances),
        deletion_protection: Some(false),
        deletion: DeletionRequest { final_backup: Some(false), grace_days: Some(0) },
        ..DatabaseRequest::default()
    }
}

impl Customer {
    /// Makes an environment and connects it.
    ///
    /// # Errors
    /// When it does not become connected.
    pub async fn connect(stack: &Stack) -> anyhow::Result<Self> {
        Self::connect_as(stack, &environment_request("tests"), &connection_request()).await
    }

    /// The same with requests of one's own.
    ///
    /// # Errors
    /// When it does not become connected.
    pub async fn connect_as(stack: &Stack, environment: &EnvironmentRequest, connection: &ConnectionRequest) -> anyhow::Result<Self> {
        let client = stack.client()?;
        let asked = EnvironmentId::from_random(random()?);
        let environment = client.environment_put(&asked, environment).await?.id;
        let customer = Self {
            kube_url: stack.said("kube_url")?,
            kube_token: stack.secret("admin-token")?,
            http: reqwest::Client::new(),
            sdk: stack.sdk(CUSTOMER_KEY)?,
            state: stack.state.clone(),
            client,
            environment,
        };
        let connected = customer.client.connection_put(&customer.environment, connection).await?;
        customer.prepare(&connected.operation_id.context("connecting has no operation")?).await?;
        Ok(customer)
    }

    /// Asks for a database.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn ask(&self, request: &DatabaseRequest) -> anyhow::Result<(DatabaseView, OperationId)> {
        let view = self.client.database_put(&DatabaseId::from_random(random()?), request).await?;
        let operation = view.operation_id.clone().context("the database has no operation")?;
        Ok((view, operation))
    }

    /// Follows an operation to its success.
    ///
    /// # Errors
    /// With its events when it ended otherwise or not in time.
    pub async fn succeed(&self, operation: &OperationId) -> anyhow::Result<OperationView> {
        self.succeed_within(operation, OPERATION_MAX).await
    }

    /// Follows an operation that only prepares a test to its success: a busy machine may take its time.
    ///
    /// # Errors
    /// With its events when it ended otherwise or not in time.
    pub async fn prepare(&self, operation: &OperationId) -> anyhow::Result<OperationView> {
        self.succeed_within(operation, PREPARATION_MAX).await
    }

    /// Follows an operation to its success within a time of one's own.
    ///
    /// # Errors
    /// With its events when it ended otherwise or not in time.
    pub async fn succeed_within(&self, operation: &OperationId, time: Duration) -> anyhow::Result<OperationView> {
        match self.client.operation_follow(operation, time, |_| ()).await? {
            Followed::Over(view) if view.status == OperationStatus::Succeeded => Ok(*view),
            _ => {
                let view = self.client.operation_get(operation).await?;
                bail!("the {} is {} after at most {time:?}: {:?}\n{}", view.kind.as_str(), view.status.as_str(), view.problem, story(&view))
            }
        }
    }

    /// Power off or on, begun.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn power(&self, id: &DatabaseId, on: bool) -> anyhow::Result<OperationId> {
        let view = if on { self.client.database_resume(id).await? } else { self.client.database_pause(id).await? };
        view.operation_id.context("the database has no operation")
    }

    /// Deletes databases together and waits for their ends.
    ///
    /// # Errors
    /// When one is not gone in time.
    pub async fn delete(&self, ids: &[DatabaseId]) -> anyhow::Result<()> {
        for id in ids {
            self.client.database_delete(id).await?;
        }
        for id in ids {
            let gone =
                crate::within(OPERATION_MAX, async || self.client.database_get(id).await.is_ok_and(|view| view.status == DatabaseStatus::Deleted))
                    .await;
            if !gone {
                let view = self.client.database_get(id).await?;
                let story = match &view.operation_id {
                    Some(operation) => story(&self.client.operation_get(operation).await?),
                    None => String::new(),
                };
                bail!("database {id} is {} after {OPERATION_MAX:?}\n{story}", view.status);
            }
        }
        Ok(())
    }

    /// One value by psql, with the password and authority that the stack keeps for people.
    ///
    /// # Errors
    /// With what psql says.
    pub async fn query(&self, database: &DatabaseView, sql: &str) -> anyhow::Result<String> {
        let uri = database.connection_uri.as_ref().context("the database has no connection string")?;
        let authority = self.state.join("ca").join(format!("{}.crt", database.spec.name));
        let uri = format!("{uri}&passfile={}&sslrootcert={}&connect_timeout=15", self.state.join("pgpass").display(), authority.display());
        let mut psql = tokio::process::Command::new("psql");
        psql.args(["--no-psqlrc", "-w", "-v", "ON_ERROR_STOP=1", "-Atqc", sql, &uri]).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(QUERY_MAX, psql.output()).await.context("psql took too long")??;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Objects of one kind in the cluster.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn objects(&self, group: &str, plural: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/{group}/namespaces/{NAMESPACE}/{plural}", self.kube_url);
        let answer = self.http.get(url).bearer_auth(&self.kube_token).send().await?.error_for_status()?;
        let list: Value = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The page on life without Kiven that the agent keeps, once it is there.
    ///
    /// # Errors
    /// When the API server does not answer, or the page is not there in time.
    pub async fn runbook(&self) -> anyhow::Result<String> {
        let url = format!("{}/api/v1/namespaces/kiven-system/configmaps/kiven-runbook", self.kube_url);
        let read = async || {
            let answer = self.http.get(&url).bearer_auth(&self.kube_token).send().await.ok()?.error_for_status().ok()?;
            let map: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
            map["data"]["runbook.md"].as_str().filter(|page| page.contains("## ")).map(str::to_owned)
        };
        let there = crate::within(QUERY_MAX, async || read().await.is_some()).await;
        ensure!(there, "there is no runbook with a database after {QUERY_MAX:?}");
        read().await.context("the runbook is gone again")
    }

    /// The nodes that a database's instances stand on, with their zones.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn nodes(&self, database: &DatabaseView) -> anyhow::Result<BTreeMap<String, String>> {
        let answer = self.http.get(format!("{}/api/v1/nodes", self.kube_url)).bearer_auth(&self.kube_token).send().await?.error_for_status()?;
        let list: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pods = self.objects("api/v1", "pods").await?;
        let stands = |node: &&Value| pods.iter().any(|pod| of_database(pod, database) && pod["spec"]["nodeName"] == node["metadata"]["name"]);
        let nodes = list["items"].as_array().into_iter().flatten().filter(stands);
        Ok(nodes.map(|node| (text(&node["metadata"]["name"]), text(&node["metadata"]["labels"]["topology.kubernetes.io/zone"]))).collect())
    }

    /// The volumes of a database: claim's name, claim's UID, volume.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn volumes(&self, database: &DatabaseView) -> anyhow::Result<Vec<(String, String, String)>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let claims = self.objects("api/v1", "persistentvolumeclaims").await?;
        let ours = claims.iter().filter(|claim| of_database(claim, database));
        Ok(ours.map(|claim| (text(&claim["metadata"]["name"]), text(&claim["metadata"]["uid"]), text(&claim["spec"]["volumeName"]))).collect())
    }

    /// How many objects of each kind a database has, in the cluster and in AWS.
    ///
    /// # Errors
    /// When somebody does not answer.
    pub async fn census(&self, database: &DatabaseView) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for (group, plural) in COUNTED {
            let objects = self.objects(group, plural).await?;
            counts.insert(plural.to_owned(), objects.iter().filter(|object| of_database(object, database)).count());
        }
        let groups = self.sdk.eks().list_nodegroups().cluster_name("local").send().await?;
        let ours = groups.nodegroups().iter().filter(|name| name.contains(database.id.short(10))).count();
        counts.insert("node groups".to_owned(), ours);
        let buckets =
            std::fs::read_dir(self.state.join("blobs"))?.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("kiven-backups-"));
        counts.insert("buckets".to_owned(), buckets.count());
        Ok(counts)
    }
}

/// Whether an object is a database's: every name begins with the database's.
fn of_database(object: &Value, database: &DatabaseView) -> bool {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    name.strip_prefix(database.spec.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// An operation's events, a line each.
#[must_use]
pub fn story(view: &OperationView) -> String {
    let line = |event: &kiven_model::operation::OperationEvent| {
        format!("  {} {:?} {} {}", event.at, event.kind, event.step.as_deref().unwrap_or("-"), event.message)
    };
    view.events.iter().map(line).collect::<Vec<_>>().join("\n")
}
