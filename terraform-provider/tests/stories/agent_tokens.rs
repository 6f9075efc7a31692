//! The token of an agent under the real Terraform: used in a run, in no plan and no state, and revoked when nobody spent it.
use super::*;

/// From this version on Terraform and OpenTofu have ephemeral resources.
const EPHEMERAL: (u64, u64) = (1, 11);

const TOKEN: &str = r#"terraform {
  required_providers {
    kiven = { source = "kiven/kiven" }
  }
}
resource "kiven_environment" "this" {
  name             = "test"
  aws_account_id   = "000000000000"
  aws_region       = "eu-west-1"
  eks_cluster_name = "local"
  agent_enrolment  = "token"
}
ephemeral "kiven_agent_token" "this" {
  environment_id = kiven_environment.this.id
}
check "token" {
  assert {
    condition     = ephemeralasnull(ephemeral.kiven_agent_token.this.token) == null
    error_message = "A token is ephemeral."
  }
}
"#;

const USED: &str = r#"provider "kiven" {
  alias   = "agent"
  api_key = ephemeral.kiven_agent_token.this.token
}
data "kiven_plans" "as_an_agent" {
  provider = kiven.agent
}
"#;

fn there_are_ephemeral_resources() -> bool {
    if !there_is_a_client() {
        return false;
    }
    let output = std::process::Command::new(client()).args(["version", "-json"]).env_remove("TF_CLI_CONFIG_FILE").output().unwrap();
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    let version: Vec<u64> = json["terraform_version"].as_str().unwrap().split('.').map_while(|part| part.parse().ok()).collect();
    let new_enough = (version[0], version[1]) >= EPHEMERAL;
    if !new_enough {
        println!("skipped: agent tokens: {} has no ephemeral resources", client().display());
    }
    new_enough
}

#[tokio::test]
async fn a_token_is_used_and_revoked_and_stands_nowhere() {
    if !there_are_ephemeral_resources() {
        return;
    }
    let terraform = Terraform::new(&[("main.tf", TOKEN)]).await;
    let mut said = terraform.apply(&[]).await;
    let plan = terraform.run(&["plan", "-no-color", "-out=plan.bin"]).await;
    assert!(plan.status.success(), "{}", words(&plan));
    said.push_str(&words(&plan));
    for shown in [vec!["show", "-json"], vec!["show", "-json", "plan.bin"], vec!["show", "-no-color", "plan.bin"]] {
        said.push_str(&words(&terraform.run(&shown).await));
    }
    let made = terraform.fake.with(|world| {
        assert!(world.agent_tokens.is_empty(), "what nobody has spent is revoked");
        world.agent_tokens_made.clone()
    });
    assert!(made.len() >= 2, "one for each run");
    let mut files: Vec<(String, Vec<u8>)> = vec![("what Terraform said".to_owned(), said.into_bytes())];
    let folder = std::fs::read_dir(terraform.folder.path()).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.extend(paths.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())));
    assert!(files.iter().any(|(name, _)| name.ends_with("plan.bin")) && files.iter().any(|(name, _)| name.ends_with(".tfstate")));
    for (name, bytes) in &files {
        for token in &made {
            assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "a token is in {name}");
        }
    }
}

#[tokio::test]
async fn a_token_reaches_who_is_given_it() {
    if !there_are_ephemeral_resources() {
        return;
    }
    let terraform = Terraform::new(&[("main.tf", TOKEN)]).await;
    terraform.apply(&["-target=kiven_environment.this"]).await;
    // The API does not know an agent's token as a key, and is asked with it: nobody else's request would be refused.
    std::fs::write(terraform.folder.path().join("main.tf"), format!("{TOKEN}{USED}")).unwrap();
    let said = terraform.refused(&[]).await;
    assert!(said.contains("KV-201"), "{said}");
    // Terraform closes nothing whose user has failed; such a token ends by itself.
    terraform.fake.with(|world| assert!(!world.agent_tokens_made.is_empty()));
    let wrong = TOKEN.replace("environment_id = kiven_environment.this.id", "environment_id = \"nonsense\"");
    std::fs::write(terraform.folder.path().join("main.tf"), wrong).unwrap();
    on_line_of(&terraform.refused(&[]).await, "KV-123", "environment_id = \"nonsense\"");
}
