//! etcd, kube-apiserver and kube-controller-manager on loopback ports and in a temporary folder, ended with their value.
use super::programs::Programs;
use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the API server may take to be ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const LOOK_MS: u64 = 100;
/// How long a part may take to end by itself.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Whose requests the audit log holds: ServiceAccounts of the chart, the agent's and its hooks'.
const ACCOUNTS: [&str; 4] = ["kiven-agent", "kiven-installer", "kiven-catalog", "kiven-preflight"];
/// The group of roles and their bindings.
const RBAC: &str = "rbac.authorization.k8s.io";
/// Whose tokens the API server takes: its own in-cluster address, as most distributions have it.
const ISSUER: &str = "https://kubernetes.default.svc";

/// A running control plane.
pub(crate) struct ControlPlane {
    folder: PathBuf,
    /// In the order in which they were started.
    parts: Vec<Child>,
    controllers: bool,
}

/// Certificates, keys and tokens, each in a file.
struct Files<'a> {
    folder: &'a Path,
    port: u16,
}

impl Files<'_> {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        std::fs::write(self.folder.join(name), text).with_context(|| format!("{name} cannot be written"))
    }

    /// An authority, the API server's certificate, the key that signs ServiceAccount tokens, and the administrator's token.
    fn make(&self) -> Result<()> {
        let mut params = CertificateParams::new(Vec::new())?;
        // Another name than the certificate's, which would else look as if it had signed itself.
        params.distinguished_name.push(DnType::CommonName, "kiven-tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let new_key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        let authority = CertifiedIssuer::self_signed(params, new_key()?)?;
        let names = ["localhost", "127.0.0.1", "kubernetes", "kubernetes.default.svc"].map(str::to_owned);
        let key = new_key()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        self.write("ca.crt", &authority.pem())?;
        self.write("ca.key", &authority.key().serialize_pem())?;
        self.write("server.crt", &certificate.pem())?;
        self.write("server.key", &key.serialize_pem())?;
        let accounts = new_key()?;
        self.write("accounts.key", &accounts.serialize_pem())?;
        self.write("accounts.pub", &accounts.public_key_pem())?;
        let token = random()?;
        self.write("tokens.csv", &format!("{token},admin,admin,\"system:masters\"\n"))?;
        self.write("kubeconfig", &self.kubeconfig(&token))?;
        self.write("audit-policy", &audit_policy())
    }

    fn kubeconfig(&self, token: &str) -> String {
        let server = format!("https://127.0.0.1:{}", self.port);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "kiven",
            "clusters": [{ "name": "kiven", "cluster": { "server": server, "certificate-authority": self.path("ca.crt") } }],
            "users": [{ "name": "admin", "user": { "token": token } }],
            "contexts": [{ "name": "kiven", "context": { "cluster": "kiven", "user": "admin" } }],
        })
        .to_string()
    }

    fn api_server(&self, etcd: u16) -> Vec<String> {
        let set = [
            ("etcd-servers", format!("http://127.0.0.1:{etcd}")),
            ("bind-address", "127.0.0.1".to_owned()),
            ("secure-port", self.port.to_string()),
            ("endpoint-reconciler-type", "none".to_owned()),
            ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
            ("tls-cert-file", self.path("server.crt")),
            ("tls-private-key-file", self.path("server.key")),
            ("token-auth-file", self.path("tokens.csv")),
            ("service-account-issuer", ISSUER.to_owned()),
            ("service-account-key-file", self.path("accounts.pub")),
            ("service-account-signing-key-file", self.path("accounts.key")),
            ("authorization-mode", "RBAC".to_owned()),
            ("allow-privileged", "true".to_owned()),
            ("audit-policy-file", self.path("audit-policy")),
            ("audit-log-path", self.path("audit.log")),
            ("audit-log-mode", "blocking-strict".to_owned()),
        ];
        set.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }

    fn controllers(&self) -> Vec<String> {
        let set = [
            ("kubeconfig", self.path("kubeconfig")),
            ("use-service-account-credentials", "true".to_owned()),
            ("service-account-private-key-file", self.path("accounts.key")),
            ("root-ca-file", self.path("ca.crt")),
            ("leader-elect", "false".to_owned()),
            ("secure-port", "0".to_owned()),
        ];
        set.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }
}

