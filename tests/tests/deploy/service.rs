//! Kiven's own account: the module applied to it, its outputs, its logs, its end.
use crate::Wanted;
use anyhow::{Context, ensure};
use kiven_client::{Client, Credentials};
use kiven_model::OrganizationId;
use kiven_model::ids::ApiKeyId;
use kiven_model::organization::api_key_text;
use kiven_tests::ministack::{Keys, MiniStack, REGION};
use kiven_tests::random;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Kiven's own account.
pub(crate) const SAAS: &str = "999988887777";
/// How long Terraform may take.
const TERRAFORM_MAX: Duration = Duration::from_secs(480);
/// The module as a customer of it writes it.
const ROOT: &str = r#"
variable "organizations" { type = any }
variable "packages" { type = string }

provider "aws" {
  region            = "eu-west-1"
  s3_use_path_style = true
}

module "kiven" {
  source        = "./deploy"
  packages      = var.packages
  organizations = var.organizations
  zones         = ["eu-west-1a", "eu-west-1b"]
  protected     = false
  relay         = { image = "registry.example.com/kiven-relay@sha256:0000000000000000000000000000000000000000000000000000000000000000" }
}

output "kiven" {
  value = module.kiven
}
"#;

/// The deployed service.
pub(crate) struct Service {
    folder: tempfile::TempDir,
    terraform: std::path::PathBuf,
    environment: Vec<(String, String)>,
    outputs: Value,
    key: String,
    pub(crate) applied_in: Duration,
}

