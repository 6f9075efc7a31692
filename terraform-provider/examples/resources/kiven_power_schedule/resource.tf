resource "kiven_power_schedule" "office_hours" {
  database_ids = [kiven_database.shop.id]
  time_zone    = "Europe/Paris"
  ready_by     = true

  windows = [
    { days = ["mon", "tue", "wed", "thu", "fri"], start = "08:00", end = "18:00" },
  ]

  exceptions = [
    { date = "2026-12-25" },
    { date = "2026-12-31", on = { start = "08:00", end = "12:00" } },
  ]
}
