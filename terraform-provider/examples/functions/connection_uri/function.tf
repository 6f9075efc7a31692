# postgresql://report@shop-ro.kiven-databases.svc:5432/shop?sslmode=verify-full&application_name=report
output "report_uri" {
  value = provider::kiven::connection_uri("shop-ro.kiven-databases.svc", 5432, "shop", "report", { application_name = "report" })
}
