variable "budget_usd" {
  type    = number
  default = 150
}

# A plan that would cost more than the budget fails before anything is made.
check "budget" {
  assert {
    condition     = provider::kiven::monthly_cost("startup", 2, 50, 50) <= var.budget_usd
    error_message = "The staging database is over its budget."
  }
}
