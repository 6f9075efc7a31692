//! An application in the cluster that never stops writing: a pod with psql, which connects by Service and verifies the server.
//!
//! What PostgreSQL has acknowledged is what the pod has printed, each row with the time of its own clock.
use crate::given::{DATABASES, Given};
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Where the application lives.
pub const APPLICATIONS: &str = "kiven-e2e-app";
/// How long writes may take to begin, or to go on.
const WRITES_MAX: Duration = Duration::from_secs(180);
/// So many rows without a pause make a writer settled.
const SETTLED_ROWS: usize = 40;
/// A pause between two of them.
const PAUSE_MS: i64 = 1_000;

/// One session after the other; in each one row after the other. `ON_ERROR_STOP` ends a session, so that what is printed is acknowledged.
const SCRIPT: &str = r#"
while :; do
  while :; do echo 'INSERT INTO writes DEFAULT VALUES RETURNING n;'; sleep 0.05; done \
    | stdbuf -oL psql -XqAt -v ON_ERROR_STOP=1 "$TARGET" 2>/dev/null | while read -r n; do echo "$n $(date +%s%3N)"; done
  sleep 0.05
done
"#;

/// Where and as whom to write.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub host: String,
    pub user: String,
    pub database: String,
    /// The Secret with the password, in the databases' namespace.
    pub password_secret: String,
    /// What the server's certificate is verified with, PEM.
    pub authority: String,
    /// An image with psql.
    pub image: String,
}

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    given: Given,
    pod: String,
    /// Rows that writers before it were acknowledged.
    pub acknowledged: BTreeSet<i64>,
}

impl Target {
    fn conninfo(&self, host: &str) -> String {
        format!(
            "host={host} user={} dbname={} sslmode=verify-full sslrootcert=/ca/ca.crt connect_timeout=2 tcp_user_timeout=2000 \
             keepalives_idle=1 keepalives_interval=1 keepalives_count=2",
            self.user, self.database
        )
    }

    async fn pod(&self, given: &Given, name: &str) -> anyhow::Result<Vec<Value>> {
        let secret = given.get("secret", &self.password_secret).await?;
        let metadata = |name: &str| json!({ "name": name, "namespace": APPLICATIONS });
        let password = json!({ "name": "PGPASSWORD", "valueFrom": { "secretKeyRef": { "name": name, "key": "password" } } });
        let container = json!({
            "name": "writer", "image": self.image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", SCRIPT],
            "env": [password, { "name": "TARGET", "value": self.conninfo(&self.host) }],
            "volumeMounts": [{ "name": "ca", "mountPath": "/ca" }],
            "resources": { "requests": { "cpu": "50m", "memory": "64Mi" } },
        });
        Ok(vec![
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": APPLICATIONS } }),
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata(name), "data": { "password": secret["data"]["password"] } }),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name), "data": { "ca.crt": self.authority } }),
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata(name), "spec": {
                "containers": [container], "volumes": [{ "name": "ca", "configMap": { "name": name } }],
                "securityContext": { "runAsUser": 26, "runAsNonRoot": true }, "terminationGracePeriodSeconds": 0,
            } }),
        ])
    }
}

impl Writer {
    /// Starts the pod, makes the table once, and waits until it writes.
    pub async fn start(given: &Given, target: &Target) -> Self {
        let writer = Self::begin(given, target, BTreeSet::new()).await;
        let made = async || writer.query(target, &target.host, "CREATE TABLE IF NOT EXISTS writes (n bigserial PRIMARY KEY)").await.ok();
        given.until("the table of writes is made", WRITES_MAX, made).await;
        writer.settle().await;
        writer
    }

    /// Starts the pod of a writer that goes on where others were, whether anybody answers or not.
    pub async fn begin(given: &Given, target: &Target, acknowledged: BTreeSet<i64>) -> Self {
        let pod = format!("writer-{}-{}", target.name, acknowledged.len());
        given.apply(&target.pod(given, &pod).await.unwrap()).await.unwrap();
        given.run(&["-n", APPLICATIONS, "wait", "--for=condition=Ready", "--timeout=50s", &format!("pod/{pod}")]).await.unwrap();
        Self { given: given.clone(), pod, acknowledged }
    }

