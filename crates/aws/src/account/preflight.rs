//! The AWS half of the preflight: what the role may do, and what the onboarding module made. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_iam::Client as Iam;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use futures_util::future::join4;
use futures_util::{StreamExt, TryStreamExt, stream};
use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use kiven_ports::account::{Access, AccountNeeds};

use super::permissions::{Permission, permissions};
use crate::Sdk;
use crate::error::{is, port_error};

/// The longest a look may take: whoever asks waits for it.
const LOOK_SECONDS_MAX: u64 = 15;
/// Questions to IAM at once: it answers an account only so many a second.
const ASKED_AT_ONCE: usize = 5;
/// What nodes need to join their cluster.
const NODE_POLICY: &str = "AmazonEKSWorkerNodePolicy";
/// One of these lets nodes pull images.
const PULL_POLICIES: [&str; 2] = ["AmazonEC2ContainerRegistryPullOnly", "AmazonEC2ContainerRegistryReadOnly"];
/// The role of EKS itself.
const SERVICE_LINKED_ROLE: &str = "AWSServiceRoleForAmazonEKSNodegroup";

/// Condition keys with their values.
type Context = Vec<(String, String)>;
type Missing = Result<Vec<Problem>, PortError>;

pub(super) async fn take(sdk: &Sdk, access: &Access, needs: &AccountNeeds) -> Missing {
    let iam = sdk.iam();
    let boundary = super::backups::boundary_arn(access);
    let looks = join4(rights(&iam, access, needs, &boundary), node_role(&iam, needs), service_linked_role(&iam), boundary_there(&iam, &boundary));
    let late = |_| PortError::retry("preflight", format!("the account took longer than {LOOK_SECONDS_MAX} seconds"));
    let (rights, nodes, linked, boundary) = tokio::time::timeout(Duration::from_secs(LOOK_SECONDS_MAX), looks).await.map_err(late)?;
    let mut missing = Vec::new();
    for found in [rights, nodes, linked, boundary] {
        match found {
            Ok(found) => missing.extend(found),
            // What may not be looked at is missing too.
            Err(PortError::Refused(problem)) => missing.push(problem),
            Err(error) => return Err(error),
        }
    }
    // A permission that a look needs is named by the simulation as well.
    Ok(once_each(missing))
}

/// Keeps the first of those that say the same: what misses a permission is asked for side by side.
fn once_each(missing: Vec<Problem>) -> Vec<Problem> {
    let mut said = BTreeSet::new();
    missing.into_iter().filter(|one| said.insert(one.message.clone())).collect()
}

/// Asks IAM for every permission of the onboarding policy: one call for each resource and set of conditions.
async fn rights(iam: &Iam, access: &Access, needs: &AccountNeeds, boundary: &str) -> Missing {
    let values = Names::of(access, needs, boundary);
    let mut groups: BTreeMap<(String, Context), Vec<&Permission>> = BTreeMap::new();
    for permission in permissions().iter().filter(|one| one.document == "access") {
        // A template that is given by its name has an ARN that nobody here knows.
        let Some(resource) = values.fill(&permission.resource) else { continue };
        let context: Option<Vec<_>> = permission.context.iter().map(|(key, value)| Some((key.clone(), values.fill(value)?))).collect();
        let Some(context) = context else { continue };
        groups.entry((resource, context)).or_default().push(permission);
    }
    // Collected first: a stream of a closure's futures is not general enough for a trait's method.
    let asks: Vec<_> = groups.into_iter().map(|((resource, context), permissions)| simulate(iam, access, resource, context, permissions)).collect();
    let answers: Vec<Vec<Problem>> = stream::iter(asks).buffered(ASKED_AT_ONCE).try_collect().await?;
    Ok(answers.concat())
}

