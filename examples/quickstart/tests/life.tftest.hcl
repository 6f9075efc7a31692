# The quickstart's life, as `terraform test` runs it: made, paused, resumed, and destroyed at the end.
run "made" {
  assert {
    condition     = output.status == "available"
    error_message = "The database should be available once it is made."
  }

  assert {
    condition     = kiven_database.this.host == "quickstart-rw.kiven-databases.svc"
    error_message = "The address follows from the name."
  }

  assert {
    condition     = !can(regex(":[^/@]+@", output.connection_uri))
    error_message = "The connection string holds no password."
  }
}

run "paused" {
  variables {
    power = "off"
  }

  assert {
    condition     = output.status == "paused"
    error_message = "With the power off, the database is paused."
  }
}

run "resumed" {
  assert {
    condition     = output.status == "available" && output.database_id == run.made.database_id
    error_message = "The same database is back."
  }
}
