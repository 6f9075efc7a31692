//! One operator with its API server and S3 endpoint, and the questions that tests put to them.
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

pub(crate) const NS: &str = "kiven-databases";
pub(crate) const WAIT: Duration = Duration::from_secs(30);
const ARCHIVE_ARGUMENTS: &str = "KIVEN_TEST_ARCHIVE";

/// Stored keys with their sizes.
pub(crate) type Stored = Arc<Mutex<Vec<(String, usize)>>>;

pub(crate) struct World {
    pub(crate) kube: Handle,
    pub(crate) running: Option<Running>,
    pub(crate) postgres: Postgres,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) program: PathBuf,
    pub(crate) endpoint: String,
    pub(crate) stored: Stored,
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
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let binary = folder.path().join("test-binary");
        std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
        let program = folder.path().join("kiven-archive");
        std::fs::write(&program, format!("#!/bin/sh\n{ARCHIVE_ARGUMENTS}=\"$*\" exec {} --exact world::archive_entry\n", binary.display())).unwrap();
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

    pub(crate) fn run(&mut self) {
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
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Handle) -> bool) -> Duration {
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

    pub(crate) fn status(&self) -> Value {
        self.kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"].clone()
    }

    pub(crate) fn annotate(&self, value: &str) {
        let patch = json!({ "metadata": { "annotations": { "cnpg.io/hibernation": value } } });
        self.kube.patch(&kinds::CLUSTERS, NS, "shop-a1b2c3-1", &patch).unwrap();
    }

    pub(crate) fn port(&self, service: &str) -> String {
        let service = self.kube.get(&kinds::SERVICES, NS, service).unwrap();
        service["metadata"]["annotations"]["local.kiven.io/port"].as_str().unwrap().to_owned()
    }

    /// What psql answers through a Service with the CA, the name and the password checked.
    pub(crate) async fn psql(&self, service: &str, password: &str, sql: &str) -> Result<String, String> {
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
    pub(crate) fn servers(&self) -> Vec<u32> {
        let volumes = self.folder.path().canonicalize().unwrap();
        let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&volumes))).collect()
    }

    pub(crate) fn postmaster(&self, instance: &str) -> u32 {
        let claim = self.kube.get(&kinds::VOLUME_CLAIMS, NS, instance).unwrap();
        let volume = self.folder.path().join("state/volumes").join(claim["spec"]["volumeName"].as_str().unwrap());
        std::fs::read_to_string(volume.join("pgdata/postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap()
    }

    pub(crate) fn kill(&self, pid: u32) {
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    }

    pub(crate) fn declare(&self, instances: u32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        std::fs::write(self.folder.path().join("ca.crt"), &ca).unwrap();
        let kube = &self.kube;
        let object = |kind, object: Value| drop(kube.create(kind, object).unwrap());
        object(
            &kinds::SECRETS,
            json!({ "metadata": { "name": "shop-ca", "namespace": NS }, "stringData": { "ca.crt": ca, "ca.key": kiven_local::operator::eckey::written(&key).unwrap() } }),
        );
        let owner = json!({ "username": "shop", "password": "it's a \\ secret" });
        object(
            &kinds::SECRETS,
            json!({ "metadata": { "name": "shop-owner", "namespace": NS }, "type": "kubernetes.io/basic-auth", "stringData": owner }),
        );
        object(&kinds::STORAGE_CLASSES, json!({ "metadata": { "name": "kiven" }, "provisioner": "x", "reclaimPolicy": "Retain" }));
        object(
            &kinds::OBJECT_STORES,
            json!({ "metadata": { "name": "shop", "namespace": NS }, "spec": { "configuration": { "destinationPath": "s3://backups/db/" } } }),
        );
        for (name, selector) in [
            ("shop-rw", json!({ "cnpg.io/cluster": "shop-a1b2c3-1", "cnpg.io/instanceRole": "primary" })),
            ("shop-ro", json!({ "cnpg.io/cluster": "shop-a1b2c3-1", "cnpg.io/instanceRole": "replica" })),
            ("shop-pooler", json!({ "cnpg.io/poolerName": "shop-pooler" })),
        ] {
            object(
                &kinds::SERVICES,
                json!({ "metadata": { "name": name, "namespace": NS }, "spec": { "type": "ClusterIP", "selector": selector, "ports": [{ "port": 5432 }] } }),
            );
        }
        let services = ["shop-rw", "shop-ro", "shop-pooler"];
        let names: Vec<String> = services.iter().map(|name| format!("{name}.{NS}.svc")).collect();
        object(
            &kinds::CLUSTERS,
            json!({
            "metadata": { "name": "shop-a1b2c3-1", "namespace": NS },
            "spec": {
                "instances": instances, "storage": { "size": "1Gi", "storageClass": "kiven" },
                "postgresql": { "parameters": { "shared_buffers": "1GB", "work_mem": "4MB" } },
                "bootstrap": { "initdb": { "database": "shop", "owner": "shop", "secret": { "name": "shop-owner" } } },
                "certificates": { "serverCASecret": "shop-ca", "serverAltDNSNames": names },
                "plugins": [{ "name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true, "parameters": { "barmanObjectName": "shop", "serverName": "db-1" } }] } }),
        );
    }

    pub(crate) async fn healthy(&self, what: &str, instances: u64) -> Duration {
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

pub(crate) fn has(object: &Value, condition: &str) -> bool {
    object["status"]["conditions"].as_array().is_some_and(|list| list.iter().any(|c| c["type"] == condition && c["status"] == "True"))
}

pub(crate) const SECRET: &str = "it's a \\ secret";

pub(crate) fn contains(folder: &Path, needle: &str) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            contains(&path, needle)
        } else {
            std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle.as_bytes()))
        }
    })
}
