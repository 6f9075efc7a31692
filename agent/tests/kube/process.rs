//! The agent's own program as a process, under its ServiceAccount's token, with the variables that the chart sets.
use crate::cluster::{Admin, SYSTEM, resource};
use crate::relay::Kiven;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How long its tokens are good.
const TOKEN_SECONDS: u32 = 3_600;

/// A running agent; it ends with this value.
pub(crate) struct Agent {
    child: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    /// Starts it; `variables` come on top of those that every agent has.
    pub(crate) async fn start(admin: &Admin, kiven: &Kiven, variables: &[(&str, String)]) -> Self {
        Self::start_at(admin, kiven, &admin.config.cluster_url.to_string(), variables).await
    }

    /// The same, with another way to the API server.
    pub(crate) async fn start_at(admin: &Admin, kiven: &Kiven, server: &str, variables: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, audiences) in [("api-token", json!([])), ("kiven-token", json!(["kiven"]))] {
            std::fs::write(at(name), token(admin, "kiven-agent", &audiences).await).unwrap();
        }
        std::fs::write(at("kubeconfig"), kubeconfig(admin, server, &at("ca.crt"), &at("api-token")).to_string()).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let mut all: BTreeMap<&str, String> = BTreeMap::from([
            ("KUBECONFIG", at("kubeconfig").display().to_string()),
            ("KIVEN_ENVIRONMENT_ID", kiven.environment.to_string()),
            ("KIVEN_RELAY_ADDRESS", format!("localhost:{}", kiven.relay.port())),
            ("KIVEN_API_URL", format!("http://{}", kiven.api)),
            ("KIVEN_TOKEN_PATH", at("kiven-token").display().to_string()),
            ("RUST_BACKTRACE", "0".to_owned()),
        ]);
        all.extend(variables.iter().cloned());
        let mut program = Command::new(env!("CARGO_BIN_EXE_kiven-agent"));
        let child = program.env_clear().envs(all).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, folder }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended, and well.
    pub(crate) fn ended_well(&mut self) -> Option<bool> {
        self.child.try_wait().unwrap().map(|status| status.success())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            eprintln!("the agent's last words:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token as a kubelet projects it.
pub(crate) async fn token(admin: &Admin, account: &str, audiences: &Value) -> String {
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
        "spec": { "audiences": audiences, "expirationSeconds": TOKEN_SECONDS },
    });
    let accounts = admin.api(Some(SYSTEM), &resource("v1", "ServiceAccount"));
    let answer: Value = accounts.create_subresource("token", account, &PostParams::default(), &request).await.unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// A way to the API server with a token that is in a file.
pub(crate) fn kubeconfig(admin: &Admin, server: &str, authority: &Path, token: &Path) -> Value {
    let mut cluster = json!({ "server": server });
    if let Some(roots) = &admin.config.root_cert {
        let pem: String = roots.iter().map(|der| pem(der)).collect();
        std::fs::write(authority, pem).unwrap();
        cluster["certificate-authority"] = json!(authority);
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": cluster }],
        "users": [{ "name": "agent", "user": { "tokenFile": token } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "agent", "namespace": SYSTEM } }],
    })
}

fn pem(der: &[u8]) -> String {
    let text = serde_json::to_value(k8s_openapi::ByteString(der.to_vec())).unwrap();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", text.as_str().unwrap())
}
