//! `cargo xtask audit-iam`: each permission of the onboarding policy with the call that needs it. What the module gives and no call
//! needs is an error, and so is a call whose permission the module does not give. The table of the module's README is made here.
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// Which permission is for which call: the adapter's own table.
const PERMISSIONS: &str = "crates/aws/src/account/permissions.json";
/// The module's documents, which need no provider.
const POLICIES: &str = "onboarding-module/policies";
const README: &str = "onboarding-module/README.md";
/// The calls that AWS checks with further permissions, as the emulation enforces them.
const EMULATED: &str = "tests/ministack/permissions.json";
const TABLE_BEGIN: &str = "<!-- permissions: made by `cargo xtask gen` -->\n";
const TABLE_END: &str = "<!-- end of permissions -->\n";

#[derive(Deserialize)]
struct Permission {
    document: String,
    sid: String,
    action: String,
    calls: Vec<String>,
    steps: Vec<String>,
    proof: String,
    #[serde(default)]
    source: String,
}

/// A permission by its place: document, statement, action.
type Place = (String, String, String);

impl Permission {
    fn place(&self) -> Place {
        (self.document.clone(), self.sid.clone(), self.action.clone())
    }
}

/// Prints the table and holds it against the module.
///
/// # Errors
/// With everything that does not fit together.
pub(crate) fn run() -> Result<()> {
    let permissions = read()?;
    for one in &permissions {
        let how = if one.source.is_empty() { one.proof.clone() } else { format!("{}: {}", one.proof, one.source) };
        println!("{:<37} {:<38} {:<32} {how}", one.action, one.sid, one.calls.join(", "));
    }
    let complaints = complaints(&permissions, &given(&documents()?), &used()?);
    complaints.iter().for_each(|complaint| println!("FAILED: {complaint}"));
    let emulated = permissions.iter().filter(|one| one.proof == "emulated").count();
    println!("{} permissions: {emulated} emulated, {} aws-dependent", permissions.len(), permissions.len() - emulated);
    if complaints.is_empty() { Ok(()) } else { bail!("the onboarding policy and the code do not fit together") }
}

/// Everything wrong between what the code needs, what the module gives, and what the code calls.
fn complaints(permissions: &[Permission], given: &BTreeSet<Place>, used: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let needed: BTreeSet<Place> = permissions.iter().map(Permission::place).collect();
    if needed.len() != permissions.len() {
        complaints.push(format!("{PERMISSIONS} has a row twice"));
    }
    for (document, sid, action) in given.difference(&needed) {
        complaints.push(format!(
            "{action} ({document}, {sid}) is given and no call needs it: take it out of {POLICIES}, or say in {PERMISSIONS} what it is for"
        ));
    }
    for (document, sid, action) in needed.difference(given) {
        complaints.push(format!("{action} ({document}, {sid}) is needed and not given by {POLICIES}"));
    }
    for one in permissions {
        if one.action.contains('*') {
            complaints.push(format!("{} is a wildcard", one.action));
        }
        let unused = one.calls.iter().filter(|call| !used.contains(&method_of(call)));
        complaints.extend(unused.map(|call| format!("{} is for {call}, which crates/aws never calls", one.action)));
        match one.proof.as_str() {
            "emulated" => {}
            "aws-dependent" if one.source.starts_with("https://docs.aws.amazon.com/") => {}
            other => complaints.push(format!("{}: `{other}` without AWS' documentation is no proof", one.action)),
        }
    }
    complaints
}

/// How the SDK calls an operation: `iam:GetOpenIDConnectProvider` is `getopenidconnectprovider(`, once underscores are gone.
fn method_of(call: &str) -> String {
    format!(".{}(", call.split_once(':').map_or(call, |(_, operation)| operation).to_lowercase())
}

/// The adapter's source, in which every SDK call can be found by its name.
fn used() -> Result<String> {
    let mut text = String::new();
    for entry in
        std::fs::read_dir(crate::root().join("crates/aws/src/account"))?.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "rs"))
    {
        let source = std::fs::read_to_string(entry.path())?;
        text.push_str(source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default());
    }
    Ok(text.to_lowercase().replace('_', ""))
}

fn read() -> Result<Vec<Permission>> {
    let text = std::fs::read_to_string(crate::root().join(PERMISSIONS)).context("the table of permissions is missing")?;
    serde_json::from_str(&text).with_context(|| format!("{PERMISSIONS} cannot be read"))
}

