//! The operator with real PostgreSQL processes: a cluster's whole life, and the deaths that it has to survive.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are not seen as tests")]
use axum::extract::{Request, State};
use axum::http::StatusCode;
use kiven_fake_kube::{self as fake, Handle, Server, Storage, kinds};
use kiven_local::operator::{self, Postgres, Running, User};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const NS: &str = "kiven-databases";
const WAIT: Duration = Duration::from_secs(30);
const ARCHIVE_ARGUMENTS: &str = "KIVEN_TEST_ARCHIVE";

/// Stored keys with their sizes.
type Stored = Arc<Mutex<Vec<(String, usize)>>>;

struct World {
    kube: Handle,
    running: Option<Running>,
    postgres: Postgres,
    folder: tempfile::TempDir,
    program: PathBuf,
    endpoint: String,
    stored: Stored,
}

async fn store(State(stored): State<Stored>, request: Request) -> StatusCode {
    let key = format!("{} {}", request.method(), request.uri().path());
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    stored.lock().unwrap().push((key, body.len()));
    StatusCode::OK
}

/// Not a test of its own: the servers' archive_command runs this binary with the arguments in the environment.
#[test]
#[expect(clippy::disallowed_methods, reason = "the arguments cannot come through the test harness's own")]
fn archive_entry() {
    if let Ok(arguments) = std::env::var(ARCHIVE_ARGUMENTS) {
        let arguments: Vec<String> = arguments.split(' ').skip(1).map(Into::into).collect();
        let code = operator::archive::run(&arguments);
        assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
    }
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let binary = folder.path().join("test-binary");
        std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
        let program = folder.path().join("kiven-archive");
        std::fs::write(&program, format!("#!/bin/sh\n{ARCHIVE_ARGUMENTS}=\"$*\" exec {} --exact archive_entry\n", binary.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let stored = Stored::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(store).with_state(stored.clone())).into_future());
        let config = fake::Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            storage: Storage::Memory,
            admin_token: "admin".into(),
            issuer: None,
            clock: fake::system_clock(),
        };
        let kube = Server::start(config).await.unwrap();
        kube.create(&kinds::NAMESPACES, json!({ "metadata": { "name": NS } })).unwrap();
        let user = User::to_run_as("postgres").unwrap();
        let postgres = Postgres::find(None, "/usr/bin".as_ref(), user).await.unwrap();
        let mut world = Self { kube, running: None, postgres, folder, program, endpoint, stored };
        world.run();
        world
    }

    fn run(&mut self) {
        let config = operator::Config {
            kube: self.kube.clone(),
            postgres: self.postgres.clone(),
            state_dir: self.folder.path().join("state"),
            s3_endpoint: self.endpoint.clone(),
            archive_program: self.program.clone(),
            pgbouncer: operator::find_pgbouncer(&std::env::var_os("PATH").unwrap_or_default()),
            clock: fake::system_clock(),
        };
        self.running = Some(operator::start(config).unwrap());
    }

    /// Waits for an event after which the condition holds; answers the time it took.
    async fn until(&self, what: &str, holds: impl Fn(&Handle) -> bool) -> Duration {
        let began = Instant::now();
        let mut changes = self.kube.changes();
        let wait = async {
            while !holds(&self.kube) {
                timeout(Duration::from_millis(100), changes.changed()).await.ok();
            }
        };
        if timeout(WAIT, wait).await.is_err() {
            let kinds = [&kinds::CLUSTERS, &kinds::BACKUPS, &kinds::POOLERS, &kinds::VOLUMES];
            let found = kinds.iter().flat_map(|kind| self.kube.list(kind, None, &fake::Selector::all()));
            let told: Vec<String> = found.map(|object| format!("{} {} {}", object["kind"], object["metadata"]["name"], object["status"])).collect();
            panic!("waited too long for {what}: {}", told.join("\n"));
        }
        println!("{what}: {} ms", began.elapsed().as_millis());
        began.elapsed()
    }

    fn status(&self) -> Value {
        self.kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"].clone()
    }

    fn annotate(&self, value: &str) {
        let patch = json!({ "metadata": { "annotations": { "cnpg.io/hibernation": value } } });
        self.kube.patch(&kinds::CLUSTERS, NS, "shop-a1b2c3-1", &patch).unwrap();
    }

    fn port(&self, service: &str) -> String {
        let service = self.kube.get(&kinds::SERVICES, NS, service).unwrap();
        service["metadata"]["annotations"]["local.kiven.io/port"].as_str().unwrap().to_owned()
    }

    /// What psql answers through a Service with the CA, the name and the password checked.
    async fn psql(&self, service: &str, password: &str, sql: &str) -> Result<String, String> {
        let root = self.folder.path().join("ca.crt");
        let to = format!(
            "host={service}.{NS}.svc hostaddr=127.0.0.1 port={} dbname=shop user=shop sslmode=verify-full sslrootcert={}",
            self.port(service),
            root.display()
        );
        let mut command = tokio::process::Command::new("psql");
        let answer = command.env("PGPASSWORD", password).args(["-XAtq", "-d", &to, "-c", sql]).output().await.unwrap();
        match answer.status.success() {
            true => Ok(String::from_utf8(answer.stdout).unwrap().trim().to_owned()),
            false => Err(String::from_utf8(answer.stderr).unwrap()),
        }
    }

    /// Pids of every process that works in a data directory of this world.
    fn servers(&self) -> Vec<u32> {
        let volumes = self.folder.path().canonicalize().unwrap();
        let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&volumes))).collect()
    }

    fn postmaster(&self, instance: &str) -> u32 {
        let claim = self.kube.get(&kinds::VOLUME_CLAIMS, NS, instance).unwrap();
        let volume = self.folder.path().join("state/volumes").join(claim["spec"]["volumeName"].as_str().unwrap());
        std::fs::read_to_string(volume.join("pgdata/postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap()
    }

    fn kill(&self, pid: u32) {
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    }

    fn declare(&self, instances: u32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        std::fs::write(self.folder.path().join("ca.crt"), &ca).unwrap();
        let kube = &self.kube;
        let object = |kind, object: Value| drop(kube.create(kind, object).unwrap());
        object(&kinds::SECRETS, json!({ "metadata": { "name": "shop-ca", "namespace": NS }, "stringData": { "ca.crt": ca, "ca.key": key.serialize_pem() } }));
        let owner = json!({ "username": "shop", "password": "it's a \\ secret" });
        object(&kinds::SECRETS, json!({ "metadata": { "name": "shop-owner", "namespace": NS }, "type": "kubernetes.io/basic-auth", "stringData": owner }));
        object(&kinds::STORAGE_CLASSES, json!({ "metadata": { "name": "kiven" }, "provisioner": "x", "reclaimPolicy": "Retain" }));
        object(&kinds::OBJECT_STORES, json!({ "metadata": { "name": "shop", "namespace": NS }, "spec": { "configuration": { "destinationPath": "s3://backups/db/" } } }));
        for (name, selector) in [
            ("shop-rw", json!({ "cnpg.io/cluster": "shop-a1b2c3-1", "cnpg.io/instanceRole": "primary" })),
            ("shop-ro", json!({ "cnpg.io/cluster": "shop-a1b2c3-1", "cnpg.io/instanceRole": "replica" })),
            ("shop-pooler", json!({ "cnpg.io/poolerName": "shop-pooler" })),
        ] {
            object(&kinds::SERVICES, json!({ "metadata": { "name": name, "namespace": NS }, "spec": { "type": "ClusterIP", "selector": selector, "ports": [{ "port": 5432 }] } }));
        }
        let services = ["shop-rw", "shop-ro", "shop-pooler"];
        let names: Vec<String> = services.iter().map(|name| format!("{name}.{NS}.svc")).collect();
        object(&kinds::CLUSTERS, json!({
            "metadata": { "name": "shop-a1b2c3-1", "namespace": NS },
            "spec": {
                "instances": instances, "storage": { "size": "1Gi", "storageClass": "kiven" },
                "postgresql": { "parameters": { "shared_buffers": "1GB", "work_mem": "4MB" } },
                "bootstrap": { "initdb": { "database": "shop", "owner": "shop", "secret": { "name": "shop-owner" } } },
                "certificates": { "serverCASecret": "shop-ca", "serverAltDNSNames": names },
                "plugins": [{ "name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true, "parameters": { "barmanObjectName": "shop", "serverName": "db-1" } }] } }));
    }

    async fn healthy(&self, what: &str, instances: u64) -> Duration {
        let healthy = |kube: &Handle| {
            let cluster = kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap();
            cluster["status"]["phase"] == "Cluster in healthy state" && cluster["status"]["readyInstances"] == instances
        };
        self.until(what, healthy).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in self.servers() {
            Command::new("kill").args(["-9", &pid.to_string()]).status().ok();
        }
    }
}

fn has(object: &Value, condition: &str) -> bool {
    object["status"]["conditions"].as_array().is_some_and(|list| list.iter().any(|c| c["type"] == condition && c["status"] == "True"))
}

const SECRET: &str = "it's a \\ secret";

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_lives_sleeps_wakes_fails_over_and_goes() {
    let mut world = World::start().await;
    world.declare(2);
    world.healthy("apply to healthy, two instances", 2).await;
    world.psql("shop-rw", SECRET, "CREATE TABLE t(x text); INSERT INTO t VALUES('kept')").await.unwrap();
    assert!(world.psql("shop-rw", "wrong", "SELECT 1").await.unwrap_err().contains("password authentication failed"));
    assert_eq!(world.psql("shop-ro", SECRET, "SELECT pg_is_in_recovery()").await.unwrap(), "t");
    world.until("continuous archiving", |kube| has(&kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap(), "ContinuousArchiving")).await;
    let wal = world.stored.lock().unwrap().iter().any(|(key, bytes)| key.starts_with("PUT /backups/db/db-1/wals/0000000100000000/") && *bytes == 16 << 20);
    assert!(wal, "{:?}", world.stored.lock().unwrap());
    let system = world.status()["systemID"].as_str().unwrap().to_owned();

    world.annotate("on");
    world.until("hibernation", |kube| has(&kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap(), "cnpg.io/hibernation")).await;
    assert_eq!(world.servers(), Vec::<u32>::new());
    assert!(world.kube.list(&kinds::PODS, Some(NS), &fake::Selector::all()).is_empty());
    assert_eq!(world.kube.list(&kinds::VOLUME_CLAIMS, Some(NS), &fake::Selector::all()).len(), 2);
    assert_eq!(world.status()["phase"], "Cluster in healthy state");
    assert!(world.psql("shop-rw", SECRET, "SELECT 1").await.is_err());

    world.annotate("off");
    world.healthy("resume", 2).await;
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT x FROM t").await.unwrap(), "kept");
    assert_eq!((world.status()["systemID"].as_str(), world.status()["timelineID"].as_u64()), (Some(system.as_str()), Some(1)));

    let before = world.servers();
    world.running.take().unwrap().stop().await;
    let adopted = world.postmaster("shop-a1b2c3-1-1");
    assert!(before.contains(&adopted));
    assert!(world.servers().contains(&adopted));
    world.run();
    world.kube.patch(&kinds::CLUSTERS, NS, "shop-a1b2c3-1", &json!({ "spec": { "postgresql": { "parameters": { "work_mem": "6MB" } } } })).unwrap();
    let began = Instant::now();
    while world.psql("shop-rw", SECRET, "SHOW work_mem").await != Ok("6MB".into()) {
        assert!(began.elapsed() < WAIT, "the next operator did not take over");
    }
    assert_eq!(world.postmaster("shop-a1b2c3-1-1"), adopted);

    world.kill(adopted);
    world.until("promotion", |kube| kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"]["currentPrimary"] == "shop-a1b2c3-1-2").await;
    world.healthy("the old primary's return", 2).await;
    world.psql("shop-rw", SECRET, "INSERT INTO t VALUES('after')").await.unwrap();
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT count(*), pg_is_in_recovery() FROM t").await.unwrap(), "2|f");
    assert_eq!((world.status()["systemID"].as_str(), world.status()["timelineID"].as_u64()), (Some(system.as_str()), Some(2)));

    world.kube.delete(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap();
    let released = |kube: &Handle| kube.list(&kinds::VOLUMES, None, &fake::Selector::all()).iter().all(|volume| volume["status"]["phase"] == "Released");
    world.until("deletion", released).await;
    assert_eq!(world.servers(), Vec::<u32>::new());
    assert!(world.kube.list(&kinds::VOLUME_CLAIMS, Some(NS), &fake::Selector::all()).is_empty());
    for volume in world.kube.list(&kinds::VOLUMES, None, &fake::Selector::all()) {
        let name = volume["metadata"]["name"].as_str().unwrap();
        assert!(world.folder.path().join("state/volumes").join(name).join("pgdata/PG_VERSION").exists());
        world.kube.patch(&kinds::VOLUMES, "", name, &json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } })).unwrap();
    }
    world.until("volumes removed", |kube| kube.list(&kinds::VOLUMES, None, &fake::Selector::all()).is_empty()).await;
    assert_eq!(std::fs::read_dir(world.folder.path().join("state/volumes")).unwrap().count(), 0);
}

fn contains(folder: &Path, needle: &str) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() { contains(&path, needle) } else { std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle.as_bytes())) }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_instance_has_a_pooler_backups_and_restarts_after_a_kill() {
    let world = World::start().await;
    world.declare(1);
    world.healthy("apply to healthy, one instance", 1).await;
    let cluster = json!({ "name": "shop-a1b2c3-1" });
    let create = |kind, name: &str, spec: Value| drop(world.kube.create(kind, json!({ "metadata": { "name": name, "namespace": NS }, "spec": spec })).unwrap());
    create(&kinds::POOLERS, "shop-pooler", json!({ "cluster": cluster, "instances": 1, "type": "rw", "pgbouncer": { "poolMode": "transaction", "parameters": { "default_pool_size": "5" } } }));
    create(&kinds::SCHEDULED_BACKUPS, "shop", json!({ "cluster": cluster, "schedule": "0 0 0 * * *", "immediate": true, "method": "plugin" }));
    create(&kinds::DATABASES, "shop-more", json!({ "cluster": cluster, "name": "more", "owner": "shop" }));
    let ready = |kube: &Handle| kube.get(&kinds::PODS, NS, "shop-pooler-1").is_ok_and(|pod| has(&pod, "Ready"));
    world.until("pooler", ready).await;
    assert_eq!(world.psql("shop-pooler", SECRET, "SELECT current_user").await.unwrap(), "shop");
    world.until("database", |kube| kube.get(&kinds::DATABASES, NS, "shop-more").unwrap()["status"]["applied"] == true).await;
    let completed = |kube: &Handle| kube.list(&kinds::BACKUPS, Some(NS), &fake::Selector::all()).iter().any(|backup| backup["status"]["phase"] == "completed");
    world.until("backup", completed).await;
    let backup = world.kube.list(&kinds::BACKUPS, Some(NS), &fake::Selector::all())[0].clone();
    assert_eq!(backup["status"]["beginWal"].as_str().map(str::len), Some(24));
    let stored = world.stored.lock().unwrap().iter().any(|(key, bytes)| key.starts_with("PUT /backups/db/db-1/base/") && key.ends_with("/base.tar") && *bytes > 1 << 20);
    assert!(stored);

    let killed = world.postmaster("shop-a1b2c3-1-1");
    world.kill(killed);
    world.until("crash noticed", |kube| kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"]["phase"] != "Cluster in healthy state").await;
    world.healthy("restart after a kill", 1).await;
    assert_ne!(world.postmaster("shop-a1b2c3-1-1"), killed);

    let patch = json!({ "spec": { "postgresql": { "parameters": { "max_connections": "42", "work_mem": "5MB" } } } });
    world.kube.patch(&kinds::CLUSTERS, NS, "shop-a1b2c3-1", &patch).unwrap();
    let restarted = world.postmaster("shop-a1b2c3-1-1");
    let restarts = |kube: &Handle| kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"]["phase"] == "Applying configuration";
    world.until("restart for a setting", restarts).await;
    world.healthy("healthy again", 1).await;
    assert_ne!(world.postmaster("shop-a1b2c3-1-1"), restarted);
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT current_setting('max_connections') || current_setting('work_mem')").await.unwrap(), "425MB");
    assert!(!contains(&world.folder.path().join("state"), "it's a "), "the password is in a file of the state folder");
    world.kube.patch(&kinds::POOLERS, NS, "shop-pooler", &json!({ "spec": { "instances": 0 } })).unwrap();
    world.until("pooler gone", |kube| kube.get(&kinds::PODS, NS, "shop-pooler-1").is_err()).await;
}
