//! The provider's functions under the real Terraform: without an API, in outputs, in preconditions and in checks.
use super::*;

const REQUIRED: &str = "terraform {\n  required_providers {\n    kiven = { source = \"kiven/kiven\" }\n  }\n}\n";

#[tokio::test]
async fn functions_answer_without_an_api() {
    if !there_is_a_client() {
        return;
    }
    let outputs = r#"
locals {
  size    = provider::kiven::plan_for(2, 8, 200)
  windows = [{ days = ["mon", "tue", "wed", "thu", "fri"], start = "08:00", end = "18:00" }]
  hours   = provider::kiven::schedule_hours(local.windows)
}
output "plan" { value = "${local.size.plan} ${local.size.custom.vcpu}/${local.size.custom.memory_gib} on ${local.size.node_type}" }
output "hours" { value = local.hours }
output "always" { value = provider::kiven::monthly_cost(local.size.node_type, local.size.instances, local.size.storage_gb, 168) == local.size.monthly_cost_usd }
output "weekdays" { value = provider::kiven::monthly_cost("startup", 2, 50, local.hours) }
output "uri" { value = provider::kiven::connection_uri("shop-pooler.kiven-databases.svc", 5432, "shop", "shop", { application_name = "web" }) }
"#;
    let terraform = Terraform::new(&[("main.tf", &format!("{REQUIRED}{outputs}"))]).await;
    let said = terraform.apply(&[]).await;
    for line in [
        "plan = \"custom 2/8 on r6g.large\"",
        "hours = 50",
        "always = true",
        "weekdays = 48.49",
        "uri = \"postgresql://shop@shop-pooler.kiven-databases.svc:5432/shop?sslmode=verify-full&application_name=web\"",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
}

#[tokio::test]
async fn a_wrong_argument_is_told_where_it_is_written() {
    if !there_is_a_client() {
        return;
    }
    let wrong = "output \"hours\" {\n  value = provider::kiven::schedule_hours([{ days = [\"mon\"], start = \"8\", end = \"18:00\" }])\n}\n\
                 output \"cost\" {\n  value = provider::kiven::monthly_cost(\"huge\", 1, 10, 168)\n}\n";
    let terraform = Terraform::new(&[("main.tf", &format!("{REQUIRED}{wrong}"))]).await;
    let said = terraform.refused(&[]).await.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["on main.tf line 7", "KV-126: windows.0.start", "on main.tf line 10", "`huge` is no plan (hobbyist, startup, business, premium)"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[tokio::test]
async fn a_budget_is_a_precondition_and_a_check() {
    if !there_is_a_client() {
        return;
    }
    let rules = r#"  name = "shop"
  plan = "startup"
  deletion_protection = false
  lifecycle {
    precondition {
      condition     = provider::kiven::monthly_cost("startup", 2, 50, 168) < var.budget_usd
      error_message = "Too dear."
    }
  }"#;
    let more = r#"
variable "budget_usd" {
  default = 100
}
check "cost" {
  assert {
    condition     = provider::kiven::monthly_cost(kiven_database.this.node_type, kiven_database.this.instances, kiven_database.this.storage_gb, 168) == kiven_database.this.monthly_cost_usd
    error_message = "The function and the database disagree."
  }
  assert {
    condition     = provider::kiven::connection_uri(kiven_database.this.host, kiven_database.this.port, kiven_database.this.database, kiven_database.this.username) == kiven_database.this.connection_uri
    error_message = "The function and the database disagree."
  }
  assert {
    condition     = kiven_database.this.monthly_cost_usd < 1
    error_message = "That is not cheap."
  }
}
"#;
    let terraform = Terraform::new(&[("main.tf", &format!("{}{more}", module(rules)))]).await;
    assert!(terraform.refused(&[]).await.contains("Too dear."));
    let said = terraform.apply(&["-var", "budget_usd=200"]).await;
    assert!(said.contains("That is not cheap.") && !said.contains("disagree"), "{said}");
}
