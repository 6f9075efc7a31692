//! A customer's emulated account: the network and the cluster that a customer has, and what the onboarding module makes in it.
use crate::onboarding::{CLUSTER, Documents, Names, ROLE};
use anyhow::Context;
use kiven_aws::account::Account;
use kiven_model::environment::{ConnectionSpec, Environment};
use kiven_tests::ministack::{Keys, MiniStack, REGION};
use serde_json::json;
use std::collections::BTreeMap;

/// Kiven's own account.
pub(crate) const SAAS: &str = "999988887777";
/// Kiven's principal in it.
pub(crate) const WORKER: &str = "kiven-worker";
/// The zones of the emulated region.
const ZONES: [&str; 2] = ["eu-west-1a", "eu-west-1b"];
/// What nodes need.
const NODE_POLICIES: [&str; 3] = ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"];

/// An account with a cluster, before any environment.
#[derive(Debug, Clone)]
pub(crate) struct Customer {
    pub(crate) account: String,
    pub(crate) subnets: BTreeMap<String, String>,
    pub(crate) launch_template: String,
    pub(crate) oidc_host: String,
}

/// The ARN of Kiven's principal, or of another of its account.
pub(crate) fn principal(name: &str) -> String {
    format!("arn:aws:iam::{SAAS}:role/{name}")
}

/// Keys of a role of Kiven's account, which may ask for every role.
pub(crate) async fn saas(aws: &MiniStack, name: &str) -> anyhow::Result<Keys> {
    let root = aws.sdk(&MiniStack::root(SAAS));
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{SAAS}:root")}, "Action": "sts:AssumeRole"}]});
    let may = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": "*"}]});
    root.iam().create_role().role_name(name).assume_role_policy_document(trust.to_string()).send().await?;
    root.iam().put_role_policy().role_name(name).policy_name("assume").policy_document(may.to_string()).send().await?;
    let given = root.sts().assume_role().role_arn(principal(name)).role_session_name("suite").send().await?;
    let given = given.credentials.context("no credentials")?;
    Ok(Keys { id: given.access_key_id, secret: given.secret_access_key, token: Some(given.session_token) })
}

/// The shipped adapter as Kiven's principal.
pub(crate) async fn adapter(aws: &MiniStack) -> anyhow::Result<Account> {
    Ok(Account::new(aws.sdk(&saas(aws, WORKER).await?)))
}

impl Customer {
    /// Makes the network, the cluster and what an account has once.
    pub(crate) async fn new(aws: &MiniStack, account: &str) -> anyhow::Result<Self> {
        let asked = json!({"account": account, "region": REGION, "zones": ZONES, "cluster": CLUSTER});
        let made = aws.switch("customer", &asked).await?;
        let subnets: BTreeMap<String, String> = serde_json::from_value(made["subnets"].clone())?;
        let issuer = made["issuer"].as_str().context("no issuer")?;
        let oidc_host = issuer.split_once("://").map_or(issuer, |(_, host)| host).to_owned();
        let launch_template = made["launch_template"].as_str().context("no launch template")?.to_owned();
        Ok(Self { account: account.to_owned(), subnets, launch_template, oidc_host })
    }

    pub(crate) fn names(&self, environment: &Environment) -> Names {
        Names::of(environment, &principal(WORKER), &self.oidc_host, &self.launch_template)
    }

    /// The way in, as `kiven_environment_connection` says it.
    pub(crate) fn connection(&self) -> ConnectionSpec {
        ConnectionSpec {
            role_arn: format!("arn:aws:iam::{}:role/{ROLE}", self.account),
            subnets: self.subnets.clone(),
            launch_template: self.launch_template.clone(),
            backup_kms_key_arn: None,
        }
    }

    /// What `terraform apply` of the onboarding module does for an environment; applied again it only changes the documents.
    pub(crate) async fn onboard(&self, aws: &MiniStack, documents: &Documents, names: &Names) -> anyhow::Result<()> {
        self.onboard_as(aws, documents, names, ROLE).await
    }

    pub(crate) async fn onboard_as(&self, aws: &MiniStack, documents: &Documents, names: &Names, role: &str) -> anyhow::Result<()> {
        let iam = aws.sdk(&MiniStack::root(&self.account)).iam();
        if iam.get_role().role_name("kiven-node").send().await.is_err() {
            iam.create_policy().policy_name("kiven-boundary").policy_document(documents.text("boundary", names)).send().await?;
            iam.create_role().role_name("kiven-node").assume_role_policy_document(documents.text("node_trust", names)).send().await?;
            for policy in NODE_POLICIES {
                let arn = format!("arn:aws:iam::aws:policy/{policy}");
                iam.attach_role_policy().role_name("kiven-node").policy_arn(arn).send().await?;
            }
        }
        let trust = documents.text("trust", names);
        if iam.get_role().role_name(role).send().await.is_err() {
            iam.create_role().role_name(role).assume_role_policy_document(trust).send().await?;
        } else {
            iam.update_assume_role_policy().role_name(role).policy_document(trust).send().await?;
        }
        let access = documents.text("access", names).replace(&format!("role/{ROLE}\""), &format!("role/{role}\""));
        iam.put_role_policy().role_name(role).policy_name("kiven-access").policy_document(access).send().await?;
        Ok(())
    }
}
