# A PostgreSQL of two instances in one EKS cluster. The defaults are what the local stack offers (`kiven dev`).
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
  name             = "quickstart"
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
  name           = "quickstart"
  environment_id = kiven_environment_connection.this.environment_id
  plan           = "startup"
  instances      = 2
  power          = var.power

  # A database to try things out: it goes at once and for good.
  deletion_protection = false
  deletion = {
    final_backup = false
    grace_days   = 0
  }
}

output "connection_uri" {
  description = "The connection string, without a password."
  value       = kiven_database.this.connection_uri
}

output "database_id" {
  description = "The database's id."
  value       = kiven_database.this.id
}

output "status" {
  description = "Where the database is in its life."
  value       = kiven_database.this.status
}
