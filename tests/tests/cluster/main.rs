//! The whole system on a cluster where CloudNativePG runs, beside a Cluster made by hand in the same run.
//!
//! `KIVEN_E2E_KUBECONFIG` gives the cluster, `KIVEN_E2E_S3` the S3 that it and this machine reach; docs/cluster-suite.md says what
//! the cluster must have. Without them nothing runs, and that is said. The figures are printed and judged by nobody.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
mod backups;
mod figures;
mod given;
mod life;
mod plain;
mod writer;

use figures::Figures;
use given::{DATABASES, Given};
use kiven_model::OperationId;
use kiven_model::api::{CustomRequest, DatabaseRequest, DatabaseView};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_tests::{Customer, Stack, customer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use writer::{APPLICATIONS, Target, Writer};

/// How long one operation may take: volumes, images and elections of a real cluster.
const OPERATION_MAX: Duration = Duration::from_secs(420);
/// Between two kills of the agent.
const KILL_EVERY: Duration = Duration::from_secs(3);

/// Kiven with the given cluster, and its customer.
struct Kiven {
    given: Given,
    stack: Stack,
    customer: Customer,
    instances: u32,
    image: String,
}

impl Kiven {
    async fn start(given: Given, label: &str) -> Self {
        let left = given.list("clusters", "").await.unwrap();
        assert!(left.is_empty(), "{DATABASES} has Clusters: this suite wants it for itself");
        let stack = Stack::start_on(label, &given.kubeconfig, &given.s3).await.unwrap();
        let (zones, nodes) = given.zones().await.unwrap();
        let subnet = |zone: &String| (zone.clone(), format!("subnet-local-{}", &zone[zone.len() - 1..]));
        let connection = kiven_model::api::ConnectionRequest { subnets: zones.iter().map(subnet).collect(), ..customer::connection_request() };
        let environment = kiven_model::api::EnvironmentRequest { agent_enrolment: Some("token".into()), ..customer::environment_request("tests") };
        let customer = Customer::connect_as(&stack, &environment, &connection).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
        let (major, image) = writer::catalog_image(&given).await.unwrap();
        println!("the cluster has {nodes} nodes in {zones:?}; PostgreSQL {major}");
        Self { given, stack, customer, instances: u32::try_from(nodes.min(3)).unwrap(), image }
    }

    fn request(&self, name: &str, instances: u32) -> DatabaseRequest {
        DatabaseRequest {
            plan: "custom".to_owned(),
            custom: Some(CustomRequest { vcpu: 1, memory_gib: 1 }),
            storage_gb: Some(10),
            allowed_namespaces: vec![APPLICATIONS.to_owned()],
            ..customer::database_request(&self.customer.environment, name, instances)
        }
    }

    async fn view(&self, database: &DatabaseView) -> DatabaseView {
        self.customer.client.database_get(&database.id).await.unwrap()
    }

    /// Follows an operation to its success; how long that took.
    async fn succeed(&self, operation: &OperationId) -> Duration {
        let began = Instant::now();
        let followed = self.customer.succeed_within(operation, OPERATION_MAX).await;
        followed.unwrap_or_else(|error| panic!("{error:#}\n{}", self.stack.tail()));
        began.elapsed()
    }

    /// Does something while the agent is killed again and again; how often it was.
    async fn killing<T>(&self, what: impl Future<Output = T>) -> (T, usize) {
        let mut what = Box::pin(what);
        let mut every = tokio::time::interval(KILL_EVERY);
        let mut kills = 0;
        loop {
            tokio::select! {
                done = &mut what => return (done, kills),
                _ = every.tick() => kills += self.stack.kill_all("kiven-agent"),
            }
        }
    }

    /// Follows an operation while the agent is killed again and again.
    async fn survive(&self, what: &str, operation: &OperationId) {
        let (took, kills) = self.killing(self.succeed(operation)).await;
        println!("{what} with the agent killed {kills} times: {:.1} s", took.as_secs_f64());
    }

    async fn put(&self, database: &DatabaseView, request: &DatabaseRequest) -> OperationId {
        self.customer.client.database_put(&database.id, request).await.unwrap().operation_id.unwrap()
    }

    /// The name of its Cluster.
    async fn cluster(&self, database: &DatabaseView) -> String {
        let found = self.given.list("clusters", &format!("kiven.io/database={}", database.id)).await.unwrap();
        found[0]["metadata"]["name"].as_str().unwrap().to_owned()
    }

    fn target(&self, view: &DatabaseView) -> Target {
        Target {
            name: view.spec.name.to_string(),
            host: view.addresses.host.clone(),
            user: view.addresses.username.clone(),
            database: view.addresses.database.clone(),
            password_secret: view.password_secret.clone(),
            authority: view.ca_certificate.clone().unwrap(),
            image: self.image.clone(),
        }
    }

    /// Deletes a database; nothing of it may be left in the cluster.
    async fn delete(&self, database: &DatabaseView, kill: bool) {
        let cluster = self.cluster(database).await;
        let volumes = self.given.volumes(&cluster).await.unwrap();
        self.customer.client.database_delete(&database.id).await.unwrap();
        let mut kills = 0;
        let gone = async || {
            if kill {
                kills += self.stack.kill_all("kiven-agent");
                tokio::time::sleep(KILL_EVERY).await;
            }
            (self.view(database).await.status == DatabaseStatus::Deleted).then_some(())
        };
        self.given.until("the database is deleted", OPERATION_MAX, gone).await;
        println!("deleted with the agent killed {kills} times");
        let label = format!("kiven.io/database={}", database.id);
        for kind in ["clusters", "poolers", "scheduledbackups", "databases", "objectstores", "secrets", "services", "networkpolicies", "pvc", "pods"]
        {
            let left = async || self.given.list(kind, &label).await.ok()?.is_empty().then_some(());
            self.given.until(&format!("no {kind} are left"), OPERATION_MAX, left).await;
        }
        for (_, _, volume) in volumes {
            let left =
                async || self.given.run(&["get", "pv", &volume, "--ignore-not-found", "-o", "name"]).await.ok()?.trim().is_empty().then_some(());
            self.given.until(&format!("the volume {volume} is gone"), OPERATION_MAX, left).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_lives_beside_a_plain_cluster() {
    let Some(given) = Given::find("life") else { return };
    let kiven = Kiven::start(given.clone(), "cluster").await;
    let mut figures = Figures::default();
    let mut request = kiven.request("e2e", kiven.instances);
    let (asked, operation) = kiven.customer.ask(&request).await.unwrap();
    figures.kiven("provision, s", kiven.succeed(&operation).await);
    let database = kiven.view(&asked).await;
    let cluster = kiven.cluster(&database).await;
    let like = given.get("cluster", &cluster).await.unwrap();

    let target = kiven.target(&database);
    let writer = Writer::start(&given, &target).await;
    let pooled = writer.query(&target, &database.addresses.pooler_host, "SELECT count(*) > 0 FROM writes").await.unwrap();
    assert_eq!(pooled, "t", "through the pooler, which shows a certificate of its own name");

    // A change replaces the instance that is being backed up, and the backup with it.
    println!("the schedule's first backup was complete {:.1} s later", backups::first(&given, &cluster).await.as_secs_f64());

    let rows = writer.settle().await;
    request.custom = Some(CustomRequest { vcpu: 1, memory_gib: 2 });
    let operation = kiven.put(&database, &request).await;
    figures.kiven("resize, s", kiven.succeed(&operation).await);
    life::resized(&given, &cluster, 2).await;
    figures.kiven_gap("resize: writes stop, s", writer.gap_since(rows).await);
    figures.kiven_gap("switchover: writes stop, s", life::switchover(&given, &cluster, &writer).await);
    figures.kiven_gap("loss of the primary: writes stop, s", life::lose_primary(&given, &cluster, &writer).await);
    kept(&writer, &target, "after the loss of the primary").await;

    figures.kiven("backup, s", backups::take(&given, &cluster).await);
    let acknowledged = writer.stop().await;

    let acknowledged = power(&kiven, &database, &target, acknowledged, &mut figures).await;
    let acknowledged = lost_object(&kiven, &database, &target, acknowledged, &mut figures).await;
    let paused = kiven.customer.power(&database.id, false).await.unwrap();
    kiven.succeed(&paused).await;
    let (took, lost) = backups::recover(&given, &given.get("cluster", &cluster).await.unwrap(), &target.database, &acknowledged).await.unwrap();
    println!("recovered: {} acknowledged rows, {lost} lost", acknowledged.len());
    assert_eq!(lost, 0, "pause has archived the last row");
    figures.kiven("recovery from its archive by a plain Cluster, s", took);

    plain::live(&given, &like, &kiven.image, &mut figures).await;
    kiven.delete(&database, false).await;
    figures.print();
    kiven.stack.end().await.unwrap();
}

async fn kept(writer: &Writer, target: &Target, when: &str) {
    let (acknowledged, lost) = writer.lost(target).await;
    println!("kiven: {when}: {acknowledged} acknowledged rows, {lost} lost");
    assert_eq!(lost, 0, "{when}");
}

/// Off and on: the same PostgreSQL on the same volumes.
async fn power(kiven: &Kiven, database: &DatabaseView, target: &Target, acknowledged: BTreeSet<i64>, figures: &mut Figures) -> BTreeSet<i64> {
    let cluster = kiven.cluster(database).await;
    let volumes = kiven.given.volumes(&cluster).await.unwrap();
    let operation = kiven.customer.power(&database.id, false).await.unwrap();
    figures.kiven("pause, s", kiven.succeed(&operation).await);
    let pods = kiven.given.list("pods", &format!("kiven.io/database={}", database.id)).await.unwrap();
    assert!(pods.is_empty(), "a paused database has no pod");
    let resumed = resume(kiven, database, target, acknowledged, figures, ["resume to the first row, s", "resume, s"]).await;
    assert_eq!(kiven.given.volumes(&cluster).await.unwrap(), volumes, "the same volumes");
    resumed
}

/// The Cluster object is lost while the database is off, its volumes are not: the resume makes it anew on them.
async fn lost_object(kiven: &Kiven, database: &DatabaseView, target: &Target, acknowledged: BTreeSet<i64>, figures: &mut Figures) -> BTreeSet<i64> {
    let cluster = kiven.cluster(database).await;
    let operation = kiven.customer.power(&database.id, false).await.unwrap();
    kiven.succeed(&operation).await;
    let volumes = orphan(&kiven.given, &cluster).await;
    let words = ["resume without its Cluster object to the first row, s", "resume without its Cluster object, s"];
    let resumed = resume(kiven, database, target, acknowledged, figures, words).await;
    assert_eq!(kiven.given.volumes(&cluster).await.unwrap(), volumes, "adopted");
    resumed
}

/// Deletes a paused database's Cluster object alone; its volumes.
async fn orphan(given: &Given, cluster: &str) -> Vec<(String, String, String)> {
    let volumes = given.volumes(cluster).await.unwrap();
    given.run(&["-n", DATABASES, "delete", "cluster", cluster, "--cascade=orphan"]).await.unwrap();
    assert_eq!(given.get("cluster", cluster).await.unwrap(), Value::Null);
    assert_eq!(given.volumes(cluster).await.unwrap(), volumes, "its volumes are left");
    volumes
}

async fn resume(
    kiven: &Kiven,
    database: &DatabaseView,
    target: &Target,
    acknowledged: BTreeSet<i64>,
    figures: &mut Figures,
    [first, whole]: [&str; 2],
) -> BTreeSet<i64> {
    let writer = Writer::begin(&kiven.given, target, acknowledged).await;
    let began = Instant::now();
    let operation = kiven.customer.power(&database.id, true).await.unwrap();
    let (row, took) = tokio::join!(writer.first_row(), kiven.succeed(&operation));
    figures.kiven(first, row - began);
    figures.kiven(whole, took);
    kept(&writer, target, whole).await;
    assert_eq!(kiven.view(database).await.system_identifier, database.system_identifier, "the same PostgreSQL");
    writer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_may_die_at_any_time() {
    let Some(given) = Given::find("kills") else { return };
    let kiven = Kiven::start(given.clone(), "cluster-kills").await;
    let mut request = kiven.request("e2e-kills", 2.min(kiven.instances));
    let (asked, operation) = kiven.customer.ask(&request).await.unwrap();
    kiven.survive("provision", &operation).await;
    let database = kiven.view(&asked).await;
    let (cluster, target) = (kiven.cluster(&database).await, kiven.target(&database));
    let writer = Writer::start(&given, &target).await;
    request.custom = Some(CustomRequest { vcpu: 1, memory_gib: 2 });
    let operation = kiven.put(&database, &request).await;
    kiven.survive("resize", &operation).await;
    writer.settle().await;
    kept(&writer, &target, "after a resize").await;
    if kiven.instances > 1 {
        let (gap, kills) = kiven.killing(life::lose_primary(&given, &cluster, &writer)).await;
        println!("loss of the primary with the agent killed {kills} times: writes stop {gap:.1} s");
        kept(&writer, &target, "after the loss of the primary").await;
    }
    let acknowledged = writer.stop().await;

    let backup = backups::begin(&given, &cluster).await;
    let operation = kiven.customer.power(&database.id, false).await.unwrap();
    kiven.survive("pause that waits for a backup", &operation).await;
    assert_eq!(given.get("backup", &backup).await.unwrap()["status"]["phase"], "completed", "a pause cuts no backup off");
    let operation = kiven.customer.power(&database.id, true).await.unwrap();
    kiven.survive("resume", &operation).await;
    let acknowledged = still(&kiven, &database, &target, acknowledged, "after pause and resume").await;

    let operation = kiven.customer.power(&database.id, false).await.unwrap();
    kiven.survive("pause", &operation).await;
    let volumes = orphan(&given, &cluster).await;
    let operation = kiven.customer.power(&database.id, true).await.unwrap();
    kiven.survive("resume without its Cluster object", &operation).await;
    assert_eq!(given.volumes(&cluster).await.unwrap(), volumes, "adopted");
    still(&kiven, &database, &target, acknowledged, "after the loss of the Cluster object").await;
    kiven.delete(&database, true).await;
    kiven.stack.end().await.unwrap();
}

/// It is the same PostgreSQL with every acknowledged row, and takes more.
async fn still(kiven: &Kiven, database: &DatabaseView, target: &Target, acknowledged: BTreeSet<i64>, when: &str) -> BTreeSet<i64> {
    let writer = Writer::begin(&kiven.given, target, acknowledged).await;
    writer.settle().await;
    kept(&writer, target, when).await;
    assert_eq!(kiven.view(database).await.system_identifier, database.system_identifier, "the same PostgreSQL");
    writer.stop().await
}
