data "kiven_plans" "all" {}

output "monthly_cost_usd_by_plan" {
  value = { for plan in data.kiven_plans.all.plans : plan.name => plan.monthly_cost_usd }
}
