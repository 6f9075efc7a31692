# A PostgreSQL that is on in office hours only. The defaults are what the local stack offers (`kiven dev`).
terraform {
  required_version = ">= 1.8"
  required_providers {
    kiven = {
      source = "kiven/kiven"
    }
  }
}

# Endpoint and key come from KIVEN_ENDPOINT and KIVEN_API_KEY, or from the credentials file.
provider "kiven" {}

resource "kiven_environment" "this" {
  name             = "schedule"
  aws_account_id   = var.aws_account_id
  aws_region       = var.aws_region
  eks_cluster_name = var.eks_cluster_name
}

resource "kiven_environment_connection" "this" {
  environment_id  = kiven_environment.this.id
  role_arn        = var.role_arn
  subnets         = var.subnets
  launch_template = var.launch_template
}

resource "kiven_database" "this" {
  name           = "office"
  environment_id = kiven_environment_connection.this.environment_id
  plan           = "startup"
  instances      = 2

  # A database to try things out: it goes at once and for good.
  deletion_protection = false
  deletion = {
    final_backup = false
    grace_days   = 0
  }
}

# Outside of these hours it is paused: data safe, no compute cost. What you switch by hand holds until the next window opens or closes.
resource "kiven_power_schedule" "office_hours" {
  database_ids = [kiven_database.this.id]
  time_zone    = "Europe/Paris"
  windows = [
    { days = ["mon", "tue", "wed", "thu", "fri"], start = "08:00", end = "18:00" },
  ]
  exceptions = [
    { date = "2026-12-24", on = { start = "08:00", end = "12:00" } },
    { date = "2026-12-25" },
  ]

  # The resume begins early enough to be over at 8:00.
  ready_by = true
}

output "connection_uri" {
  description = "The connection string, without a password."
  value       = kiven_database.this.connection_uri
}

output "database_id" {
  description = "The database's id."
  value       = kiven_database.this.id
}

output "hours_per_week" {
  description = "Hours of being on in a regular week."
  value       = kiven_power_schedule.office_hours.hours_per_week
}

output "savings_percent" {
  description = "How much of the compute cost that saves."
  value       = kiven_power_schedule.office_hours.savings_percent
}
