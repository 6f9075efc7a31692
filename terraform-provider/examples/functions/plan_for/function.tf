locals {
  size = provider::kiven::plan_for(2, 8)
}

resource "kiven_database" "sized" {
  environment_id = kiven_environment_connection.production.environment_id
  name           = "sized"
  plan           = local.size.plan
  custom         = local.size.custom
  storage_gb     = local.size.storage_gb
  instances      = local.size.instances
}
