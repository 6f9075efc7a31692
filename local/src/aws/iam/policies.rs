//! Managed policies, as far as roles need them, and the question what a role may do.

use serde::{Deserialize, Serialize};

use super::Iam;
use crate::aws::policy::{self, Ask, Context, Verdict};
use crate::aws::query::{Fault, element};

/// Most actions of one simulation.
const ACTIONS_MAX: usize = 100;

/// A policy of the account.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Managed {
    name: String,
    document: String,
}

fn policy_key(arn: &str) -> String {
    format!("policy/{arn}")
}

fn attached_key(role: &str) -> String {
    format!("attached/{role}")
}

fn policy_element(name: &str, arn: &str) -> String {
    format!("<Policy>{}{}<IsAttachable>true</IsAttachable></Policy>", element("PolicyName", name), element("Arn", arn))
}

impl Iam {
    pub(super) fn create_policy(&self) -> Result<String, Fault> {
        let name = self.form.required("PolicyName")?;
        let document = self.form.required("PolicyDocument")?;
        let arn = format!("arn:aws:iam::{}:policy/{name}", self.access.account);
        self.access.check(&self.caller, "iam:CreatePolicy", &arn, &Context::new())?;
        if policy::parse(document).is_none() {
            return Err(Fault::new("MalformedPolicyDocument", "Syntax errors in policy."));
        }
        if self.access.state.get::<Managed>(&policy_key(&arn))?.is_some() {
            return Err(Fault::new("EntityAlreadyExists", format!("A policy called {name} already exists.")));
        }
        self.access.state.put(&policy_key(&arn), &Managed { name: name.to_owned(), document: document.to_owned() })?;
        Ok(policy_element(name, &arn))
    }

    pub(super) fn get_policy(&self) -> Result<String, Fault> {
        let arn = self.form.required("PolicyArn")?;
        self.access.check(&self.caller, "iam:GetPolicy", arn, &Context::new())?;
        let found = self.access.state.get::<Managed>(&policy_key(arn))?;
        let found = found.ok_or_else(|| Fault::new("NoSuchEntity", format!("Policy {arn} was not found.")))?;
        Ok(policy_element(&found.name, arn))
    }

    pub(super) fn attach_role_policy(&self) -> Result<String, Fault> {
        let role = self.allowed_role("AttachRolePolicy")?;
        let arn = self.form.required("PolicyArn")?.to_owned();
        let mut attached: Vec<String> = self.access.state.get(&attached_key(&role.name))?.unwrap_or_default();
        if !attached.contains(&arn) {
            attached.push(arn);
            self.access.state.put(&attached_key(&role.name), &attached)?;
        }
        Ok(String::new())
    }

    pub(super) fn list_attached_role_policies(&self) -> Result<String, Fault> {
        let role = self.allowed_role("ListAttachedRolePolicies")?;
        let attached: Vec<String> = self.access.state.get(&attached_key(&role.name))?.unwrap_or_default();
        let one = |arn: &String| {
            let name = arn.rsplit('/').next().unwrap_or_default();
            format!("<member>{}{}</member>", element("PolicyName", name), element("PolicyArn", arn))
        };
        Ok(format!("<AttachedPolicies>{}</AttachedPolicies><IsTruncated>false</IsTruncated>", attached.iter().map(one).collect::<String>()))
    }

    /// What the role's own policies say, under the condition keys that were given.
    pub(super) fn simulate_principal_policy(&self) -> Result<String, Fault> {
        let principal = self.form.required("PolicySourceArn")?;
        self.access.check(&self.caller, "iam:SimulatePrincipalPolicy", principal, &Context::new())?;
        let name = principal.rsplit('/').next().unwrap_or_default();
        let role = self.access.role(name)?.filter(|role| role.arn(&self.access.account) == principal);
        let role = role.ok_or_else(|| Fault::new("NoSuchEntity", format!("The role with name {name} cannot be found.")))?;
        let actions = self.form.members("ActionNames");
        if actions.is_empty() || actions.len() > ACTIONS_MAX {
            return Err(Fault::new("ValidationError", format!("one to {ACTIONS_MAX} actions")));
        }
        let resource = self.form.get("ResourceArns.member.1").unwrap_or("*");
        let mut context = Context::new();
        for number in 1.. {
            let Some(key) = self.form.get(&format!("ContextEntries.member.{number}.ContextKeyName")) else { break };
            let value = self.form.required(&format!("ContextEntries.member.{number}.ContextKeyValues.member.1"))?;
            context.insert(key.to_ascii_lowercase(), vec![value.to_owned()]);
        }
        let documents: Vec<_> = role.policies.values().filter_map(|text| policy::parse(text)).collect();
        let one = |action: &&str| {
            let ask = Ask { principals: &[], account: &self.access.account, action, resource, context: &context };
            let verdicts: Vec<Verdict> = documents.iter().map(|document| policy::judge(document, &ask)).collect();
            let decision = match () {
                () if verdicts.contains(&Verdict::Deny) => "explicitDeny",
                () if verdicts.contains(&Verdict::Allow) => "allowed",
                () => "implicitDeny",
            };
            let fields = [element("EvalActionName", action), element("EvalResourceName", resource), element("EvalDecision", decision)];
            format!("<member>{}</member>", fields.concat())
        };
        let members: String = actions.iter().map(one).collect();
        Ok(format!("<EvaluationResults>{members}</EvaluationResults><IsTruncated>false</IsTruncated>"))
    }
}