/// Renders the module's documents with Terraform; they need no provider and no network.
fn documents() -> Result<Value> {
    let program = crate::terraform::find()?;
    let folder = std::env::temp_dir().join(format!("kiven-policies-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let rendered = render(&program, &folder);
    std::fs::remove_dir_all(&folder)?;
    rendered
}

fn render(program: &Path, folder: &Path) -> Result<Value> {
    for entry in std::fs::read_dir(crate::root().join(POLICIES))?.flatten() {
        std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    let values = json!({
        "account_id": "111122223333", "region": "eu-west-1", "eks_cluster_name": "main", "oidc_host": "oidc.example/id/1",
        "environment_id": "env_0123456789abcdefghjk", "external_id": "0123456789abcdef", "role_name": "kiven-access",
        "kiven_principal_arn": "arn:aws:iam::000000000000:role/kiven-worker", "node_role_arn": "arn:aws:iam::111122223333:role/kiven-node",
        "boundary_arn": "arn:aws:iam::111122223333:policy/kiven-boundary",
        "launch_template_arn": "arn:aws:ec2:eu-west-1:111122223333:launch-template/lt-1",
    });
    std::fs::write(folder.join("values.auto.tfvars.json"), values.to_string())?;
    let run = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env("TF_IN_AUTOMATION", "1").stdin(Stdio::null());
        let output = command.output().context("Terraform cannot be started")?;
        ensure!(output.status.success(), "terraform {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    run(&["init", "-backend=false", "-input=false"])?;
    run(&["apply", "-auto-approve", "-input=false"])?;
    Ok(serde_json::from_str(&run(&["output", "-json"])?)?)
}

/// Every permission that the trust policy and the role's policy give.
fn given(documents: &Value) -> BTreeSet<Place> {
    let mut given = BTreeSet::new();
    for document in ["trust", "access"] {
        let text = documents[document]["value"].as_str().unwrap_or_default();
        let parsed: Value = serde_json::from_str(text).unwrap_or_default();
        for statement in parsed["Statement"].as_array().into_iter().flatten() {
            let sid = statement["Sid"].as_str().unwrap_or_default();
            for action in statement["Action"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                given.insert((document.to_owned(), sid.to_owned(), action.to_owned()));
            }
        }
    }
    given
}

/// The README with its table as the rows give it.
///
/// # Errors
/// When a file cannot be read or the README has no place for the table.
pub(crate) fn readme() -> Result<String> {
    let text = std::fs::read_to_string(crate::root().join(README))?;
    let (before, rest) = text.split_once(TABLE_BEGIN).with_context(|| format!("{README} has no place for the table"))?;
    let (_, after) = rest.split_once(TABLE_END).with_context(|| format!("{README} has no end of the table"))?;
    let reasons = further()?;
    let mut table = String::from("| permission | statement | for the call | in the step | shown by |\n|---|---|---|---|---|\n");
    for one in read()? {
        let source = reasons.iter().find(|(action, _)| *action == one.action).map_or(one.source.as_str(), |(_, source)| source.as_str());
        let shown = match (one.proof.as_str(), source) {
            ("emulated", "") => "a test fails without it".to_owned(),
            ("emulated", source) => format!("a test fails without it; [AWS]({source})"),
            (_, source) => format!("only AWS can show it: [why]({source})"),
        };
        let steps: Vec<String> =
            one.steps.iter().map(|step| if step.contains('_') && !step.contains(' ') { format!("`{step}`") } else { step.clone() }).collect();
        table.push_str(&format!("| `{}` | {} | {} | {} | {shown} |\n", one.action, one.sid, one.calls.join(", "), steps.join(", ")));
    }
    Ok(format!("{before}{TABLE_BEGIN}{table}{TABLE_END}{after}"))
}

/// What AWS checks besides a call's own action, with AWS' documentation: action and source.
fn further() -> Result<Vec<(String, String)>> {
    let table: Value = serde_json::from_str(&std::fs::read_to_string(crate::root().join(EMULATED))?)?;
    let rows = table["dependents"].as_array().context("the emulation's table has no rows")?;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row, "action"), text(row, "source"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(action: &str, proof: &str, source: &str) -> Permission {
        Permission {
            document: "access".to_owned(),
            sid: "S".to_owned(),
            action: action.to_owned(),
            calls: vec!["iam:GetRole".to_owned()],
            steps: vec!["connect".to_owned()],
            proof: proof.to_owned(),
            source: source.to_owned(),
        }
    }

    #[test]
    fn a_permission_without_a_call_and_a_call_without_a_permission_are_found() {
        let given = |actions: &[&str]| actions.iter().map(|action| ("access".to_owned(), "S".to_owned(), (*action).to_owned())).collect();
        let check = |rows: &[Permission], actions: &[&str], expected: &[&str]| {
            let found = complaints(rows, &given(actions), "iam.getrole()");
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(found, expected)| found.contains(expected)), "{found:?}");
        };
        check(&[row("iam:GetRole", "emulated", "")], &["iam:GetRole"], &[]);
        check(&[row("iam:GetRole", "emulated", "")], &["iam:GetRole", "iam:ListUsers"], &["iam:ListUsers (access, S) is given and no call needs it"]);
        check(&[row("iam:GetRole", "emulated", "")], &[], &["iam:GetRole (access, S) is needed and not given"]);
        check(&[row("iam:GetRole", "aws-dependent", "")], &["iam:GetRole"], &["without AWS' documentation"]);
        let mut unused = row("iam:GetRole", "emulated", "");
        unused.calls = vec!["iam:DeleteUser".to_owned()];
        check(&[unused], &["iam:GetRole"], &["iam:DeleteUser, which crates/aws never calls"]);
    }
}
