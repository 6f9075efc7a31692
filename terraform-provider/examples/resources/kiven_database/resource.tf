resource "kiven_database" "shop" {
  environment_id     = kiven_environment_connection.production.environment_id
  name               = "shop"
  plan               = "business"
  storage_gb         = 200
  allowed_namespaces = ["shop"]
  extensions         = ["pg_trgm"]

  parameters = {
    work_mem = "16MB"
  }

  backup = {
    backup_retention_days = 30
    rpo_minutes           = 5
  }

  maintenance_window = {
    days  = ["sun"]
    start = "02:00"
    end   = "04:00"
  }

  deletion = {
    final_backup = true
    grace_days   = 14
  }
}

output "connection_uri" {
  value = kiven_database.shop.connection_uri
}
