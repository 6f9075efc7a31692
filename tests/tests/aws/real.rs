//! The same contract on a real account, for whoever names one: `KIVEN_E2E_AWS_PROFILE` is a profile of the AWS CLI whose principal
//! may assume the onboarding module's role, `KIVEN_E2E_AWS` a JSON file that says where everything is.
//!
//! It starts two nodes for some minutes, and leaves an empty bucket.
use anyhow::{Context, ensure};
use kiven_aws::account::Account;
use kiven_aws::{Config, Credentials, Endpoints, Sdk};
use kiven_model::{EnvironmentId, OperationId, OrganizationId};
use kiven_ports::account::Access;
use kiven_ports::contract;
use kiven_tests::variable;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often AWS is asked for a change.
const LOOK: Duration = Duration::from_secs(15);

fn text(given: &Value, name: &str) -> anyhow::Result<String> {
    given[name].as_str().map(str::to_owned).with_context(|| format!("`{name}` is missing"))
}

/// The profile's keys, as the AWS CLI gives them to other programs.
fn credentials(profile: &str) -> anyhow::Result<Credentials> {
    let asked = ["configure", "export-credentials", "--profile", profile, "--format", "process"];
    let output = Command::new("aws").args(asked).stdin(Stdio::null()).output().context("the AWS CLI (version 2) is needed")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let given: Value = serde_json::from_slice(&output.stdout)?;
    Ok(Credentials::Static {
        access_key_id: text(&given, "AccessKeyId")?,
        secret_access_key: text(&given, "SecretAccessKey")?,
        session_token: text(&given, "SessionToken").ok(),
    })
}

fn prepared(given: &Value) -> anyhow::Result<contract::Prepared> {
    let account_id = text(given, "account_id")?;
    Ok(contract::Prepared {
        cluster: text(given, "eks_cluster_name")?,
        subnet: text(given, "subnet")?,
        launch_template: text(given, "launch_template")?,
        kms_key_arn: text(given, "backup_kms_key_arn").ok(),
        node_role_arn: format!("arn:aws:iam::{account_id}:role/kiven-node"),
        access: Access {
            role_arn: text(given, "role_arn")?,
            external_id: text(given, "external_id")?,
            region: text(given, "region")?,
            organization_id: OrganizationId::from_random([1; 16]),
            environment_id: EnvironmentId::parse(&text(given, "environment_id")?)?,
            operation_id: OperationId::from_random([3; 16]),
            account_id,
        },
    })
}

#[tokio::test]
async fn the_account_keeps_its_contract_on_aws() {
    let (Some(profile), Some(file)) = (variable("KIVEN_E2E_AWS_PROFILE"), variable("KIVEN_E2E_AWS")) else {
        println!("skipped: aws: a real account: KIVEN_E2E_AWS_PROFILE and KIVEN_E2E_AWS name none");
        return;
    };
    let given: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let prepared = prepared(&given).unwrap();
    let config = Config { region: prepared.access.region.clone(), credentials: credentials(&profile).unwrap(), endpoints: Endpoints::default() };
    let account = Account::new(Sdk::new(&config));
    contract::account(&account, &prepared, async || tokio::time::sleep(LOOK).await).await.unwrap();
}
