# 50
output "hours_per_week" {
  value = provider::kiven::schedule_hours([
    { days = ["mon", "tue", "wed", "thu", "fri"], start = "08:00", end = "18:00" },
  ])
}
