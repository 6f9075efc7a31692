//! The given cluster as its administrator has it: by kubectl.
use anyhow::{Context, ensure};
use kiven_tests::variable;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// Where databases live.
pub const DATABASES: &str = "kiven-databases";
/// How long one question to the API server may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How often a condition is looked at: kubectl is a process of its own each time.
const LOOK: Duration = Duration::from_millis(300);

/// The way to the cluster.
#[derive(Debug, Clone)]
pub struct Given {
    pub kubeconfig: PathBuf,
    /// The S3 that this machine and the pods reach.
    pub s3: String,
}

impl Given {
    /// What the environment names, or one sentence saying that a test is skipped.
    pub fn find(test: &str) -> Option<Self> {
        match (variable("KIVEN_E2E_KUBECONFIG"), variable("KIVEN_E2E_S3")) {
            (Some(kubeconfig), Some(s3)) => Some(Self { kubeconfig: kubeconfig.into(), s3 }),
            _ => {
                println!("skipped: cluster {test}: KIVEN_E2E_KUBECONFIG and KIVEN_E2E_S3 name no cluster (docs/cluster-suite.md)");
                None
            }
        }
    }

    /// What kubectl answers.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with(arguments, "").await
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("kubectl cannot be started")?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input.as_bytes()).await?;
        }
        let output = tokio::time::timeout(ANSWER_MAX, child.wait_with_output()).await.context("kubectl took too long")??;
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.run(&[arguments, &["-o", "json"]].concat()).await?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// One object of the databases' namespace; null where there is none.
    pub async fn get(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        self.json(&["-n", DATABASES, "get", kind, name, "--ignore-not-found"]).await
    }

    /// Objects of the databases' namespace with a label.
    pub async fn list(&self, kind: &str, selector: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.json(&["-n", DATABASES, "get", kind, "-l", selector]).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Objects of the whole cluster with a label.
    pub async fn list_all(&self, kind: &str, selector: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.json(&["get", kind, "-l", selector]).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Makes objects, or brings them to what is said.
    pub async fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.run_with(&["apply", "-f", "-"], &list.to_string()).await.map(drop)
    }

    /// Merges into an object of the databases' namespace, or into its status.
    pub async fn merge(&self, kind: &str, name: &str, patch: &Value, status: bool) -> anyhow::Result<()> {
        let text = patch.to_string();
        let mut arguments = vec!["-n", DATABASES, "patch", kind, name, "--type=merge", "-p", &text];
        if status {
            arguments.push("--subresource=status");
        }
        self.run(&arguments).await.map(drop)
    }

    /// Looks at a condition until it gives something; the time that took.
    pub async fn until<T>(&self, what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
        let began = Instant::now();
        loop {
            if let Some(found) = look().await {
                return (found, began.elapsed());
            }
            assert!(began.elapsed() < limit, "not within {} s: {what}", limit.as_secs());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all instances of a Cluster are ready and the operator is content.
    pub async fn healthy(&self, cluster: &str, limit: Duration) -> Duration {
        let healthy = async || {
            let status = self.get("cluster", cluster).await.ok()?;
            let (spec, status) = (&status["spec"], &status["status"]);
            let good = status["phase"] == "Cluster in healthy state" && status["readyInstances"] == spec["instances"];
            (good && status["currentPrimary"] == status["targetPrimary"]).then_some(())
        };
        self.until(&format!("{cluster} is healthy"), limit, healthy).await.1
    }

    /// The primary's pod.
    pub async fn primary(&self, cluster: &str) -> anyhow::Result<String> {
        let object = self.get("cluster", cluster).await?;
        Ok(object["status"]["currentPrimary"].as_str().context("there is no primary")?.to_owned())
    }

    /// What a query answers as PostgreSQL's own administrator, in the primary's pod.
    pub async fn query_as_postgres(&self, cluster: &str, database: &str, sql: &str) -> anyhow::Result<String> {
        let primary = self.primary(cluster).await?;
        let arguments = ["-n", DATABASES, "exec", &primary, "-c", "postgres", "--", "psql", "-XAtq", "-d", database, "-c", sql];
        Ok(self.run(&arguments).await?.trim().to_owned())
    }

    /// The claims of a Cluster with their UIDs and volumes.
    pub async fn volumes(&self, cluster: &str) -> anyhow::Result<Vec<(String, String, String)>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let claims = self.list("pvc", &format!("cnpg.io/cluster={cluster}")).await?;
        let mut found: Vec<_> =
            claims.iter().map(|one| (text(&one["metadata"]["name"]), text(&one["metadata"]["uid"]), text(&one["spec"]["volumeName"]))).collect();
        found.sort();
        Ok(found)
    }

    /// The zones of the nodes that are marked for databases, and how many nodes there are.
    pub async fn zones(&self) -> anyhow::Result<(Vec<String>, usize)> {
        let nodes = self.list_all("nodes", "kiven.io/pool=local").await?;
        let zone = |node: &Value| node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str().map(str::to_owned);
        let mut zones: Vec<String> = nodes.iter().filter_map(zone).collect();
        zones.sort();
        zones.dedup();
        Ok((zones, nodes.len()))
    }
}
