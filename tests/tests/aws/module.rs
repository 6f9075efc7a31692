//! The onboarding module itself, applied with hashicorp/aws where a mirror has it: what it makes is what the other tests hold on to.
use crate::account::{Customer, WORKER, principal};
use crate::contracts::prepared;
use crate::onboarding::{CLUSTER, ROLE};
use crate::{ACCOUNT, begin};
use anyhow::{Context, ensure};
use kiven_model::EnvironmentId;
use kiven_ports::account::{Access, CustomerAccount};
use kiven_ports::contract;
use kiven_tests::ministack::{MiniStack, REGION};
use kiven_tests::{terraform, variable};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Services that the module's provider talks to.
const SERVICES: [&str; 5] = ["ec2", "eks", "iam", "kms", "sts"];

/// A mirror that has hashicorp/aws.
fn mirror() -> Option<PathBuf> {
    let named = variable("KIVEN_PROVIDER_MIRROR").map(PathBuf::from);
    let usual = ["/opt/tf-plugins", "/usr/local/share/tf-plugins"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| path.join("registry.terraform.io/hashicorp/aws").is_dir())
}

struct Module {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Module {
    /// Copies the module beside a configuration that calls it as a customer does.
    fn new(program: PathBuf, mirror: &Path, aws: &MiniStack, customer: &Customer, access: &Access) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../onboarding-module");
        for part in ["", "policies"] {
            std::fs::create_dir_all(folder.path().join("onboarding-module").join(part))?;
            for entry in std::fs::read_dir(source.join(part))?.flatten().filter(|entry| entry.path().extension().is_some_and(|x| x == "tf")) {
                std::fs::copy(entry.path(), folder.path().join("onboarding-module").join(part).join(entry.file_name()))?;
            }
        }
        let endpoints: serde_json::Map<String, Value> = SERVICES.iter().map(|service| ((*service).to_owned(), json!(aws.url))).collect();
        let configuration = json!({
            "provider": {"aws": {
                "region": REGION, "access_key": ACCOUNT, "secret_key": "test", "skip_metadata_api_check": true,
                "skip_requesting_account_id": false, "skip_region_validation": true, "endpoints": [endpoints],
            }},
            "module": {"kiven": {
                "source": "./onboarding-module", "eks_cluster_name": CLUSTER, "environment_id": access.environment_id,
                "external_id": access.external_id, "kiven_principal_arn": principal(WORKER),
                "subnet_ids": customer.subnets.values().collect::<Vec<_>>(),
            }},
            "output": {"kiven": {"value": "${module.kiven}"}},
        });
        std::fs::write(folder.path().join("main.tf.json"), configuration.to_string())?;
        let settings = format!("disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n");
        std::fs::write(folder.path().join("terraform.tfrc"), settings)?;
        Ok(Self { program, folder })
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder.path()).env("TF_CLI_CONFIG_FILE", self.folder.path().join("terraform.tfrc"));
        command.env("TF_IN_AUTOMATION", "1").env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").stdin(Stdio::null());
        let output = command.output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_module_makes_is_what_the_adapter_needs() {
    let test = "module::what_the_module_makes_is_what_the_adapter_needs";
    let Some(program) = terraform::find("aws: the onboarding module applied") else { return };
    let Some(mirror) = mirror() else {
        println!("skipped: aws: the onboarding module applied: no mirror has hashicorp/aws (name one in KIVEN_PROVIDER_MIRROR)");
        return;
    };
    let Some(world) = begin(test).await else { return };
    let (mut prepared, mut names) = prepared(&world.customer, EnvironmentId::from_random([2; 16]));
    let module = Module::new(program, &mirror, &world.aws, &world.customer, &prepared.access).unwrap();
    module.run(&["init", "-input=false"]).unwrap();
    module.run(&["apply", "-auto-approve", "-input=false"]).unwrap();
    let made = parsed(&module.run(&["output", "-json"]).unwrap())["kiven"]["value"].clone();
    let text = |name: &str| made[name].as_str().with_context(|| format!("no output {name}")).unwrap().to_owned();
    assert_eq!(text("role_arn"), prepared.access.role_arn);
    assert_eq!(made["subnets"], json!(world.customer.subnets));
    prepared.launch_template = text("launch_template");
    names.launch_template = text("launch_template");

    // What the other tests put into the account is what the module puts there.
    let iam = world.aws.sdk(&MiniStack::root(ACCOUNT)).iam();
    let policy = iam.get_role_policy().role_name(ROLE).policy_name("kiven-access").send().await.unwrap();
    let role = iam.get_role().role_name(ROLE).send().await.unwrap().role.unwrap();
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    assert_eq!(parsed(&decoded(policy.policy_document())), parsed(&world.documents.text("access", &names)));
    assert_eq!(parsed(&decoded(role.assume_role_policy_document().unwrap())), parsed(&world.documents.text("trust", &names)));

    contract::account(&world.account, &prepared, async || {}).await.unwrap();
    module.run(&["plan", "-detailed-exitcode", "-input=false"]).expect("a second plan changes nothing");
    module.run(&["destroy", "-auto-approve", "-input=false"]).unwrap();
    assert!(world.account.access_prove(&prepared.access).await.is_err(), "with the role gone nobody gets in");
}