impl Service {
    /// Applies the module with one organization.
    pub(crate) async fn apply(wanted: &Wanted, aws: &MiniStack) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let module = folder.path().join("deploy");
        std::fs::create_dir(&module)?;
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy"))?.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "tf") {
                std::fs::copy(entry.path(), module.join(entry.file_name()))?;
            }
        }
        std::fs::write(folder.path().join("main.tf"), ROOT)?;
        let (organization, key_id) = (OrganizationId::from_random(random()?), ApiKeyId::from_random(random()?));
        let key = api_key_text(&key_id, &hex::encode([random()?, random()?].concat()));
        let digest = hex::encode(Sha256::digest(key.as_bytes()));
        let organizations = json!({ organization.to_string(): { "name": "tests", "api_key_id": key_id, "api_key_sha256": digest } });
        let variables = json!({ "organizations": organizations, "packages": wanted.packages });
        std::fs::write(folder.path().join("values.auto.tfvars.json"), variables.to_string())?;
        let settings = folder.path().join("terraform.tfrc");
        let mirror =
            format!("disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = {:?}\n  }}\n}}\n", wanted.mirror);
        std::fs::write(&settings, mirror)?;
        let pairs = [
            ("AWS_ACCESS_KEY_ID", SAAS),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL", aws.url.as_str()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("TF_IN_AUTOMATION", "1"),
            ("TF_CLI_ARGS", "-no-color"),
        ];
        let mut environment: Vec<(String, String)> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        environment.push(("TF_CLI_CONFIG_FILE".to_owned(), settings.display().to_string()));
        let terraform = wanted.terraform.clone();
        let mut service = Self { folder, terraform, environment, outputs: Value::Null, key, applied_in: Duration::ZERO };
        service.run(&["init", "-input=false"]).await?;
        let began = Instant::now();
        service.run(&["apply", "-auto-approve", "-input=false"]).await?;
        service.applied_in = began.elapsed();
        let outputs: Value = serde_json::from_str(&service.run(&["output", "-json"]).await?)?;
        service.outputs = outputs["kiven"]["value"].clone();
        Ok(service)
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::new(&self.terraform);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output =
            tokio::time::timeout(TERRAFORM_MAX, command.output()).await.with_context(|| format!("terraform {arguments:?} takes too long"))??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "terraform {arguments:?}: {}\n{}", tail(&said), String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// Everything goes.
    pub(crate) async fn destroy(&self) -> anyhow::Result<()> {
        self.run(&["destroy", "-auto-approve", "-input=false"]).await.map(drop)
    }

    /// One of the module's outputs.
    pub(crate) fn output(&self, name: &str) -> anyhow::Result<&Value> {
        self.outputs.get(name).with_context(|| format!("the module has no output {name}"))
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> anyhow::Result<String> {
        self.output(name)?.as_str().map(str::to_owned).with_context(|| format!("the output {name} is no text"))
    }

    /// Lets the service's names lead to this machine: what DNS does.
    pub(crate) fn resolve(&self, hosts: &Path) -> anyhow::Result<()> {
        let mut file = std::fs::OpenOptions::new().append(true).open(hosts)?;
        for name in ["api_url", "relay_address"] {
            let text = self.text(name)?;
            let host = text.split("://").last().unwrap_or_default().split(':').next().unwrap_or_default();
            writeln!(file, "127.0.0.1 {host}")?;
        }
        Ok(())
    }

    /// What a client of the API is made from.
    pub(crate) fn credentials(&self, key: &str) -> Credentials {
        Credentials { endpoint: self.text("api_url").unwrap_or_default(), api_key: key.to_owned() }
    }

    /// The organization's key with its id and a secret of nobody.
    pub(crate) fn key_with_another_secret(&self) -> String {
        let id = self.key.rsplit_once('_').map_or("", |(id, _)| id);
        format!("{id}_{}", "0".repeat(64))
    }

    /// The organization's client.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.credentials(&self.key), "tests")?)
    }

    /// What the functions said, the last lines of each.
    pub(crate) async fn logs(&self, aws: &MiniStack) -> anyhow::Result<String> {
        let answer = aws.switch("logs", &json!({ "account": SAAS, "region": REGION })).await?;
        let groups = answer.as_object().context("no logs")?;
        Ok(groups.iter().map(|(group, lines)| format!("{group}\n{}", tail(lines.as_str().unwrap_or_default()))).collect::<Vec<_>>().join("\n"))
    }

    /// The worker told of an operation's end in a wide event with its metrics and what it asked of AWS.
    pub(crate) async fn told_of(&self, aws: &MiniStack, kind: &str) -> anyhow::Result<()> {
        let answer = aws.switch("logs", &json!({ "account": SAAS, "region": REGION })).await?;
        let lines = answer["/aws/lambda/kiven-worker"].as_str().unwrap_or_default();
        let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ended = events.filter(|event| event["event"] == "drive" && event["Kind"] == kind).find(|event| event["OperationsEnded"] == 1.0);
        let ended = ended.with_context(|| format!("the worker did not tell of a {kind}'s end:\n{}", tail(lines)))?;
        ensure!(ended["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Kiven/kiven" && ended["AwsCalls"].as_f64() > Some(0.0), "{ended}");
        Ok(())
    }

    /// Nothing lies in a queue of what could not be handled.
    pub(crate) async fn nothing_died(&self, aws: &MiniStack) -> anyhow::Result<()> {
        let sqs = aws.sdk(&MiniStack::root(SAAS)).sqs();
        for (name, url) in self.output("dead_letter_urls")?.as_object().context("no queues")? {
            let dead = sqs.receive_message().queue_url(url.as_str().unwrap_or_default()).send().await?;
            ensure!(dead.messages().is_empty(), "{name}: {:?}", dead.messages());
        }
        Ok(())
    }
}

/// A user of Kiven's account who may do everything.
pub(crate) async fn administrator(aws: &MiniStack) -> anyhow::Result<Keys> {
    let iam = aws.sdk(&MiniStack::root(SAAS)).iam();
    let everything = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    iam.create_user().user_name("administrator").send().await?;
    iam.put_user_policy().user_name("administrator").policy_name("all").policy_document(everything.to_string()).send().await?;
    let key = iam.create_access_key().user_name("administrator").send().await?.access_key.context("no key")?;
    Ok(Keys { id: key.access_key_id().to_owned(), secret: key.secret_access_key().to_owned(), token: None })
}

/// Everything in Kiven's account, by kind and name.
pub(crate) async fn census(aws: &MiniStack) -> anyhow::Result<BTreeSet<String>> {
    let answer = aws.switch("census", &json!({ "account": SAAS, "region": REGION })).await?;
    Ok(serde_json::from_value(answer["found"].clone())?)
}

/// How many kinds there are among things.
pub(crate) fn kinds(things: &BTreeSet<String>) -> usize {
    things.iter().filter_map(|thing| thing.rsplit_once(' ').map(|(kind, _)| kind)).collect::<BTreeSet<_>>().len()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