    /// What a query answers from the application's pod, over this host.
    pub async fn query(&self, target: &Target, host: &str, sql: &str) -> anyhow::Result<String> {
        let conninfo = target.conninfo(host);
        let said =
            self.given.run(&["-n", APPLICATIONS, "exec", &self.pod, "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, &conninfo]).await?;
        Ok(said.trim().to_owned())
    }

    /// Every acknowledged row with its time in milliseconds.
    pub async fn rows(&self) -> anyhow::Result<Vec<(i64, i64)>> {
        let text = self.given.run(&["-n", APPLICATIONS, "logs", &self.pod]).await?;
        let row = |line: &str| line.split_once(' ').and_then(|(n, at)| Some((n.parse().ok()?, at.parse().ok()?)));
        Ok(text.lines().filter_map(row).collect())
    }

    /// Waits until it writes steadily; answers how many rows it has.
    pub async fn settle(&self) -> usize {
        let from = self.rows().await.map(|rows| rows.len()).unwrap_or(0);
        let steady = async || {
            let rows = self.rows().await.ok()?;
            let last = rows.get(rows.len().checked_sub(SETTLED_ROWS)?..)?;
            (rows.len() >= from + SETTLED_ROWS && longest(last) < PAUSE_MS).then_some(rows.len())
        };
        self.given.until("writes are acknowledged steadily", WRITES_MAX, steady).await.0
    }

    /// The longest pause since it had so many rows, once it writes steadily again; in seconds.
    pub async fn gap_since(&self, rows: usize) -> f64 {
        self.settle().await;
        let all = self.rows().await.unwrap();
        longest(all.get(rows.saturating_sub(1)..).unwrap_or_default()) as f64 / 1000.0
    }

    /// Waits for the first row of this pod.
    pub async fn first_row(&self) -> Instant {
        self.given.until("a row is acknowledged", WRITES_MAX, async || (!self.rows().await.ok()?.is_empty()).then_some(())).await;
        Instant::now()
    }

    /// Ends the pod; answers all rows that were ever acknowledged.
    pub async fn stop(mut self) -> BTreeSet<i64> {
        self.acknowledged.extend(self.rows().await.unwrap().into_iter().map(|(n, _)| n));
        self.given.run(&["-n", APPLICATIONS, "delete", "pod", &self.pod, "--now"]).await.unwrap();
        self.acknowledged
    }

    /// How many acknowledged rows are not in the table.
    pub async fn lost(&self, target: &Target) -> (usize, usize) {
        let acknowledged: BTreeSet<i64> = self.rows().await.unwrap().into_iter().map(|(n, _)| n).chain(self.acknowledged.iter().copied()).collect();
        let stored = self.query(target, &target.host, "SELECT n FROM writes").await.unwrap();
        (acknowledged.len(), missing(&acknowledged, &stored))
    }
}

/// How many of these rows a list does not have.
pub fn missing(acknowledged: &BTreeSet<i64>, stored: &str) -> usize {
    let stored: BTreeSet<i64> = stored.lines().filter_map(|line| line.trim().parse().ok()).collect();
    acknowledged.difference(&stored).count()
}

fn longest(rows: &[(i64, i64)]) -> i64 {
    rows.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap_or(0)
}

/// The image of a major in the catalog that databases are made from.
pub async fn catalog_image(given: &Given) -> anyhow::Result<(u64, String)> {
    let catalog = given.get("imagecatalog", "kiven-postgresql").await?;
    let images = catalog["spec"]["images"].as_array().cloned().unwrap_or_default();
    let newest = images.iter().max_by_key(|image| image["major"].as_u64()).context("the catalog is empty")?;
    let image = newest["image"].as_str().context("an image has no name")?;
    Ok((newest["major"].as_u64().unwrap_or_default(), image.to_owned()))
}

/// The authority of a Secret of the databases' namespace, PEM.
pub async fn authority(given: &Given, secret: &str) -> anyhow::Result<String> {
    let encoded = given.run(&["-n", DATABASES, "get", "secret", secret, "-o", "go-template={{index .data \"ca.crt\" | base64decode}}"]).await?;
    Ok(encoded)
}