/// Everything that the agent and its hooks ask for, and nothing of others. The start of a watch counts: its end may never come.
fn audit_policy() -> String {
    let users = ACCOUNTS.map(|account| format!("system:serviceaccount:kiven-system:{account}"));
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        // What a binding binds is in its body.
        "rules": [
            { "level": "Request", "users": users, "resources": [{ "group": RBAC, "resources": ["clusterrolebindings", "rolebindings"] }] },
            { "level": "Metadata", "users": users },
            { "level": "None" },
        ],
    })
    .to_string()
}

fn random() -> Result<String> {
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("there is no randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Ports that nobody listens on. They are asked for together, so that they differ.
fn ports<const N: usize>() -> Result<[u16; N]> {
    let listeners = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    let ports = listeners.iter().map(|one| Ok(one.local_addr()?.port())).collect::<std::io::Result<Vec<_>>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("there are no ports"))
}

impl ControlPlane {
    /// Starts all of it and waits until the API server says it is ready.
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("kiven-kube-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let began = Instant::now();
        let [port, etcd, peers] = ports()?;
        let files = Files { folder: &folder, port };
        files.make()?;
        let mut running = Self { folder: folder.clone(), parts: Vec::new(), controllers: programs.controllers.is_some() };
        let (client, peer) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peers}"));
        let data = files.path("etcd");
        let etcd_arguments = [
            ("name", "kiven"),
            ("data-dir", data.as_str()),
            ("unsafe-no-fsync", "true"),
            ("listen-client-urls", client.as_str()),
            ("advertise-client-urls", client.as_str()),
            ("listen-peer-urls", peer.as_str()),
            ("initial-advertise-peer-urls", peer.as_str()),
            ("initial-cluster", &format!("kiven={peer}")),
        ];
        let etcd_arguments: Vec<String> = etcd_arguments.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        running.spawn("etcd", &programs.etcd, &etcd_arguments)?;
        running.spawn("kube-apiserver", &programs.api_server, &files.api_server(etcd))?;
        let version = running.ready(port)?;
        if let Some(program) = &programs.controllers {
            running.spawn("kube-controller-manager", program, &files.controllers())?;
        }
        println!("API server {version} ready after {:.1} s", began.elapsed().as_secs_f64());
        Ok(running)
    }

    fn spawn(&mut self, name: &str, program: &[PathBuf], arguments: &[String]) -> Result<()> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        let (program, first) = program.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(first).args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.parts.push(command.spawn().with_context(|| format!("{name} cannot be started"))?);
        Ok(())
    }

    /// Asks until it is ready; answers its version.
    fn ready(&mut self, port: u16) -> Result<String> {
        let began = Instant::now();
        let ask = |path: &str| {
            let mut curl = Command::new("curl");
            curl.args(["-sf", "--max-time", "5", "--cacert"]).arg(self.folder.join("ca.crt"));
            let output = curl.arg(format!("https://127.0.0.1:{port}{path}")).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        while began.elapsed() < READY_MAX {
            if ask("/readyz").is_some_and(|said| said == "ok") {
                let said: serde_json::Value = serde_json::from_str(&ask("/version").context("the API server names no version")?)?;
                return said["gitVersion"].as_str().map(str::to_owned).context("the API server names no version");
            }
            for part in &mut self.parts {
                if let Some(status) = part.try_wait()? {
                    let kept = std::mem::take(&mut self.folder);
                    bail!("a part of the control plane ended ({status}): look at {}", kept.display());
                }
            }
            crate::local::pause(LOOK_MS);
        }
        let kept = std::mem::take(&mut self.folder);
        bail!("the API server was not ready within {} s: look at {}", READY_MAX.as_secs(), kept.display())
    }

    /// An administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// What the agent has asked for, one JSON object a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub(crate) fn has_controllers(&self) -> bool {
        self.controllers
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The last first: who asks ends before who answers.
        for part in self.parts.iter_mut().rev() {
            let _ = Command::new("kill").args(["-TERM", &part.id().to_string()]).status();
            let began = Instant::now();
            while began.elapsed() < STOP_MAX && matches!(part.try_wait(), Ok(None)) {
                crate::local::pause(LOOK_MS);
            }
            // One that has ended cannot be killed, which is well.
            let _ = part.kill();
            let _ = part.wait();
        }
        if !self.folder.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