async fn simulate(iam: &Iam, access: &Access, resource: String, context: Context, permissions: Vec<&Permission>) -> Missing {
    let actions: Vec<String> = permissions.iter().map(|one| one.action.clone()).collect();
    let entry = |(key, value): (String, String)| {
        ContextEntry::builder().context_key_name(key).context_key_values(value).context_key_type(ContextKeyTypeEnum::String).build()
    };
    let answer = iam
        .simulate_principal_policy()
        .policy_source_arn(&access.role_arn)
        .set_action_names(Some(actions))
        .resource_arns(resource)
        .set_context_entries(Some(context.into_iter().map(entry).collect()))
        .send()
        .await
        .map_err(|error| port_error("iam:SimulatePrincipalPolicy", error))?;
    let denied = answer.evaluation_results().iter().filter(|one| one.eval_decision() != &PolicyEvaluationDecisionType::Allowed);
    let one = |action: &str| {
        let sid = permissions.iter().find(|one| one.action == action).map_or("", |one| one.sid.as_str());
        Problem::new(Code::PERMISSION_MISSING, format!("The role may not {action}.")).hint(format!("It is in the statement {sid}."))
    };
    Ok(denied.map(|result| one(result.eval_action_name())).collect())
}

async fn node_role(iam: &Iam, needs: &AccountNeeds) -> Missing {
    let name = needs.node_role_arn.rsplit('/').next().unwrap_or_default();
    match iam.get_role().role_name(name).send().await {
        Ok(_) => {}
        Err(error) if is(&error, &["NoSuchEntity"]) => return Ok(vec![absent(format!("The nodes' role {name} is not there."))]),
        Err(error) => return Err(port_error("iam:GetRole", error)),
    }
    let listed = iam.list_attached_role_policies().role_name(name).send().await;
    let listed = listed.map_err(|error| port_error("iam:ListAttachedRolePolicies", error))?;
    let attached: Vec<&str> = listed.attached_policies().iter().filter_map(|policy| policy.policy_name()).collect();
    let mut missing = Vec::new();
    if !attached.contains(&NODE_POLICY) {
        missing.push(absent(format!("The nodes' role {name} lacks the policy {NODE_POLICY}: no node could join.")));
    }
    if !PULL_POLICIES.iter().any(|pull| attached.contains(pull)) {
        missing.push(absent(format!("The nodes' role {name} lacks the policy {}: no image could be pulled.", PULL_POLICIES[0])));
    }
    Ok(missing)
}

async fn service_linked_role(iam: &Iam) -> Missing {
    match iam.get_role().role_name(SERVICE_LINKED_ROLE).send().await {
        Ok(_) => Ok(Vec::new()),
        Err(error) if is(&error, &["NoSuchEntity"]) => {
            Ok(vec![absent(format!("The service-linked role {SERVICE_LINKED_ROLE} is not there: set create_service_linked_role."))])
        }
        Err(error) => Err(port_error("iam:GetRole", error)),
    }
}

async fn boundary_there(iam: &Iam, arn: &str) -> Missing {
    match iam.get_policy().policy_arn(arn).send().await {
        Ok(_) => Ok(Vec::new()),
        Err(error) if is(&error, &["NoSuchEntity"]) => Ok(vec![absent(format!("The boundary {arn} is not there."))]),
        Err(error) => Err(port_error("iam:GetPolicy", error)),
    }
}

fn absent(what: String) -> Problem {
    Problem::new(Code::ACCOUNT_INCOMPLETE, what)
}

/// What the rows' names in braces stand for.
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn of(access: &Access, needs: &AccountNeeds, boundary: &str) -> Self {
        let role = access.role_arn.split_once(":role/").map(|(_, name)| name).unwrap_or_default();
        let mut names = vec![
            ("{account}", access.account_id.clone()),
            ("{region}", access.region.clone()),
            ("{cluster}", needs.cluster.clone()),
            ("{issuer}", super::clusters::host_of(&needs.oidc_issuer).to_owned()),
            ("{environment}", access.environment_id.to_string()),
            ("{role}", role.to_owned()),
            ("{node_role}", needs.node_role_arn.clone()),
            ("{boundary}", boundary.to_owned()),
        ];
        if needs.launch_template.starts_with("lt-") {
            names.push(("{launch_template}", needs.launch_template.clone()));
        }
        Self(names)
    }

    /// `None` when a name is not known.
    fn fill(&self, template: &str) -> Option<String> {
        let text = self.0.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
        (!text.contains('{')).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_once() {
        let said = |words: &str| Problem::new(Code::PERMISSION_MISSING, words);
        let missing = vec![said("a").hint("first"), said("b"), said("a").hint("second")];
        assert_eq!(once_each(missing), [said("a").hint("first"), said("b")]);
    }
}
