//! Which permission is for which call: the rows of `permissions.json`, which `cargo xtask audit-iam` holds against the onboarding
//! module's policy. A denied call is explained from here.

use kiven_model::{Code, Problem};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const ROWS: &str = include_str!("permissions.json");

/// A permission of the onboarding policy.
#[derive(Clone, Debug, Deserialize)]
pub struct Permission {
    /// `trust` or `access`: which of the module's documents has it.
    pub document: String,
    /// The statement.
    pub sid: String,
    /// `service:Action`.
    pub action: String,
    /// A resource that the statement covers, with names in braces.
    pub resource: String,
    /// Condition keys that the statement asks for, with names in braces.
    #[serde(default)]
    pub context: BTreeMap<String, String>,
    /// The SDK calls that need it.
    pub calls: Vec<String>,
    /// The steps that make those calls.
    pub steps: Vec<String>,
    /// Whether a test fails without it (`emulated`), or only AWS can show it (`aws-dependent`).
    pub proof: String,
    /// Where AWS says so.
    #[serde(default)]
    pub source: String,
}

static PERMISSIONS: LazyLock<Vec<Permission>> = LazyLock::new(|| serde_json::from_str(ROWS).unwrap_or_default());

/// Every permission that the onboarding policy gives.
#[must_use]
pub fn permissions() -> &'static [Permission] {
    &PERMISSIONS
}

/// What a denial says: the permission, and the statement that should give it. `call` is the action that was asked for;
/// AWS' words may name another one that it needs.
pub(crate) fn denied(call: &str, code: &str, words: &str) -> Problem {
    let action = named(words).unwrap_or(call);
    let statements: Vec<&str> = permissions().iter().filter(|one| one.action.eq_ignore_ascii_case(action)).map(|one| one.sid.as_str()).collect();
    let message = if action == call { format!("The role may not {action}.") } else { format!("The role may not {action}, which {call} needs.") };
    let detail = if words.is_empty() { code.to_owned() } else { format!("{code}: {words}") };
    let hint = match statements.as_slice() {
        [] => "No statement of the onboarding module's policy gives it: a boundary, a service control policy or the resource's own policy denies it."
            .to_owned(),
        given => format!("It is in the statement {} of the onboarding module's policy: apply the current module.", given.join(" or ")),
    };
    Problem::new(Code::PERMISSION_MISSING, message).detail(detail).hint(hint)
}

/// The action that AWS' words name.
fn named(words: &str) -> Option<&str> {
    // EKS tries the launch template with the caller's rights and says only this.
    if words.contains("not authorized to launch instances") {
        return Some("ec2:RunInstances");
    }
    let rest = words.split_once("not authorized to perform: ")?.1;
    let action = rest.split([' ', ',']).next()?.trim_end_matches('.');
    action.contains(':').then_some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_permission_and_its_statement() {
        assert!(permissions().len() > 40, "the rows are read");
        let check = |call: &str, words: &str, message: &str, sid: &str| {
            let problem = denied(call, "AccessDenied", words);
            assert_eq!(problem.code, Code::PERMISSION_MISSING);
            assert_eq!(problem.message, message);
            assert!(problem.hint.contains(sid), "{}", problem.hint);
        };
        let user = "User: arn:aws:sts::1:assumed-role/kiven-access/x is not authorized to perform: ";
        check("iam:CreateRole", "", "The role may not iam:CreateRole.", "MakeBackupRolesWithinTheBoundary");
        check(
            "eks:CreateNodegroup",
            &format!("{user}iam:PassRole on resource: y"),
            "The role may not iam:PassRole, which eks:CreateNodegroup needs.",
            "PassNodeRole",
        );
        check(
            "eks:CreateNodegroup",
            "You are not authorized to launch instances with this launch template. Encoded authorization failure message: x",
            "The role may not ec2:RunInstances, which eks:CreateNodegroup needs.",
            "StartNodesFromTheTemplate",
        );
        check("s3:GetObject", "", "The role may not s3:GetObject.", "No statement");
    }
}
