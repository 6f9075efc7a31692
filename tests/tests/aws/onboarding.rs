//! The onboarding module's documents, rendered from the module itself: never a copy.
use anyhow::{Context, ensure};
use kiven_model::environment::Environment;
use kiven_tests::terraform;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The cluster of the suites.
pub(crate) const CLUSTER: &str = "main";
/// The role that Kiven assumes.
pub(crate) const ROLE: &str = "kiven-access";

/// What the module's outputs are, with names in braces where they depend on the account.
#[derive(Debug, Clone)]
pub(crate) struct Documents(Value);

/// What stands for the names in braces.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) principal: String,
    pub(crate) external_id: String,
    pub(crate) environment: String,
    pub(crate) oidc_host: String,
    pub(crate) launch_template: String,
}

impl Names {
    pub(crate) fn of(environment: &Environment, principal: &str, oidc_host: &str, launch_template: &str) -> Self {
        Self {
            account: environment.spec.aws_account_id.clone(),
            region: environment.spec.aws_region.clone(),
            principal: principal.to_owned(),
            external_id: environment.external_id.clone(),
            environment: environment.id.to_string(),
            oidc_host: oidc_host.to_owned(),
            launch_template: launch_template.to_owned(),
        }
    }
}

static RENDERED: LazyLock<Option<Result<Documents, String>>> =
    LazyLock::new(|| terraform::find("aws").map(|program| render(&program).map_err(|error| format!("{error:#}"))));

/// The documents; `None` where there is no Terraform, which has been said.
pub(crate) fn documents() -> Option<Documents> {
    RENDERED.as_ref().map(|rendered| rendered.clone().unwrap())
}

/// The module needs no provider, so this takes no network and a fraction of a second.
fn render(program: &Path) -> anyhow::Result<Documents> {
    let folder = tempfile::tempdir()?;
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../onboarding-module/policies");
    for entry in std::fs::read_dir(&module)?.flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    let values = json!({
        "account_id": "{account}", "region": "{region}", "eks_cluster_name": CLUSTER, "oidc_host": "{issuer}", "environment_id": "{environment}",
        "external_id": "{external_id}", "kiven_principal_arn": "{principal}", "role_name": ROLE,
        "node_role_arn": "arn:aws:iam::{account}:role/kiven-node", "boundary_arn": "arn:aws:iam::{account}:policy/kiven-boundary",
        "launch_template_arn": "arn:aws:ec2:{region}:{account}:launch-template/{launch_template}",
    });
    std::fs::write(folder.path().join("values.auto.tfvars.json"), values.to_string())?;
    let run = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(program).args(arguments).current_dir(folder.path()).env("TF_IN_AUTOMATION", "1").stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    run(&["init", "-backend=false", "-input=false"])?;
    run(&["apply", "-auto-approve", "-input=false"])?;
    let outputs: Value = serde_json::from_str(&run(&["output", "-json"])?)?;
    let document = |name: &str| -> anyhow::Result<Value> {
        let text = outputs[name]["value"].as_str().with_context(|| format!("the module has no output {name}"))?;
        Ok(serde_json::from_str(text)?)
    };
    let all = ["trust", "access", "boundary", "node_trust"].map(|name| (name, document(name)));
    let mut documents = json!({});
    for (name, document) in all {
        documents[name] = document?;
    }
    Ok(Documents(documents))
}

impl Documents {
    /// A document for an account.
    pub(crate) fn text(&self, document: &str, names: &Names) -> String {
        let pairs = [
            ("{account}", &names.account),
            ("{region}", &names.region),
            ("{principal}", &names.principal),
            ("{external_id}", &names.external_id),
            ("{environment}", &names.environment),
            ("{issuer}", &names.oidc_host),
            ("{launch_template}", &names.launch_template),
        ];
        pairs.into_iter().fold(self.0[document].to_string(), |text, (name, value)| text.replace(name, value))
    }

    /// The same without one permission of one statement.
    pub(crate) fn without(&self, document: &str, sid: &str, action: &str) -> Self {
        let mut documents = self.0.clone();
        let mut found = false;
        if let Some(statements) = documents[document]["Statement"].as_array_mut() {
            for statement in statements.iter_mut().filter(|statement| statement["Sid"] == sid) {
                if let Some(actions) = statement["Action"].as_array_mut() {
                    found |= actions.iter().any(|one| one == action);
                    actions.retain(|one| one != action);
                }
            }
            statements.retain(|statement| statement["Action"].as_array().is_none_or(|actions| !actions.is_empty()));
        }
        assert!(found, "{sid} of {document} does not give {action}");
        Self(documents)
    }
}
